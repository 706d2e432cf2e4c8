"""The one place that talks to Triton: tensors in, tensors out, and its failures as our types."""

import asyncio
import re
import time
import urllib.request
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping
from dataclasses import dataclass

import grpc  # type: ignore[import-untyped]
import numpy as np
from tritonclient.grpc import InferInput, InferResult
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.grpc.model_config_pb2 import ModelInstanceGroup
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from adapter.context import request_id
from adapter.errors import (
    DeadlineExceededError,
    InternalError,
    InvalidRequestError,
    ModelUnavailableError,
    OutOfMemoryError,
    ServiceError,
    TooLargeError,
    TritonUnavailableError,
    UnreadableImageError,
)

_CHANNEL_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A proxy of the environment is for the web, not for the server next door.
    ("grpc.enable_http_proxy", 0),
    # How long a connection may take to be made (gRPC names it so), and how soon a lost one is tried again: calls fail
    # within a second while Triton is away and succeed within a second of its return.
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 800),
    # Of a name with several addresses all are called, in turn.
    ("grpc.lb_policy_name", "round_robin"),
    # A machine that is gone closes no connection: it is one that owes the answer to a ping. Rarer than Triton's default
    # takes for an attack, and with more patience than a server wants that stands still for some seconds.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 20_000),
]

# Our models mark the faults that a caller can do something about with a word in brackets, since a Triton error carries
# no more than a status and a text.
_CALLERS_MATTER: dict[str, type[ServiceError]] = {
    "invalid_argument": InvalidRequestError,
    "unreadable_image": UnreadableImageError,
    "too_large": TooLargeError,
    "out_of_memory": OutOfMemoryError,
}
_MARKED = re.compile(rf"\[({'|'.join(_CALLERS_MATTER)})\] (.*)", re.DOTALL)

# What Triton says of a model that it knows and has not loaded, or whose process has died; of tensors for which there is
# no room between the two; and when it is ending.
_NOT_RUNNING = re.compile("has no available versions|is not found|is not ready|is not healthy")
_NO_SHARED_MEMORY = re.compile("Failed to (?:increase|initialize) the shared memory pool")
_STOPPING = re.compile("has stopped accepting new")
# What a Python model raised while it was loaded, in what Triton says of that.
_LOAD_FAILURE = re.compile(r"UNAVAILABLE state: (?:\w+: )?(.*?)\s*(?:\n|$)")

# The header that opens the protocols that scripts/launch keeps from the world.
_ADMIN = "triton-grpc-protocol-ocr-admin"
_POLL_INTERVAL = 0.1

# Seconds; Triton's metrics come from a listener of its own, and nothing hangs on them that could wait.
_METRICS_TIMEOUT = 1.0
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Configuration:
    """What a model is configured with: its parameters, whether it runs on a GPU, and the names of its accelerators."""

    parameters: Mapping[str, str]
    on_gpu: bool
    accelerators: tuple[str, ...]


class Triton:
    """One Triton server, over gRPC. Must be made inside the running event loop.

    Cancelling a task that awaits a call cancels the call in Triton too.
    """

    def __init__(self, target: str, timeout: float, metrics_url: str, key: str | None = None) -> None:
        """`target` is host:port; `timeout`, in seconds, bounds the calls that name none; `key` lets models be loaded
        and unloaded."""
        self._timeout = timeout
        self._metrics_url = metrics_url
        self._admin = {_ADMIN: key} if key else {}
        self._client = InferenceServerClient(target, channel_args=_CHANNEL_OPTIONS)

    async def close(self) -> None:
        await self._client.close()

    async def infer(self, model: str, inputs: Mapping[str, np.ndarray], timeout: float) -> dict[str, np.ndarray]:
        """Run `model` once: its inputs by name, its outputs by name (BYTES tensors are arrays of `bytes`).

        `timeout` is in seconds. Raises `InvalidRequestError`, `UnreadableImageError` or `TooLargeError` where the model
        says that the caller is at fault; `TritonUnavailableError`, within a second, when Triton is away;
        `ModelUnavailableError`; `DeadlineExceededError`; `InternalError`.
        """
        try:
            result = await self._client.infer(
                model, _tensors(inputs), request_id=request_id.get(), client_timeout=timeout
            )
        except InferenceServerException as error:
            raise _translated(error, model, timeout) from error
        return _arrays(result)

    async def stream(
        self, model: str, inputs: Mapping[str, np.ndarray], timeout: float
    ) -> AsyncGenerator[dict[str, np.ndarray], None]:
        """Run a decoupled model once, and give each of its responses as it comes.

        To close the generator is to cancel the run in Triton. `timeout` is in seconds, for all of it. Raises what
        `infer` raises.
        """

        async def request() -> AsyncIterator[dict[str, object]]:
            yield {"model_name": model, "inputs": _tensors(inputs), "request_id": request_id.get()}

        # Of a model's error a stream tells the text alone. It would tell the status, too, with the header
        # triton_grpc_error, but Triton (2.51) closes such a stream while its model still answers, and crashes.
        responses = self._client.stream_infer(request(), stream_timeout=timeout)
        failure: InferenceServerException | None = None
        try:
            async for result, error in responses:
                # Triton ends a stream after an error. To be cancelled just then, it can miss the end of the request,
                # and never unloads the model.
                if failure is None and error is None:
                    yield _arrays(result)
                failure = failure or error
        except grpc.RpcError as error:
            failure = failure or InferenceServerException(error.details(), str(error.code()))
        finally:
            responses.cancel()
        if failure is not None:
            raise _translated(failure, model, timeout) from failure

    async def unload(self, model: str, timeout: float) -> None:
        """Unload `model`: what it is working on is finished, then its memory is freed, and then this returns.

        Raises `ModelUnavailableError` when that takes longer than `timeout` seconds: Triton has been seen to wait for
        ever for a stream that was cancelled just as it ended. Else what `infer` raises; needs the key.
        """
        deadline = time.monotonic() + timeout
        try:
            await self._client.unload_model(model, headers=self._admin, client_timeout=self._timeout)
            while await self._state(model) != "UNAVAILABLE":
                if time.monotonic() > deadline:
                    raise ModelUnavailableError(
                        f"the model {model!r} was not unloaded within {timeout:g} s: a request to it has not ended; "
                        "try again later, or start the inference server again"
                    )
                await asyncio.sleep(_POLL_INTERVAL)
        except InferenceServerException as error:
            raise _translated(error, model, self._timeout) from error

    async def load(self, model: str, timeout: float) -> None:
        """Load `model` from the repository, within `timeout` seconds.

        Raises `ModelUnavailableError`, with the model's own word, when it fails; else what `infer` raises. Needs the
        key.
        """
        try:
            await self._client.load_model(model, headers=self._admin, client_timeout=timeout)
        except InferenceServerException as error:
            failure = _LOAD_FAILURE.search(error.message() or "")
            if failure:
                raise ModelUnavailableError(f"the model {model!r} cannot be loaded: {failure[1]}") from error
            raise _translated(error, model, timeout) from error

    async def _state(self, model: str) -> str:
        index = await self._client.get_model_repository_index(headers=self._admin, client_timeout=self._timeout)
        return next((entry.state for entry in index.models if entry.name == model), "UNAVAILABLE")

    async def ready(self, models: Collection[str], timeout: float) -> bool:
        """Whether Triton and every one of `models` are ready.

        Answers within `timeout` seconds, whatever becomes of Triton.
        """
        questions = [
            # Its readiness is denied while any model at all is loaded or has failed to: not only those asked for.
            self._client.is_server_live(client_timeout=timeout),
            *(self._client.is_model_ready(model, client_timeout=timeout) for model in models),
        ]
        answers = await asyncio.gather(*questions, return_exceptions=True)
        return all(answer is True for answer in answers)

    async def configuration(self, model: str) -> Configuration:
        """The configuration that Triton runs `model` with. Raises what `infer` raises when Triton is at fault."""
        try:
            config = (await self._client.get_model_config(model, client_timeout=self._timeout)).config
        except InferenceServerException as error:
            raise _translated(error, model, self._timeout) from error
        on_gpu = any(group.kind == ModelInstanceGroup.KIND_GPU for group in config.instance_group)
        accelerators = config.optimization.execution_accelerators
        named = accelerators.gpu_execution_accelerator if on_gpu else accelerators.cpu_execution_accelerator
        return Configuration(
            parameters={name: parameter.string_value for name, parameter in config.parameters.items()},
            on_gpu=on_gpu,
            accelerators=tuple(accelerator.name for accelerator in named),
        )

    async def metrics(self) -> str:
        """Triton's metrics in Prometheus' text format. Raises `TritonUnavailableError` where they cannot be had."""

        def fetch() -> str:
            with _OPENER.open(self._metrics_url, timeout=_METRICS_TIMEOUT) as answer:
                return str(answer.read(), "utf-8")

        try:
            return await asyncio.to_thread(fetch)
        except OSError as error:
            raise TritonUnavailableError("the inference server's metrics are not available") from error


def _translated(error: InferenceServerException, model: str, timeout: float) -> ServiceError:
    message, status = error.message() or "", error.status()
    if marked := _MARKED.match(message):
        return _CALLERS_MATTER[marked[1]](marked[2])
    not_running = _NOT_RUNNING.search(message)
    failure: ServiceError = InternalError("the inference server failed to process the request")
    if _NO_SHARED_MEMORY.search(message):
        failure = OutOfMemoryError(
            "the inference server has too little shared memory left for a picture of this size: send a smaller one, or "
            "give it more (/dev/shm; of a container --shm-size)"
        )
    # Without a status: what a stream says.
    elif status == "StatusCode.NOT_FOUND" or (status is None and not_running):
        failure = ModelUnavailableError(f"the model {model!r} is not loaded")
    elif status in ("StatusCode.UNAVAILABLE", "StatusCode.INTERNAL") and not_running:
        failure = ModelUnavailableError(f"the model {model!r}, or one that it calls, is not running")
    elif status in ("StatusCode.UNAVAILABLE", "StatusCode.CANCELLED") or _STOPPING.search(message):
        failure = TritonUnavailableError("the inference server is not available; try again later")
    elif status == "StatusCode.DEADLINE_EXCEEDED":
        failure = DeadlineExceededError(f"the inference server did not answer within {round(timeout, 1):g} s")
    return failure


def _tensors(inputs: Mapping[str, np.ndarray]) -> list[InferInput]:
    tensors = []
    for name, array in inputs.items():
        tensor = InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array)
        tensors.append(tensor)
    return tensors


def _arrays(result: InferResult) -> dict[str, np.ndarray]:
    return {output.name: result.as_numpy(output.name) for output in result.get_response().outputs}
