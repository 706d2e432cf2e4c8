"""The InternVL service over real weights: the documented calls on the whole server."""

from __future__ import annotations

import json
import os
import queue
import re
import shutil
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from scripts.launched import Launched, eventually, launched
from scripts.tiny.pages import NOTHING, PAGES
from tests import pages
from tests.vlm.conftest import TinyModels, page, wait_loaded

PATIENCE = 200.0
TYPES = {"stream": np.bool_, "temperature": np.float32, "top_p": np.float32}


@dataclass(frozen=True)
class Response:
    """One response of internvl_python."""

    text: str
    logprobs: list[float]
    confidence: float
    finish_reason: str
    image_patches: int
    num_input_tokens: int
    num_output_tokens: int


class Stream:
    """A request to internvl_python over a gRPC stream of its own, which ends with the iteration, or cancels."""

    def __init__(self, server: Launched, *pictures: bytes, prompt: str = "Describe this picture.", **options: Any):
        self._client = triton_grpc.InferenceServerClient(server.grpc_url)
        self._results: queue.Queue[tuple[Any, Exception | None]] = queue.Queue()
        arrays = {
            "image": np.array(pictures, np.object_),
            "prompt": np.array([prompt.encode()], np.object_),
            **{name: np.array([value], TYPES.get(name, np.int32)) for name, value in options.items()},
        }
        self._client.start_stream(lambda result, error: self._results.put((result, error)))
        self._client.async_stream_infer("internvl_python", [_input(*named) for named in arrays.items()])

    def __iter__(self) -> Generator[Response, None, None]:
        over = False
        try:
            while not over:
                result, error = self._results.get(timeout=PATIENCE)
                if error:
                    over = True
                    raise error
                reason = result.as_numpy("finish_reason")[0].decode()
                over = bool(reason)
                yield self._response(result, reason)
        finally:
            # A request that is cancelled just when it ends can keep Triton from unloading the model.
            self._client.stop_stream(cancel_requests=not over)

    def _response(self, result: Any, reason: str) -> Response:
        numbers = ("confidence", "image_patches", "num_input_tokens", "num_output_tokens")
        return Response(
            text=result.as_numpy("text")[0].decode(),
            logprobs=result.as_numpy("token_logprobs").tolist(),
            finish_reason=reason,
            **{name: result.as_numpy(name)[0].item() for name in numbers},
        )


def _input(name: str, array: np.ndarray) -> Any:
    tensor = triton_grpc.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    tensor.set_data_from_numpy(array)
    return tensor


@pytest.fixture(scope="module")
def weights(tiny_models: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, which a test may change."""
    folder = tmp_path_factory.mktemp("weights") / "internvl"
    shutil.copytree(tiny_models.folder / "internvl", folder)
    return folder


@pytest.fixture(scope="module")
def server(weights, tmp_path_factory) -> Iterator[Launched]:
    with launched(tmp_path_factory.mktemp("server") / "log", MODEL_PATH=str(weights), DOTS_MODEL_PATH="") as server:
        wait_loaded(server, "internvl")
        yield server


def process(server: Launched, picture: bytes, **form: str) -> httpx.Response:
    files = {"file": ("page.png", picture)}
    return httpx.post(f"{server.adapter_url}/ocr/process", files=files, data=form, timeout=PATIENCE)


@pytest.mark.parametrize("number", range(len(PAGES)))
def test_the_documented_call_gives_the_expected_answer(server, tiny_models, number):
    row = tiny_models.expected("internvl")[number]
    picture = (tiny_models.folder / row["page"]).read_bytes()
    for form in ({"prompt": row["prompt"]}, {}):
        answer = process(server, picture, **form)
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert found["raw_text"] == row["answer"]
        assert 0.9 < found["confidence"] <= 1
        assert found["metadata"]["device"] == "cpu"


@pytest.mark.parametrize(("name", "tiles"), [("label", 1), ("pump", 7), ("banner", 5), ("valve_left", 3)])
def test_the_tiles_that_are_told_are_those_of_the_picture(server, tiny_models, name, tiles):
    found = process(server, tiny_models.picture(page(name))).json()
    assert found["metadata"]["image_patches"] == tiles


def test_a_table_is_set_apart(server, tiny_models):
    found = process(server, tiny_models.picture(page("parts"))).json()
    [table] = found["structured_content"]["tables"]
    assert table["content"].startswith("| part | count |")


def test_the_models_state_is_told(server, weights):
    info = httpx.get(f"{server.adapter_url}/model/info").json()
    assert (info["is_loaded"], info["device"], info["model_path"]) == (True, "cpu", str(weights))
    health = httpx.get(f"{server.adapter_url}/internvl/health").json()
    assert (health["status"], health["model_loaded"]) == ("healthy", True)


def test_callers_at_once_get_each_their_own(server, tiny_models):
    asked = [page for page in PAGES for _ in range(2)][:16]
    with ThreadPoolExecutor(len(asked)) as callers:
        answers = list(callers.map(lambda page: process(server, tiny_models.picture(page)), asked))
    assert [answer.json()["raw_text"] for answer in answers] == [page.description for page in asked]


def test_a_stream_gives_the_whole_answer_in_pieces(server, tiny_models):
    picture = tiny_models.picture(page("receipt"))
    whole, *none = Stream(server, picture)
    pieces = list(Stream(server, picture, stream=True))
    assert not none
    assert len(pieces) > 10
    assert "".join(piece.text for piece in pieces) == whole.text == page("receipt").description
    logprobs = [logprob for piece in pieces for logprob in piece.logprobs]
    assert logprobs == pytest.approx(whole.logprobs, abs=1e-3)
    assert len(logprobs) == whole.num_output_tokens == pieces[-1].num_output_tokens
    assert whole.confidence == pytest.approx(np.exp(np.mean(whole.logprobs)), rel=1e-4)
    assert [piece.finish_reason for piece in pieces] == [*[""] * (len(pieces) - 1), "stop"]
    assert whole.image_patches == 4
    assert whole.num_input_tokens > 4 * 16


def test_several_pictures_are_one_question(server, tiny_models):
    # The model has never seen two: only that both are fed is told.
    pictures = [tiny_models.picture(page(name)) for name in ("label", "banner")]
    [response] = Stream(server, *pictures, max_new_tokens=3)
    assert response.image_patches == 1 + 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_new_tokens": 0}, "[invalid_argument] max_new_tokens must be between 1 and 8192, not 0"),
        ({"temperature": -1.0}, "[invalid_argument] temperature"),
        ({"top_p": 0.0}, "[invalid_argument] top_p"),
        ({"max_image_patches": 13}, "[invalid_argument] max_image_patches must be between 1 and 12, not 13"),
        ({"prompt": " "}, "[invalid_argument] prompt is empty"),
        ({"prompt": "<|im_end|>"}, "[invalid_argument] prompt holds '<|im_end|>'"),
        ({"picture": b"no picture"}, "[unreadable_image] "),
        ({"picture": pages.page().data[:-200]}, "[unreadable_image] "),
    ],
)
def test_what_is_wrong_with_a_request_is_named(server, options, message):
    picture = options.pop("picture", pages.page().data)
    with pytest.raises(InferenceServerException, match=re.escape(message)):
        list(Stream(server, picture, **options))


def test_a_limit_ends_the_text_and_says_so(server, tiny_models):
    [response] = Stream(server, tiny_models.picture(page("pump")), max_new_tokens=5)
    assert (response.finish_reason, response.num_output_tokens) == ("length", 5)
    assert page("pump").description.startswith(response.text)


def test_reload_picks_up_new_weights_and_a_wrong_layout_is_refused(server, weights, tiny_models):
    """The last test of this server: new weights whose texts have no end, then none at all, then the first again."""
    config = json.loads((weights / "config.json").read_text())
    generation = json.loads((weights / "generation_config.json").read_text())
    picture = tiny_models.picture(page("label"))

    # One token as the end that is never written: every text goes on to its limit.
    (weights / "generation_config.json").write_text(json.dumps({**generation, "eos_token_id": 0}))
    assert _reload(server).status_code == 200
    long = Stream(server, picture, stream=True, max_new_tokens=500)
    responses = iter(long)
    next(responses)
    [short] = Stream(server, picture, max_new_tokens=5)
    ended = time.monotonic()
    assert short.num_output_tokens == 5
    *_, last = responses
    assert last.num_output_tokens == 500
    assert time.monotonic() > ended

    # What nobody waits for is not written: the request that leaves frees its place at once.
    leaving = iter(Stream(server, picture, stream=True, max_new_tokens=4000))
    next(leaving)
    leaving.close()
    with pytest.raises(httpx.ReadTimeout):
        files = {"file": ("page.png", picture)}
        # Long before the adapter ends a text that repeats itself.
        httpx.post(f"{server.adapter_url}/ocr/process", files=files, timeout=httpx.Timeout(PATIENCE, read=0.3))
    [stub] = (pid for pid, command in server.stubs.items() if "internvl_python" in command)
    assert eventually(lambda: _is_idle(stub), 10.0)

    original = {**config, "model_type": "internvl_chat", "architectures": ["InternVLChatModel"]}
    (weights / "config.json").write_text(json.dumps(original))
    refused = _reload(server)
    assert refused.status_code == 503
    assert "OpenGVLab/InternVL3-8B-hf" in refused.text
    assert not httpx.get(f"{server.adapter_url}/model/info").json()["is_loaded"]
    assert process(server, picture).status_code == 503

    (weights / "config.json").write_text(json.dumps(config))
    (weights / "generation_config.json").write_text(json.dumps(generation))
    assert _reload(server).status_code == 200
    assert process(server, picture).json()["raw_text"] == page("label").description
    assert process(server, pages.encode(np.full((448, 448, 3), 255, np.uint8))).json()["raw_text"] == NOTHING


def _reload(server: Launched) -> httpx.Response:
    return httpx.post(f"{server.adapter_url}/model/reload", timeout=PATIENCE)


def _is_idle(pid: int) -> bool:
    before = _processor_seconds(pid)
    time.sleep(0.5)
    return _processor_seconds(pid) - before < 0.1


def _processor_seconds(pid: int) -> float:
    # proc(5): user and system time are the fields 14 and 15, in ticks; the name, field 2, may hold blanks.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
