"""Text that a model writes about a picture: what every vision-language API calls."""

import asyncio
import base64
import codecs
import json
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from adapter.context import api_name
from adapter.errors import DeadlineExceededError, ModelUnavailableError
from adapter.gate import Admission, Gate
from adapter.metrics import Metrics
from adapter.tritons import Tritons

# Seconds. Eight billion parameters come from a slow disk in some minutes.
_LOAD_TIMEOUT = 1800.0
# To free the memory of a model that has no more to do.
_UNLOAD_TIMEOUT = 5.0

_CUT_OFF = "length"


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen, and when there is to be no more of them."""

    max_new_tokens: int
    temperature: float
    top_p: float


@dataclass(frozen=True)
class Chunk:
    """What a model has written since the chunk before: a token or some, and never a part of a character."""

    text: str
    logprobs: tuple[float, ...] = ()
    """Natural logarithms of the probabilities of the tokens, where the model tells them."""
    truncated: bool = False
    """Whether the text ends here because `max_new_tokens`, or the model's window, is used up."""
    image_patches: int = 0
    """The tiles in which the model was shown the picture, where it tells them."""


@dataclass(frozen=True)
class _Response:
    text: bytes
    logprobs: tuple[float, ...]
    finish_reason: bytes
    image_patches: int


class Contract(Protocol):
    """How a model in Triton wants to be asked, and how it answers."""

    @property
    def model(self) -> str:
        """Its name in Triton."""

    def inputs(self, prompt: str, picture: bytes, sampling: Sampling) -> dict[str, np.ndarray]:
        """The tensors that ask it about an encoded picture."""

    def response(self, outputs: Mapping[str, np.ndarray]) -> _Response:
        """One of the responses of its stream."""


class VllmContract:
    """NVIDIA's vLLM backend (r24.12 and later). It applies no chat template: the prompt is the model's raw input."""

    def __init__(self, model: str) -> None:
        self.model = model

    def inputs(self, prompt: str, picture: bytes, sampling: Sampling) -> dict[str, np.ndarray]:
        parameters = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_new_tokens,
        }
        return {
            "text_input": _bytes(prompt.encode()),
            "image": _bytes(base64.b64encode(picture)),
            "stream": np.array([True]),
            "sampling_parameters": _bytes(json.dumps(parameters).encode()),
            "exclude_input_in_output": np.array([True]),
            "return_finish_reason": np.array([True]),
        }

    def response(self, outputs: Mapping[str, np.ndarray]) -> _Response:
        return _Response(outputs["text_output"][0], (), outputs["finish_reason"][0], 0)


class InternvlContract:
    """internvl_python of this repository."""

    model = "internvl_python"

    def __init__(self, max_image_patches: int) -> None:
        """`max_image_patches`: the tiles that a picture may be cut into."""
        self._max_image_patches = max_image_patches

    def inputs(self, prompt: str, picture: bytes, sampling: Sampling) -> dict[str, np.ndarray]:
        return {
            "image": _bytes(picture),
            "prompt": _bytes(prompt.encode()),
            "stream": np.array([True]),
            "max_new_tokens": np.array([sampling.max_new_tokens], np.int32),
            "temperature": np.array([sampling.temperature], np.float32),
            "top_p": np.array([sampling.top_p], np.float32),
            "max_image_patches": np.array([self._max_image_patches], np.int32),
        }

    def response(self, outputs: Mapping[str, np.ndarray]) -> _Response:
        return _Response(
            outputs["text"][0],
            tuple(outputs["token_logprobs"].tolist()),
            outputs["finish_reason"][0],
            int(outputs["image_patches"][0]),
        )


class VisionLanguageModel:
    """A model in Triton that writes about pictures, asked by as many at a time as the gate lets through.

    Must be made inside the running event loop.
    """

    def __init__(self, contract: Contract, triton: Tritons, gate: Gate, metrics: Metrics, timeout: float) -> None:
        """`timeout`: seconds that a text may take, waiting for its turn included."""
        self._contract = contract
        self._triton = triton
        self._gate = gate
        self._metrics = metrics
        self._timeout = timeout
        self._open = asyncio.Event()
        self._open.set()
        self._reload: asyncio.Task[None] | None = None
        self._on_gpu: bool | None = None

    async def reachable(self, timeout: float) -> bool:
        """Whether Triton is there, with the model or without; answers within `timeout` seconds."""
        return await self._triton.ready((), timeout)

    async def loaded(self, timeout: float) -> bool:
        """Whether Triton has the model loaded; answers within `timeout` seconds."""
        return await self._triton.ready((self._contract.model,), timeout)

    async def on_gpu(self) -> bool:
        """Whether the loaded model runs on a GPU. Raises what `Tritons.configuration` raises."""
        if self._on_gpu is None:
            self._on_gpu = (await self._triton.configuration(self._contract.model)).on_gpu
        return self._on_gpu

    def admit(self) -> AbstractAsyncContextManager[Admission]:
        """Let a request in, that may then have many texts written. Raises `BusyError` when the queue is full."""
        return self._gate.admit()

    async def generate(
        self, admission: Admission, prompt: str, picture: bytes, sampling: Sampling
    ) -> AsyncGenerator[Chunk, None]:
        """What the model writes about an encoded picture (PNG or JPEG), as it writes it.

        To close the generator is to cancel the work in Triton. Raises `ModelUnavailableError` when the model is not
        loaded, and whatever else `Tritons.stream` raises.
        """
        deadline = time.monotonic() + self._timeout
        inputs = self._contract.inputs(prompt, picture, sampling)
        async with admission.place(), aclosing(self._responses(inputs, deadline)) as responses:
            decoder = codecs.getincrementaldecoder("utf-8")("replace")
            async for response in responses:
                yield Chunk(
                    text=decoder.decode(response.text),
                    logprobs=response.logprobs,
                    truncated=response.finish_reason.decode() == _CUT_OFF,
                    image_patches=response.image_patches,
                )
            if cut := decoder.decode(b"", final=True):
                yield Chunk(cut)
        self._metrics.pages.labels(api_name.get()).inc()

    async def reload(self) -> None:
        """Load the model anew: what runs is finished first, what arrives waits, and two copies are never in memory.

        Goes on to its end, even when the caller leaves; who calls meanwhile waits for the same end. Raises
        `ModelUnavailableError` when the model cannot be unloaded or loaded, and whatever else `Tritons.load` raises.
        """
        if self._reload is None or self._reload.done():
            self._reload = asyncio.create_task(self._replace())
        await asyncio.shield(self._reload)

    async def _replace(self) -> None:
        self._open.clear()
        try:
            # By then every text that was being written is complete, or cancelled.
            await self._triton.unload(self._contract.model, self._timeout + _UNLOAD_TIMEOUT)
            await self._triton.load(self._contract.model, _LOAD_TIMEOUT)
            self._on_gpu = None
        finally:
            self._open.set()

    async def _responses(self, inputs: Mapping[str, np.ndarray], deadline: float) -> AsyncGenerator[_Response, None]:
        began = False
        while not began:
            remaining = await self._until_open(deadline)
            try:
                # Known from here on, even if the model is being loaded anew by the time that it has done.
                await self.on_gpu()
                async with aclosing(self._triton.stream(self._contract.model, inputs, remaining)) as stream:
                    async for outputs in stream:
                        began = True
                        yield self._contract.response(outputs)
                    return
            except ModelUnavailableError:
                # It was let in, and the model was gone before it came to Triton.
                if began or self._open.is_set():
                    raise

    async def _until_open(self, deadline: float) -> float:
        """Wait for the end of a reload, if there is one. The seconds that remain until the deadline."""
        try:
            await asyncio.wait_for(self._open.wait(), max(0.0, deadline - time.monotonic()))
        except asyncio.TimeoutError as error:
            raise DeadlineExceededError(f"the model was not loaded anew within {self._timeout:g} s") from error
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise DeadlineExceededError(f"the request had no turn within {self._timeout:g} s")
        return remaining


def _bytes(value: bytes) -> np.ndarray:
    return np.array([value], np.object_)
