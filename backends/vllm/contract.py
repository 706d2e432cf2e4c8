"""The contract of NVIDIA's vLLM backend (r24.12 and later): what its tensors say, and what is to be answered.

https://github.com/triton-inference-server/vllm_backend, README.md and docs/additional_outputs.md
"""

from __future__ import annotations

import base64
import binascii
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from PIL import Image
from vllm import SamplingParams
from vllm.sampling_params import RequestOutputKind

if TYPE_CHECKING:
    from vllm.outputs import CompletionOutput, RequestOutput

_ADDITIONAL = (
    "finish_reason",
    "cumulative_logprob",
    "logprobs",
    "num_input_tokens",
    "num_output_tokens",
)
# What a caller may set: vLLM keeps fields of its own in the same class.
_PARAMETERS = frozenset(name for name in SamplingParams.__struct_fields__ if not name.startswith("_")) - {"output_kind"}


class ContractError(ValueError):
    """A request that cannot be understood; the message names the tensor and what is wrong with it."""


@dataclass(frozen=True)
class Ask:
    """A request.

    Attributes:
        prompt: the model's raw input, no chat template applied.
        images: the pictures that the prompt's placeholders stand for, in their order.
        stream: whether to answer piece by piece.
        prepend_input: whether the answer begins with the prompt.
        sampling: vLLM's parameters; what is not given has vLLM's default, 16 for `max_tokens`.
        additional: the outputs that are wanted besides `text_output`.
    """

    prompt: str
    images: tuple[Image.Image, ...]
    stream: bool
    prepend_input: bool
    sampling: SamplingParams
    additional: frozenset[str]

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, np.ndarray], parameters: str) -> Ask:
        """Read a request.

        Args:
            tensors: the inputs by name; BYTES as arrays of `bytes`.
            parameters: Triton's request parameters as a JSON object, taken where `sampling_parameters` is not given.

        Raises:
            ContractError: an input is missing or malformed.
        """
        if "text_input" not in tensors:
            raise ContractError("text_input: is missing")
        stream = _flag(tensors, "stream", False)
        prepend_input = not _flag(tensors, "exclude_input_in_output", stream)
        if stream and prepend_input:
            raise ContractError("exclude_input_in_output: must be true, or not given, when streaming")
        if "sampling_parameters" in tensors:
            parameters = _text(tensors, "sampling_parameters")
        return cls(
            prompt=_text(tensors, "text_input"),
            images=tuple(_picture(encoded, place) for place, encoded in enumerate(tensors.get("image", ()))),
            stream=stream,
            prepend_input=prepend_input,
            sampling=_sampling(parameters, stream),
            additional=frozenset(name for name in _ADDITIONAL if _flag(tensors, f"return_{name}", False)),
        )

    def answer(self, output: RequestOutput) -> dict[str, np.ndarray]:
        """The output tensors that tell what the engine has said: all of it, or what is new of it when streaming."""
        completions = output.outputs
        prefix = self.prompt if self.prepend_input else ""
        tensors = {"text_output": _strings(prefix + completion.text for completion in completions)}
        if "finish_reason" in self.additional:
            tensors["finish_reason"] = _strings(str(completion.finish_reason) for completion in completions)
        if "cumulative_logprob" in self.additional:
            # None, where log-probabilities were not asked for, becomes NaN.
            sums = [completion.cumulative_logprob for completion in completions]
            tensors["cumulative_logprob"] = np.array(sums, np.float32)
        if "logprobs" in self.additional:
            tensors["logprobs"] = _strings(json.dumps(_logprobs(completion)) for completion in completions)
        if "num_input_tokens" in self.additional:
            tensors["num_input_tokens"] = np.array([len(output.prompt_token_ids or ())], np.uint32)
        if "num_output_tokens" in self.additional:
            counts = [len(completion.token_ids) for completion in completions]
            tensors["num_output_tokens"] = np.array(counts, np.uint32)
        return tensors


def _flag(tensors: Mapping[str, np.ndarray], name: str, default: bool) -> bool:
    return bool(tensors[name][0]) if name in tensors else default


def _text(tensors: Mapping[str, np.ndarray], name: str) -> str:
    try:
        return str(tensors[name][0], "utf-8")
    except UnicodeDecodeError as error:
        raise ContractError(f"{name}: is not UTF-8: {error}") from error


def _picture(encoded: bytes, place: int) -> Image.Image:
    try:
        return Image.open(io.BytesIO(base64.b64decode(encoded, validate=True))).convert("RGB")
    except binascii.Error as error:
        raise ContractError(f"image: element {place} is not base64: {error}") from error
    except (OSError, Image.DecompressionBombError) as error:
        raise ContractError(f"image: element {place} cannot be read: {error}") from error


def _sampling(parameters: str, stream: bool) -> SamplingParams:
    try:
        given = json.loads(parameters or "{}")
    except ValueError as error:
        raise ContractError(f"sampling_parameters: is not JSON: {error}") from error
    if not isinstance(given, dict):
        raise ContractError("sampling_parameters: is not a JSON object")
    if unknown := sorted(given.keys() - _PARAMETERS):
        raise ContractError(f"sampling_parameters: unknown: {', '.join(unknown)}")
    try:
        # Not strict, because request parameters may come as strings.
        sampling = msgspec.convert(given, SamplingParams, strict=False)
    except ValueError as error:
        raise ContractError(f"sampling_parameters: {error}") from error
    if stream and sampling.n > 1:
        raise ContractError("sampling_parameters: n must be 1 when streaming: no piece tells which text it is of")
    sampling.output_kind = RequestOutputKind.DELTA if stream else RequestOutputKind.FINAL_ONLY
    return sampling


def _logprobs(completion: CompletionOutput) -> list[dict[int, dict[str, Any]]] | None:
    if completion.logprobs is None:
        return None
    return [
        {
            token: {"logprob": found.logprob, "rank": found.rank, "decoded_token": found.decoded_token}
            for token, found in position.items()
        }
        for position in completion.logprobs
    ]


def _strings(texts: Any) -> np.ndarray:
    return np.array([text.encode() for text in texts], np.object_)
