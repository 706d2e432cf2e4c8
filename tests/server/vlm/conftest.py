"""A real Triton with stand-ins for the vision-language models, which do what each picture orders, and real adapters."""

import io
import itertools
import json
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from adapter.settings import Settings
from scripts.launch import triton
from scripts.launch.ports import Listeners
from scripts.launched import eventually
from tests.server.adapter.conftest import Adapter, running_adapter

STANDIN = Path(__file__).parent / "standin"
MODELS = ("dots_vllm", "internvl_python")
START_TIMEOUT = 60.0
KEY = "key of the tests"


@dataclass(frozen=True)
class Order:
    """A picture that tells the models what to do, and where they tell what they saw of it."""

    folder: Path
    colour: tuple[int, int, int]

    @property
    def name(self) -> str:
        return "{:02x}{:02x}{:02x}".format(*self.colour)

    def picture(self, size: tuple[int, int] = (560, 280), mode: str = "RGB", kind: str = "PNG") -> bytes:
        file = io.BytesIO()
        Image.new("RGB", size, self.colour).convert(mode).save(file, kind)
        return file.getvalue()

    def seen(self) -> dict[str, Any]:
        """What the model saw, once it has done with the request."""
        path = self.folder / f"{self.name}.seen.json"
        assert eventually(path.exists, 60), "the model has not done with it"
        found: dict[str, Any] = json.loads(path.read_text())
        return found


class Vlms:
    """A tritonserver that runs the stand-ins."""

    def __init__(self, folder: Path) -> None:
        self.listeners = Listeners.free()
        self.orders = folder / "orders"
        self.orders.mkdir()
        self._folder = folder
        self._shared_memory = f"ocr_test_{secrets.token_hex(4)}_"
        self._colours = itertools.count(1)
        for model in MODELS:
            version = folder / "repository" / model / "1"
            version.mkdir(parents=True)
            shutil.copy(STANDIN / "model.py", version)
            place = f'parameters {{ key: "orders" value: {{ string_value: "{self.orders}" }} }}'
            config = (STANDIN / f"{model}.pbtxt").read_text(encoding="utf-8") + place
            (version.parent / "config.pbtxt").write_text(config, encoding="utf-8")
        (folder / "no_backends").mkdir()
        self._triton = triton.installation(os.environ, folder / "backends", folder / "no_backends")

    @property
    def grpc(self) -> str:
        return f"127.0.0.1:{self.listeners.grpc}"

    def start(self) -> None:
        """Start it, and wait until both models are loaded."""
        command = triton.command(
            self._triton, self.listeners, self._folder / "repository", self._shared_memory, key=KEY
        )
        self._process = subprocess.Popen(
            [argument for argument in command if not argument.startswith("--load-model")]
            + [f"--load-model={model}" for model in MODELS],
            env=self._triton.environment,
            stdout=(self._folder / "log").open("a"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert eventually(self._ready, START_TIMEOUT), (self._folder / "log").read_text()

    def kill(self) -> None:
        """End it and its stubs without a chance to say good-bye."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for region in Path("/dev/shm").glob(f"{self._shared_memory}*"):  # noqa: S108 - POSIX shared memory lies there
            region.unlink()

    def order(self, *tokens: str | bytes, **orders: Any) -> Order:
        """Have the models write these tokens about a picture; bytes may end within a character."""
        number = next(self._colours)
        order = Order(self.orders, (number % 256, number // 256, 77))
        pieces = [list(token) if isinstance(token, bytes) else token for token in tokens]
        (self.orders / f"{order.name}.json").write_text(json.dumps({"tokens": pieces, **orders}))
        return order

    @contextmanager
    def without(self, model: str) -> Iterator[None]:
        """While it is not loaded."""
        self._repository(model, "unload")
        assert eventually(lambda: "unloaded" in self._index()[model].get("reason", ""), 10)
        try:
            yield
        finally:
            self._repository(model, "load")

    @contextmanager
    def loading(self, **orders: Any) -> Iterator[None]:
        """While loading a model does something: `sleep` or `fail`."""
        path = self.orders / "load.json"
        path.write_text(json.dumps(orders))
        try:
            yield
        finally:
            path.unlink()

    def loads(self) -> list[str]:
        """The beginnings and ends of loaded copies, of both models."""
        return (self.orders / "loads").read_text().split()

    def load(self, model: str) -> None:
        self._repository(model, "load")

    def _repository(self, model: str, action: str) -> None:
        url = f"http://127.0.0.1:{self.listeners.http}/v2/repository/models/{model}/{action}"
        httpx.post(url, headers={triton.ADMIN_HEADER: KEY}, timeout=30).raise_for_status()

    def _index(self) -> dict[str, dict[str, str]]:
        url = f"http://127.0.0.1:{self.listeners.http}/v2/repository/index"
        return {entry["name"]: entry for entry in httpx.post(url, headers={triton.ADMIN_HEADER: KEY}).json()}

    def _ready(self) -> bool:
        assert self._process.poll() is None, (self._folder / "log").read_text()
        try:
            return httpx.get(f"http://127.0.0.1:{self.listeners.http}/v2/health/ready").status_code == 200
        except httpx.TransportError:
            return False


AdapterFactory = Callable[..., Adapter]


@pytest.fixture(scope="session")
def vlms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vlms]:
    """Started once for all tests."""
    server = Vlms(tmp_path_factory.mktemp("vlms"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def adapter_with(vlms: Vlms) -> Iterator[AdapterFactory]:
    """Starts an adapter of the settings given by name."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(
            running_adapter(Settings(**{"triton_url": vlms.grpc, "triton_key": KEY, **settings}))
        )


@pytest.fixture
def adapter(adapter_with: AdapterFactory) -> Adapter:
    """An adapter with the default settings."""
    return adapter_with()


def elapsed_since(start: float) -> float:
    return time.perf_counter() - start
