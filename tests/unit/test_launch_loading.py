from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from scripts.launch.loading import Loadable, Loader, LoadError
from scripts.launch.server import loadable
from scripts.launch.triton import ADMIN_HEADER

MODEL = "some_model"
NEVER_ASKED = {"name": MODEL}
READY = {"name": MODEL, "version": "1", "state": "READY"}
UNLOADED = {"name": MODEL, "version": "1", "state": "UNAVAILABLE", "reason": "unloaded"}
FAILED = {"name": MODEL, "version": "1", "state": "UNAVAILABLE", "reason": "Internal: gone"}
FAULT = (
    f"load failed for model '{MODEL}': version 1 is at UNAVAILABLE state: Internal: FileNotFoundError: no such weights"
    "\n\nAt:\n  /models/model.py(3): initialize\n;\n"
)


class Triton(ThreadingHTTPServer):
    """As much of Triton as loads a model: `entry` is what its index says of it, `fault` why it cannot be loaded."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.entry: dict[str, str] = NEVER_ASKED
        self.fault = ""
        self.loads: list[tuple[str | None, dict[str, Any]]] = []


class _Handler(BaseHTTPRequestHandler):
    server: Triton

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/v2/repository/index":
            self._answer(200, [{"name": "another", "state": "READY"}, self.server.entry])
            return
        assert self.path == f"/v2/repository/models/{MODEL}/load"
        self.server.loads.append((self.headers[ADMIN_HEADER], body))
        self.server.entry = FAILED if self.server.fault else READY
        self._answer(400 if self.server.fault else 200, {"error": self.server.fault})

    def _answer(self, status: int, body: Any) -> None:
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


class Scene:
    """A loader at work, and what it has said."""

    def __init__(self, triton: Triton, model: Loadable) -> None:
        self.said: list[str] = []
        self.loader = Loader(f"http://127.0.0.1:{triton.server_port}", "key", model, self.said.append)

    def play(self, *acts: tuple[Callable[[], object], Callable[[], bool]]) -> None:
        """For each act: do what it does, and wait until its condition holds."""

        async def scene() -> None:
            task = asyncio.create_task(self.loader.run())
            for do, condition in acts:
                do()
                for _ in range(600):
                    if condition():
                        break
                    await asyncio.sleep(0.05)
                assert condition(), self.said
            task.cancel()

        asyncio.run(scene())


def nothing() -> None:
    """What an act does that only waits."""


def test_a_model_is_loaded_with_its_parameters_and_the_key(triton: Triton) -> None:
    scene = Scene(triton, Loadable(MODEL, "weights", lambda: {"config": "{}"}))
    scene.play((nothing, lambda: scene.loader.settled))
    assert triton.loads == [("key", {"parameters": {"config": "{}"}})]


@pytest.mark.parametrize(("entry", "again"), [(NEVER_ASKED, False), (UNLOADED, True)])
def test_a_model_that_is_gone_is_loaded_again(triton: Triton, entry: dict[str, str], again: bool) -> None:
    """It has gone with a Triton that was started again, or has unloaded itself."""
    scene = Scene(triton, Loadable(MODEL, "weights", again=again))
    scene.play(
        (nothing, lambda: scene.loader.settled),
        (lambda: setattr(triton, "entry", entry), lambda: triton.entry is READY),
    )
    assert triton.loads == [("key", {})] * 2


def test_a_model_that_others_have_unloaded_is_left_to_them(triton: Triton) -> None:
    triton.entry = UNLOADED
    scene = Scene(triton, Loadable(MODEL, "weights"))
    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(asyncio.wait_for(scene.loader.run(), 2))
    assert not triton.loads


def test_a_model_that_cannot_be_loaded_at_the_start_is_told_of_once_and_left_alone(triton: Triton) -> None:
    triton.fault = FAULT
    scene = Scene(triton, Loadable(MODEL, "weights", again=True))
    scene.play((nothing, lambda: scene.loader.settled))
    assert scene.said == [
        f"Loading {MODEL} from weights.",
        f"{MODEL} cannot be loaded: FileNotFoundError: no such weights\nThe server goes on without {MODEL}.",
    ]
    assert len(triton.loads) == 1


def test_a_model_that_could_be_loaded_before_is_tried_again(triton: Triton) -> None:
    scene = Scene(triton, Loadable(MODEL, "weights", again=True))

    def break_down() -> None:
        triton.fault, triton.entry = FAULT, UNLOADED

    scene.play(
        (nothing, lambda: scene.loader.settled),
        (break_down, lambda: len(triton.loads) == 3),
        (lambda: setattr(triton, "fault", ""), lambda: triton.entry is READY),
    )
    assert any("it is tried again in 0.5 s" in line for line in scene.said)


def test_weights_that_are_not_to_be_had_are_told_of_once_and_triton_is_not_asked(triton: Triton) -> None:
    def parameters() -> dict[str, str]:
        raise LoadError("SETTING: there is no folder /nowhere")

    scene = Scene(triton, Loadable(MODEL, "/nowhere", parameters))
    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(asyncio.wait_for(scene.loader.run(), 3))
    assert scene.loader.settled
    assert scene.said == [f"SETTING: there is no folder /nowhere\nThe server goes on without {MODEL}."]
    assert not triton.loads


def test_the_models_that_are_wanted_are_those_whose_weights_are_named() -> None:
    assert loadable({"MODEL_PATH": "", "OCR_PORT": "1"}) == []
    named = loadable({"MODEL_PATH": "/models/InternVL3-8B-hf", "DOTS_MODEL_PATH": "rednote-hilab/dots.ocr"})
    assert [(each.name, each.weights) for each in named] == [
        ("internvl_python", "/models/InternVL3-8B-hf"),
        ("dots_vllm", "rednote-hilab/dots.ocr"),
    ]
