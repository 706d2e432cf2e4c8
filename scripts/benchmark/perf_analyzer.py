"""Triton alone, asked by NVIDIA's perf_analyzer, and what Triton itself tells of queues and batches meanwhile."""

from __future__ import annotations

import base64
import json
import os
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scripts.benchmark.errors import BenchmarkError
from scripts.benchmark.ours import OurServer
from scripts.benchmark.peers.environments import environment, library_path
from scripts.benchmark.pictures import Picture
from scripts.benchmark.samples import Sample
from scripts.benchmark.triton_metrics import between

NAME = "Triton alone"

_TIMEOUT = 600.0
_LAST_WORDS = 5


@dataclass(frozen=True)
class Protocol:
    """A way to Triton, and perf_analyzer's name for it."""

    name: str
    argument: str


PROTOCOLS = (Protocol("Triton's HTTP", "http"), Protocol("gRPC", "grpc"))


def prepare() -> tuple[Path, str]:
    """The environment that holds perf_analyzer, and the folders of the libraries that it wants; made where missing.

    Raises:
        BenchmarkError: it cannot be installed.
    """
    folder = environment("perf_analyzer")
    return folder, library_path(folder)


def analyze(server: OurServer, profile: str, pictures: Sequence[Picture], protocol: Protocol, clients: int) -> Sample:
    """Have perf_analyzer send the pictures, one request each, from so many clients.

    The sample has Triton's statistics, and no readings: perf_analyzer keeps none.

    Raises:
        BenchmarkError: perf_analyzer cannot be installed, or failed; the message has its last words.
    """
    folder, libraries = prepare()
    variables = {**os.environ, "LD_LIBRARY_PATH": libraries}
    port = server.listeners.http if protocol.argument == "http" else server.listeners.grpc
    before = server.statistics()
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        data, report = Path(temporary) / "data.json", Path(temporary) / "report.json"
        data.write_text(json.dumps({"data": [_request(picture, profile) for picture in pictures]}))
        command = [
            *(str(folder / "bin" / "perf_analyzer"), "-m", "ocr_ensemble", "-u", f"127.0.0.1:{port}"),
            *("-i", protocol.argument, "--input-data", str(data), "--concurrency-range", str(clients)),
            *("--request-count", str(len(pictures)), "--profile-export-file", str(report)),
        ]
        try:
            done = subprocess.run(
                command, env=variables, cwd=temporary, capture_output=True, text=True, timeout=_TIMEOUT, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise BenchmarkError(f"perf_analyzer had not finished after {_TIMEOUT:g} s") from error
        if done.returncode or not report.exists():
            words = (done.stdout + done.stderr).strip().splitlines()[-_LAST_WORDS:]
            raise BenchmarkError("\n".join(["perf_analyzer failed:", *(f"  {word}" for word in words)]))
        sample = sample_of(report.read_bytes().decode(errors="replace"))
    return replace(sample, models=between(before, server.statistics()))


def sample_of(report: str) -> Sample:
    """Of perf_analyzer's export: nanoseconds at which each request was sent and its answer was there.

    Raises:
        BenchmarkError: a request failed, or there is none.
    """
    requests = [request for experiment in json.loads(report)["experiments"] for request in experiment["requests"]]
    if not requests or not all(request["response_timestamps"] for request in requests):
        raise BenchmarkError("perf_analyzer reports a request without an answer")
    spans = [(request["timestamp"], request["response_timestamps"][-1]) for request in requests]
    seconds = (max(end for _, end in spans) - min(start for start, _ in spans)) / 1e9
    return Sample(len(spans), seconds, tuple((end - start) / 1e9 for start, end in spans))


def _request(picture: Picture, profile: str) -> dict[str, object]:
    # A string on Triton's wire: its length, little-endian, and its bytes.
    content = base64.b64encode(struct.pack("<I", len(picture.data)) + picture.data).decode()
    return {"image": {"content": {"b64": content}, "shape": [1]}, "profile": {"content": [profile], "shape": [1]}}
