"""dots.ocr's engine on this machine: what its 1/model.json is to hold, and the load call that says so."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.protobuf import json_format, text_format  # type: ignore[import-untyped]
from tritonclient.grpc.model_config_pb2 import ModelConfig

from scripts.launch.loading import Loadable, LoadError
from scripts.launch.triton import has_gpu

MODEL = "dots_vllm"
SETTING = "DOTS_MODEL_PATH"

# On a CPU, whose memory is everybody's: what one page of the largest size and its text take, for a batch of a few.
_CPU_CACHE_BYTES = 1 << 30

_HUB_NAME = re.compile(r"\w[\w.-]*/[\w.-]+")
_HUB_FILES = ("*.json", "*.jinja", "*.txt", "*.py", "*.safetensors")


def loadable(repository: Path, weights: str) -> Loadable:
    """The model with these weights (a folder, or a name on a hub). It unloads itself when its engine has died."""
    return Loadable(
        MODEL,
        weights,
        lambda: load_parameters(repository, engine_arguments(repository, weights, has_gpu())),
        again=True,
    )


def engine_arguments(repository: Path, weights: str, gpu: bool) -> dict[str, Any]:
    """What stands in the model's 1/model.json, for other weights and this machine.

    Args:
        repository: the model repository.
        weights: a folder, or a name on a hub.
        gpu: whether the engine runs on one.

    Raises:
        LoadError: the weights are not to be had.
    """
    arguments: dict[str, Any] = json.loads((repository / MODEL / "1" / "model.json").read_text())
    folder = _folder(weights)
    arguments["model"] = str(folder)
    arguments["use_tqdm_on_load"] = False  # bars are for terminals
    if not gpu:
        del arguments["gpu_memory_utilization"]
        # Compiling takes longer than the documents that a CPU is given to read.
        arguments.update(enforce_eager=True, kv_cache_memory_bytes=_CPU_CACHE_BYTES, dtype=_dtype(folder, arguments))
    return arguments


def _folder(weights: str) -> Path:
    """Where they are. What a hub's name stands for is fetched, or taken as it lies in the hub's cache.

    The engine could do that itself, but tries for long before it says, without the name, that it cannot.
    """
    if (folder := Path(weights)).is_dir():
        return folder.resolve()  # Triton runs the engine in another working directory
    if not _HUB_NAME.fullmatch(weights):
        raise LoadError(f"{SETTING}: there is no folder {weights}")
    try:
        from huggingface_hub import snapshot_download  # noqa: PLC0415 - there with the vision-language models only
    except ImportError as error:
        raise LoadError(f"{SETTING}: {MODEL} needs what scripts/serve --vlm installs") from error
    try:
        return Path(snapshot_download(weights, allow_patterns=[*_HUB_FILES]))
    except OSError as error:
        reason = str(error).partition("\n")[0]
        raise LoadError(f"{SETTING}: {weights} is neither in the hub's cache nor to be fetched: {reason}") from error


def _dtype(folder: Path, arguments: Mapping[str, Any]) -> str:
    """The type of the weights themselves: a CPU gains nothing from another."""
    try:
        config = json.loads((folder / "config.json").read_text())
    except OSError:
        return str(arguments["dtype"])  # the engine says what is missing
    return str(config.get("dtype") or config.get("torch_dtype") or arguments["dtype"])


def load_parameters(repository: Path, arguments: Mapping[str, Any]) -> dict[str, str]:
    """What Triton's load call is given so that 1/model.json holds these arguments.

    With a file comes a configuration: such a call takes nothing from the model's own folder.
    """
    config = text_format.Parse((repository / MODEL / "config.pbtxt").read_text(), ModelConfig())
    return {
        "config": json_format.MessageToJson(config, preserving_proto_field_name=True, indent=0),
        "file:1/model.json": base64.b64encode(json.dumps(arguments).encode()).decode(),
    }
