"""A real Triton, whose ocr_ensemble does what the test tells it, and real adapters before it."""

import json
import os
import secrets
import shutil
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from google.protobuf import text_format  # type: ignore[import-untyped]
from tritonclient.grpc import model_config_pb2

from adapter.app import create_app
from adapter.settings import Settings
from scripts.launch import triton
from scripts.launch.ports import Listeners
from tests.pages import blank

ROOT = Path(__file__).resolve().parents[3]
START_TIMEOUT = 60.0


class StandInTriton:
    """A tritonserver with one model, ocr_ensemble: the contract of the real one, the stand-in's code, one instance."""

    def __init__(self, folder: Path) -> None:
        self.listeners = Listeners.free()
        self._folder = folder
        self._shared_memory = f"ocr_test_{secrets.token_hex(4)}_"
        model = folder / "repository" / "ocr_ensemble"
        (model / "1").mkdir(parents=True)
        shutil.copy(Path(__file__).parent / "standin" / "model.py", model / "1" / "model.py")
        contract = (ROOT / "model_repository" / "ocr_ensemble" / "config.pbtxt").read_text(encoding="utf-8")
        config = text_format.Parse(contract, model_config_pb2.ModelConfig())
        del config.instance_group[:]
        config.instance_group.add(count=1, kind=model_config_pb2.ModelInstanceGroup.KIND_CPU)
        (model / "config.pbtxt").write_text(text_format.MessageToString(config), encoding="utf-8")
        (folder / "no_backends").mkdir()
        self._triton = triton.installation(os.environ, folder / "backends", folder / "no_backends")

    @property
    def grpc(self) -> str:
        return f"127.0.0.1:{self.listeners.grpc}"

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        command = triton.command(
            self._triton, self.listeners, self._folder / "repository", self._shared_memory, key="unused"
        )
        self._run([word for word in command if not word.startswith("--load-model")] + ["--load-model=ocr_ensemble"])
        end = time.monotonic() + START_TIMEOUT
        while not self._ready():
            # Triton has been seen to abort while it loads models on a busy machine; the launcher starts it again, too.
            if self._process.poll() == -signal.SIGABRT:
                self.kill()
                self._run(self._process.args)
            assert self._process.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < end, (self._folder / "log").read_text()
            time.sleep(0.1)

    def _run(self, command: Any) -> None:
        self._process = subprocess.Popen(
            command,
            env=self._triton.environment,
            stdout=(self._folder / "log").open("a"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def kill(self) -> None:
        """End it and its stubs without a chance to say good-bye."""
        with suppress(ProcessLookupError):  # of one that has aborted
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for region in Path("/dev/shm").glob(f"{self._shared_memory}*"):  # noqa: S108 - POSIX shared memory lies there
            region.unlink()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stopped in its tracks: its ports take connections, and nothing is answered."""
        os.kill(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._process.pid, signal.SIGCONT)

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.listeners.http}/v2/health/ready", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def picture(orders: dict[str, Any]) -> bytes:
    """A PNG that gives the stand-in its orders."""
    return blank().data + json.dumps(orders).encode()


class Adapter:
    """A running adapter, as its clients see it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def upload(
        self, orders: dict[str, Any], form: dict[str, str] | None = None, timeout: float = 60.0, **arguments: Any
    ) -> httpx.Response:
        """POST /upload; `timeout` is the client's patience, in seconds, after which it leaves."""
        files = {"file": ("orders.png", picture(orders))}
        return httpx.post(f"{self.url}/upload", files=files, data=form, timeout=timeout, **arguments)

    @contextmanager
    def asked(self, orders: dict[str, Any]) -> Iterator[None]:
        """A client of /upload that has sent its picture, and leaves without the answer at the end of the block."""
        files = {"file": ("orders.png", picture(orders))}
        request = httpx.Request("POST", f"{self.url}/upload", files=files)
        client = HTTPConnection(request.url.host, request.url.port or 80)
        try:
            client.request("POST", "/upload", request.read(), dict(request.headers))
            yield
        finally:
            client.close()

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        lines = httpx.get(f"{self.url}/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.split("{")[0].split()[0] == name)


AdapterFactory = Callable[..., Adapter]


@contextmanager
def running_adapter(settings: Settings) -> Iterator[Adapter]:
    config = uvicorn.Config(
        create_app(settings), host="127.0.0.1", port=0, log_level="error", timeout_graceful_shutdown=1, lifespan="on"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield Adapter(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}")
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="session")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandInTriton]:
    """The stand-in, started once for all tests."""
    server = StandInTriton(tmp_path_factory.mktemp("standin"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def adapter_with(standin: StandInTriton) -> Iterator[AdapterFactory]:
    """Starts an adapter of the settings given by name."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(
            running_adapter(Settings(**{"triton_url": standin.grpc, **settings}))
        )


@pytest.fixture
def adapter(adapter_with: AdapterFactory) -> Adapter:
    """An adapter with the default settings."""
    return adapter_with()
