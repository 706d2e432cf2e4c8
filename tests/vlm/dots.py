"""dots_vllm asked as any Triton client asks NVIDIA's vLLM backend, and what the tests want to know of its server."""

from __future__ import annotations

import base64
import json
import queue
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import tritonclient.grpc as triton_grpc
from tritonclient.utils import np_to_triton_dtype

from scripts.launched import Launched, children, descendants

MODEL = "dots_vllm"
PATIENCE = 300.0
EVERYTHING = ("finish_reason", "cumulative_logprob", "logprobs", "num_input_tokens", "num_output_tokens")


@dataclass(frozen=True)
class Response:
    """One response: its outputs by name, BYTES as text; and whether it carried the FINAL flag."""

    outputs: dict[str, list[Any]]
    final: bool

    @property
    def text(self) -> str:
        """The one text of `text_output`."""
        [text] = self.outputs["text_output"]
        return str(text)


class Stream:
    """A request over a gRPC stream of its own, and its responses; an error among them is raised."""

    def __init__(
        self,
        server: Launched,
        prompt: str,
        *pictures: bytes,
        sampling: object = None,
        additional: tuple[str, ...] = (),
        **flags: bool,
    ):
        self._client = triton_grpc.InferenceServerClient(server.grpc_url)
        self._results: queue.Queue[tuple[Any, Exception | None]] = queue.Queue()
        tensors = {
            "text_input": _strings(prompt.encode()),
            **({"image": _strings(*map(base64.b64encode, pictures))} if pictures else {}),
            **({"sampling_parameters": _strings(json.dumps(sampling).encode())} if sampling is not None else {}),
            **{name: np.array([flag]) for name, flag in flags.items()},
            **{f"return_{name}": np.array([True]) for name in additional},
        }
        self._client.start_stream(lambda result, error: self._results.put((result, error)))
        self._client.async_stream_infer(MODEL, [_input(*named) for named in tensors.items()])

    def __iter__(self) -> Iterator[Response]:
        final = False
        try:
            while not final:
                response = self.response()
                final = response.final
                yield response
        finally:
            self._client.stop_stream()

    def response(self) -> Response:
        """The next one."""
        result, error = self._results.get(timeout=PATIENCE)
        if error:
            raise error
        response = result.get_response()
        outputs = {output.name: result.as_numpy(output.name).tolist() for output in response.outputs}
        return Response(
            {name: [_plain(value) for value in values] for name, values in outputs.items()},
            final=response.parameters["triton_final_response"].bool_param,
        )

    def cancel(self) -> None:
        """Leave before the answer is there."""
        self._client.stop_stream(cancel_requests=True)


def metric(server: Launched, name: str) -> float:
    """One of vLLM's metrics, as Triton tells it."""
    text = httpx.get(server.metrics_url).text
    found = re.search(rf"^vllm:{name}{{[^}}]*}} (\S+)$", text, re.MULTILINE)
    assert found, text
    return float(found[1])


def engine_processes(server: Launched) -> dict[int, str]:
    """vLLM's own processes, by their ids: the title of each."""
    below = {server.triton, *descendants(server.triton)}
    return {pid: title for parent in below for pid, title in children(parent) if title.startswith("VLLM::")}


def _plain(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def _strings(*values: bytes) -> np.ndarray:
    return np.array(values, np.object_)


def _input(name: str, array: np.ndarray) -> Any:
    tensor = triton_grpc.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    tensor.set_data_from_numpy(array)
    return tensor
