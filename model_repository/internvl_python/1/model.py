"""internvl_python: pictures and a prompt in, text out, token by token; many requests side by side."""

from __future__ import annotations

import ctypes
import importlib.util
import json
import locale
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

_NEEDS = {"PIL": "pillow", "numpy": "numpy", "torch": "torch", "transformers": "transformers"}
_missing = [package for module, package in _NEEDS.items() if importlib.util.find_spec(module) is None]
if _missing:
    raise ImportError(
        f"internvl_python needs {', '.join(_missing)} in the server's Python: pip install {' '.join(_missing)}"
    )

import torch  # noqa: E402
from internvl import checkpoint  # noqa: E402
from internvl.engine import Engine, Text  # noqa: E402
from internvl.errors import RequestError  # noqa: E402
from internvl.network import Network  # noqa: E402
from internvl.pictures import decode  # noqa: E402
from internvl.prompt import PromptFormat  # noqa: E402
from internvl.question import Limits, Question  # noqa: E402
from internvl.tiling import tiles  # noqa: E402
from internvl.transcript import Piece, Transcript  # noqa: E402

locale.setlocale(locale.LC_CTYPE, "C.UTF-8")  # the stub starts in the C locale

# Pictures that are decoded and cut at the same time.
_PREPARED_AT_ONCE = 2

# mallopt(3): parameters by malloc.h's numbers, and the most that glibc itself would raise them to.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MMAP_THRESHOLD_MAX = 32 << 20

_FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
_ON_ITS_WAY = ""  # the finish reason of every response but the last


class TritonPythonModel:
    """Takes requests at once, and answers each when its turn in the engine comes."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the weights. What they lack, or the machine, is an exception that says so."""
        if args["model_instance_kind"] != "GPU":
            _keep_memory()
        parameters = {
            name: value["string_value"] for name, value in json.loads(args["model_config"])["parameters"].items()
        }
        device = _device(args["model_instance_kind"], args["model_instance_device_id"])
        loaded = checkpoint.load(
            checkpoint.locate(parameters["model_path"], os.environ), device, _dtype(parameters["dtype"], device)
        )
        self._vision = loaded.vision
        self._tokenizer = loaded.tokenizer
        self._prompts = PromptFormat(loaded.tokenizer, loaded.vision.tokens_per_tile)
        self._limits = Limits(
            default_new_tokens=int(parameters["default_new_tokens"]),
            max_new_tokens=int(parameters["max_new_tokens"]),
            max_image_patches=loaded.vision.most_tiles,
            window=loaded.window,
        )
        self._engine = Engine(Network(loaded), loaded.stops, int(parameters["max_sequences"]))
        self._preparing = ThreadPoolExecutor(_PREPARED_AT_ONCE, thread_name_prefix="prepare")

    def execute(self, requests: list[Any]) -> None:
        """Return before anything is answered: the answers go through the requests' response senders."""
        for request in requests:
            inputs = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
            self._preparing.submit(self._prepare, request.get_response_sender(), inputs)

    def finalize(self) -> None:
        """Called when every request has been answered."""
        self._preparing.shutdown()
        self._engine.close()

    def _prepare(self, sender: Any, inputs: dict[str, np.ndarray]) -> None:
        try:
            question = Question.read(inputs, self._limits)
            cut = [tiles(decode(image), self._vision.side, question.max_image_patches) for image in question.images]
            ids = self._prompts.ids(question.prompt, [len(one) for one in cut])
            answer = _Answer(sender, Transcript(self._tokenizer), question.stream, sum(map(len, cut)), len(ids))
            room = self._limits.room(len(ids), question.max_new_tokens)
            self._engine.submit(Text(ids, np.concatenate(cut), question.sampling, room, answer))
        except Exception as error:
            _fail(sender, error)


class _Answer:
    """engine.Listener for one request: tokens → responses."""

    def __init__(
        self, sender: Any, transcript: Transcript, stream: bool, image_patches: int, input_tokens: int
    ) -> None:
        self._sender = sender
        self._transcript = transcript
        self._stream = stream
        self._image_patches = image_patches
        self._input_tokens = input_tokens
        self._held: list[Piece] = []
        self._lost = False

    def token(self, token: int, logprob: float) -> None:
        piece = self._transcript.add(token, logprob)
        if piece is None:
            return
        self._held.append(piece)
        if self._stream:
            self._send(_ON_ITS_WAY)

    def finish(self, reason: str) -> None:
        self._held.append(self._transcript.finish())
        self._send(reason, _FINAL)

    def fail(self, error: Exception) -> None:
        _fail(self._sender, error)

    def cancelled(self) -> bool:
        return self._lost or bool(self._sender.is_cancelled())

    def _send(self, finish_reason: str, flags: int = 0) -> None:
        pieces, self._held = self._held, []
        outputs = {
            "text": _strings("".join(piece.text for piece in pieces)),
            "token_logprobs": np.array([logprob for piece in pieces for logprob in piece.logprobs], np.float32),
            "confidence": np.array([self._transcript.confidence], np.float32),
            "finish_reason": _strings(finish_reason),
            "image_patches": np.array([self._image_patches], np.int32),
            "num_input_tokens": np.array([self._input_tokens], np.int32),
            "num_output_tokens": np.array([self._transcript.num_tokens], np.int32),
        }
        response = pb_utils.InferenceResponse([pb_utils.Tensor(*named) for named in outputs.items()])
        self._lost = not _send(self._sender, response, flags)


def _fail(sender: Any, error: Exception) -> None:
    if isinstance(error, RequestError):
        status = pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG)
    else:
        pb_utils.Logger.log_error(f"internvl_python: {error!r}")
        status = pb_utils.TritonError(f"internvl_python failed: {error!r}", pb_utils.TritonError.INTERNAL)
    _send(sender, pb_utils.InferenceResponse(error=status), _FINAL)


def _send(sender: Any, response: Any, flags: int) -> bool:
    """Whether it was sent. What cannot be is the loss of one request: the engine goes on for the others."""
    try:
        sender.send(response, flags=flags)
    except pb_utils.TritonModelException as error:
        pb_utils.Logger.log_error(f"internvl_python: a response was lost: {error}")
        return False
    return True


def _device(kind: str, number: str) -> torch.device:
    if kind != "GPU":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise RuntimeError(
            "Triton has a GPU, and this PyTorch has none: install a PyTorch that is built for it, or hide the GPU "
            "(CUDA_VISIBLE_DEVICES=)"
        )
    return torch.device("cuda", int(number))


def _dtype(name: str, device: torch.device) -> torch.dtype:
    types = {
        "auto": torch.float32 if device.type == "cpu" else torch.bfloat16,
        "float32": torch.float32,
        "bfloat16": torch.bfloat16,
    }
    if name not in types:
        raise ValueError(f"the parameter dtype must be one of {', '.join(types)}, not {name!r}")
    return types[name]


def _strings(value: str) -> np.ndarray:
    return np.array([value.encode()], np.object_)


def _keep_memory() -> None:
    """Undo what the launcher asks of malloc for all processes, to give memory back at once: tensors come and go."""
    if "MALLOC_MMAP_THRESHOLD_" in os.environ:
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_MAX)
        libc.mallopt(_M_TRIM_THRESHOLD, 2 * _MMAP_THRESHOLD_MAX)
