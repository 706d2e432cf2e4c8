"""dots.ocr in a running Triton: loaded with the weights that a setting names, and again whenever it is gone."""

from __future__ import annotations

import asyncio
import base64
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from google.protobuf import json_format, text_format  # type: ignore[import-untyped]
from tritonclient.grpc.model_config_pb2 import ModelConfig

from scripts.client import answers
from scripts.launch.supervisor import Restarts
from scripts.launch.triton import ADMIN_HEADER, TritonError, has_gpu

MODEL = "dots_vllm"
SETTING = "DOTS_MODEL_PATH"

# Seconds. Weights come from a slow disk, or from a hub, in some minutes.
_LOAD_TIMEOUT = 1800.0
_INTERVAL = 1.0

# On a CPU, whose memory is everybody's: what one page of the largest size and its text take, for a batch of a few.
_CPU_CACHE_BYTES = 1 << 30

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class LoadError(TritonError):
    """The model cannot be loaded; the message says why."""


def engine_arguments(repository: Path, weights: str, gpu: bool) -> dict[str, Any]:
    """What stands in the model's 1/model.json, for other weights and this machine.

    Args:
        repository: the model repository.
        weights: a folder, or a name on a hub.
        gpu: whether the engine runs on one.

    Raises:
        LoadError: a folder is named that is not there.
    """
    arguments: dict[str, Any] = json.loads((repository / MODEL / "1" / "model.json").read_text())
    # Triton runs the engine in another working directory.
    folder = Path(weights)
    if weights.startswith(("/", ".")) and not folder.is_dir():
        raise LoadError(f"{SETTING}: there is no folder {weights}")
    arguments["model"] = str(folder.resolve()) if folder.exists() else weights
    arguments["use_tqdm_on_load"] = False  # bars are for terminals
    if not gpu:
        del arguments["gpu_memory_utilization"]
        # Compiling takes longer than the documents that a CPU is given to read.
        arguments.update(enforce_eager=True, kv_cache_memory_bytes=_CPU_CACHE_BYTES, dtype=_dtype(folder, arguments))
    return arguments


def _dtype(folder: Path, arguments: Mapping[str, Any]) -> str:
    """The type of the weights themselves: a CPU gains nothing from another."""
    try:
        config = json.loads((folder / "config.json").read_text())
    except OSError:
        return str(arguments["dtype"])
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


async def keep_loaded(
    triton: str, key: str, repository: Path, weights: str, *, loaded: asyncio.Event, say: Callable[[str], None]
) -> None:
    """Load the model as soon as Triton is there, and again whenever Triton has it no longer.

    It has it no longer when it was started again, and when the model's engine has died.

    Args:
        triton: base URL of its HTTP protocol.
        key: the value of the header `ADMIN_HEADER`.
        repository: the model repository.
        weights: a folder, or a name on a hub.
        loaded: set when the model is loaded for the first time. A failure before that is final.
        say: takes the messages.

    Raises:
        LoadError: the model cannot be loaded: at the start, or time and again.
    """
    parameters = load_parameters(repository, engine_arguments(repository, weights, has_gpu()))
    restarts = Restarts()
    while True:
        if await asyncio.to_thread(answers, f"{triton}/v2/health/live") and not await asyncio.to_thread(
            answers, f"{triton}/v2/models/{MODEL}/ready"
        ):
            say(f"Loading {MODEL} from {weights}.")
            try:
                if await asyncio.to_thread(_load, triton, key, parameters):
                    loaded.set()
            except LoadError as error:
                delay = restarts.delay(asyncio.get_running_loop().time())
                if not loaded.is_set() or delay is None:
                    raise
                say(f"{error}; it is tried again in {delay:g} s")
                await asyncio.sleep(delay)
        await asyncio.sleep(_INTERVAL)


def _load(triton: str, key: str, parameters: Mapping[str, str]) -> bool:
    """Whether it is loaded now: it is not where Triton ended meanwhile, which is for Triton's supervisor to judge."""
    request = urllib.request.Request(  # noqa: S310 - http, to a server of our own
        f"{triton}/v2/repository/models/{MODEL}/load",
        json.dumps({"parameters": parameters}).encode(),
        {"Content-Type": "application/json", ADMIN_HEADER: key},
    )
    try:
        with _OPENER.open(request, timeout=_LOAD_TIMEOUT):
            return True
    except urllib.error.HTTPError as error:
        raise LoadError(f"{MODEL} cannot be loaded: {_reason(error)}") from error
    except TimeoutError as error:
        raise LoadError(f"{MODEL} was not loaded within {_LOAD_TIMEOUT:g} s") from error
    except OSError:
        return False


def _reason(error: urllib.error.HTTPError) -> str:
    body = error.read().decode(errors="replace")
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError):
        return body or error.reason
