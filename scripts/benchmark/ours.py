"""This server, started as its users start it."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.benchmark.errors import BenchmarkError
from scripts.benchmark.load import Endpoint, our_lines
from scripts.benchmark.peers.environments import CACHE
from scripts.benchmark.processes import running
from scripts.benchmark.triton_metrics import ModelStatistics, statistics
from scripts.client import answers
from scripts.launch.ports import Listeners
from scripts.launch.server import ROOT
from scripts.weights.catalogue import PROFILES

NAME = "this server"

_START_TIMEOUT = 300.0
_READY_INTERVAL = 0.02
_LAST_WORDS = 10

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Configuration:
    """What a server is started with: the values of OCR_PRECISION and OCR_MODE; empty takes the server's default."""

    precision: str = ""
    mode: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """The settings that are not left to the server."""
        settings = {"OCR_PRECISION": self.precision, "OCR_MODE": self.mode}
        return {name: value for name, value in settings.items() if value}

    def __str__(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.environment.items()) or "default settings"


@dataclass(frozen=True)
class OurServer:
    """A running server.

    Attributes:
        configuration: what it was started with.
        listeners: its addresses.
        pid: of its launcher.
        start_seconds: from its start until it was ready.
    """

    configuration: Configuration
    listeners: Listeners
    pid: int
    start_seconds: float

    @property
    def url(self) -> str:
        """Base URL of the HTTP APIs."""
        return f"http://127.0.0.1:{self.listeners.adapter}"

    def endpoint(self, profile: str) -> Endpoint:
        """Where pictures are read with that profile."""
        return upload_endpoint(self.url, profile)

    def model_config(self, model: str, profile: str) -> dict[str, Any]:
        """The model's configuration as Triton runs it."""
        version = next(found.version for found in PROFILES if found.name == profile)
        url = f"http://127.0.0.1:{self.listeners.http}/v2/models/{model}/versions/{version}/config"
        with _OPENER.open(url, timeout=10) as response:
            config: dict[str, Any] = json.load(response)
        return config

    def precision(self, profile: str) -> str:
        """What the networks compute in, as their configurations tell: `f32`, `bf16`, or several joined by `/`."""
        found = {served_precision(self.model_config(model, profile)) for model in ("det_onnx", "cls_onnx", "rec_onnx")}
        return "/".join(sorted(found))

    def statistics(self) -> dict[str, ModelStatistics]:
        """What Triton has counted since its start."""
        with _OPENER.open(f"http://127.0.0.1:{self.listeners.metrics}/metrics", timeout=10) as response:
            return statistics(response.read().decode())


def upload_endpoint(url: str, profile: str) -> Endpoint:
    """`/upload` of a server of ours, wherever it runs."""
    return Endpoint(f"{url}/upload", "file", our_lines, {"profile": profile})


@contextmanager
def serving(
    configuration: Configuration, settings: Mapping[str, str] = {}, *, warm: bool = True
) -> Iterator[OurServer]:
    """Run `scripts/serve` on free ports until the end of the block.

    Args:
        configuration: what it is started with.
        settings: further environment variables.
        warm: whether to wait until it has shown its recogniser every width, as it does beside its first requests.

    Raises:
        BenchmarkError: it is not ready or warm in time; the message has its last words.
    """
    listeners = Listeners.free()
    log = CACHE / "logs" / f"serve-{listeners.adapter}.log"
    environment = {
        "OCR_HOST": "127.0.0.1",
        **{setting: str(port) for setting, port in listeners.by_setting.items()},
        # A queue for more clients than any part of the benchmark has.
        "OCR_MAX_WAITING": "256",
        "OCR_REQUEST_TIMEOUT": "600",
        **configuration.environment,
        **settings,
    }
    began = time.perf_counter()
    with running([ROOT / "scripts" / "serve"], environment=environment, log=log) as process:
        # Triton first, because the adapter logs each time that it has to say no.
        for probe in (
            f"http://127.0.0.1:{listeners.http}/v2/health/ready",
            f"http://127.0.0.1:{listeners.adapter}/ping",
        ):
            while not answers(probe):
                if process.poll() is not None or time.perf_counter() - began > _START_TIMEOUT:
                    raise BenchmarkError(f"scripts/serve is not ready:\n{_last_words(log)}")
                time.sleep(_READY_INTERVAL)
        server = OurServer(configuration, listeners, process.pid, time.perf_counter() - began)
        while warm and "\nWarm after " not in log.read_text(errors="replace"):
            if process.poll() is not None or time.perf_counter() - began > _START_TIMEOUT:
                raise BenchmarkError(f"scripts/serve does not get warm:\n{_last_words(log)}")
            time.sleep(_READY_INTERVAL)
        yield server


def served_precision(config: Mapping[str, Any]) -> str:
    """Of an execution accelerator's parameters: OpenVINO's property, or the `precision_mode` of those for GPUs."""
    accelerators = config.get("optimization", {}).get("execution_accelerators", {})
    for named in (
        *accelerators.get("gpu_execution_accelerator", ()),
        *accelerators.get("cpu_execution_accelerator", ()),
    ):
        parameters = named.get("parameters", {})
        if precision := parameters.get("INFERENCE_PRECISION_HINT") or parameters.get("precision_mode"):
            return str(precision).lower().replace("fp", "f")
    return "f32"


def _last_words(log: Path) -> str:
    return "\n".join(f"  {line}" for line in log.read_text(errors="replace").splitlines()[-_LAST_WORDS:])
