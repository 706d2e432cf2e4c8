from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from scripts.launch.dots import MODEL, LoadError, engine_arguments, keep_loaded, load_parameters
from scripts.launch.server import ROOT
from scripts.launch.triton import ADMIN_HEADER

REPOSITORY = ROOT / "model_repository"


def test_on_a_gpu_only_the_weights_are_other_than_in_the_repository() -> None:
    arguments = engine_arguments(REPOSITORY, "rednote-hilab/dots.mocr", gpu=True)
    committed = json.loads((REPOSITORY / MODEL / "1" / "model.json").read_text())
    assert arguments == {**committed, "model": "rednote-hilab/dots.mocr", "use_tqdm_on_load": False}


def test_on_a_cpu_the_weights_keep_their_type_and_the_memory_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"torch_dtype": "float32"}')
    arguments = engine_arguments(REPOSITORY, str(tmp_path), gpu=False)
    assert arguments["dtype"] == "float32"
    assert arguments["kv_cache_memory_bytes"] > 0
    assert "gpu_memory_utilization" not in arguments
    assert engine_arguments(REPOSITORY, "some/name", gpu=False)["dtype"] == "bfloat16"


def test_a_folder_is_named_as_triton_will_find_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights").mkdir()
    monkeypatch.chdir(tmp_path)
    assert engine_arguments(REPOSITORY, "weights", gpu=True)["model"] == str(tmp_path / "weights")


def test_a_folder_that_is_not_there_is_no_name_on_a_hub() -> None:
    with pytest.raises(LoadError, match="there is no folder /nowhere"):
        engine_arguments(REPOSITORY, "/nowhere", gpu=True)


def test_the_load_call_brings_the_configuration_and_the_arguments() -> None:
    parameters = load_parameters(REPOSITORY, {"model": "here"})
    config = json.loads(parameters["config"])
    assert (config["name"], config["backend"]) == (MODEL, "vllm")
    assert config["model_transaction_policy"] == {"decoupled": True}
    assert json.loads(base64.b64decode(parameters["file:1/model.json"])) == {"model": "here"}


class Triton(ThreadingHTTPServer):
    """As much of Triton as loads a model: `fault` is what it says in the place of loading it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.keys: list[str | None] = []
        self.ready = False
        self.fault = ""


class _Handler(BaseHTTPRequestHandler):
    server: Triton

    def do_GET(self) -> None:
        self._answer(200 if self.server.ready or self.path.endswith("live") else 400, {})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.keys.append(self.headers[ADMIN_HEADER])
        self.server.ready = not self.server.fault
        self._answer(400 if self.server.fault else 200, {"error": self.server.fault})

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        encoded = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def triton() -> Iterator[Triton]:
    with Triton() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def keep(triton: Triton, loaded: asyncio.Event) -> asyncio.Task[None]:
    url = f"http://127.0.0.1:{triton.server_port}"
    return asyncio.create_task(keep_loaded(url, "key", REPOSITORY, "weights", loaded=loaded, say=lambda line: None))


def test_a_model_that_is_gone_is_loaded_again(triton: Triton) -> None:
    async def scene() -> None:
        loaded = asyncio.Event()
        task = keep(triton, loaded)
        await asyncio.wait_for(loaded.wait(), 10)
        triton.ready = False
        for _ in range(200):
            if triton.ready:
                break
            await asyncio.sleep(0.05)
        task.cancel()

    asyncio.run(scene())
    assert triton.keys == ["key", "key"]


def test_a_model_that_cannot_be_loaded_at_the_start_is_final(triton: Triton) -> None:
    triton.fault = "no such weights"

    async def scene() -> None:
        await asyncio.wait_for(keep(triton, asyncio.Event()), 10)

    with pytest.raises(LoadError, match="no such weights"):
        asyncio.run(scene())
