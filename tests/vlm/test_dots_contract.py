"""The contract of NVIDIA's vLLM backend, on dots_vllm in the embedded server."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
import time

import httpx
import pytest
from tritonclient.utils import InferenceServerException

from adapter.dots.prompts import PromptType, prompt
from scripts.launch.server import ROOT
from scripts.launched import alive, eventually
from tests.vlm.conftest import loaded, page, wait_loaded
from tests.vlm.dots import EVERYTHING, Stream, engine_processes, metric

# The first of them waits for the training and the start.
pytestmark = pytest.mark.timeout(1500)

QUESTION = prompt(PromptType.OCR, None)
GREEDY = {"temperature": 0, "max_tokens": 200}
ENDLESS = {"temperature": 0, "max_tokens": 30000, "ignore_eos": True}


@pytest.fixture(scope="session")
def picture(tiny_models):
    return tiny_models.picture(page("pump"))


def test_without_options_sixteen_tokens_follow_the_prompt(dots, picture):
    [response] = Stream(dots, QUESTION, picture, sampling={"temperature": 0}, additional=("num_output_tokens",))
    assert response.final
    assert response.text.startswith(QUESTION + "Pump P-101")
    assert response.outputs["num_output_tokens"] == [16]


def test_only_what_is_asked_for_is_answered(dots, picture):
    [response] = Stream(dots, QUESTION, picture, sampling=GREEDY, exclude_input_in_output=True)
    assert response.outputs.keys() == {"text_output"}


def test_a_stream_gives_what_is_new_and_flags_its_last_response(dots, picture):
    [whole] = Stream(dots, QUESTION, picture, sampling=GREEDY, exclude_input_in_output=True, additional=EVERYTHING)
    pieces = list(Stream(dots, QUESTION, picture, sampling=GREEDY, stream=True, additional=EVERYTHING))
    assert "".join(piece.text for piece in pieces) == whole.text
    assert [piece.final for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert {*(piece.outputs["finish_reason"][0] for piece in pieces[:-1])} == {"None"}
    assert pieces[-1].outputs["finish_reason"] == whole.outputs["finish_reason"] == ["stop"]
    assert sum(piece.outputs["num_output_tokens"][0] for piece in pieces) == whole.outputs["num_output_tokens"][0]
    assert {piece.outputs["num_input_tokens"][0] for piece in pieces} == {whole.outputs["num_input_tokens"][0]}


def test_a_picture_is_a_token_for_each_28_pixels_square(dots, picture):
    [plain] = Stream(dots, QUESTION, sampling={"max_tokens": 1}, additional=("num_input_tokens",))
    [shown] = Stream(dots, QUESTION, picture, sampling={"max_tokens": 1}, additional=("num_input_tokens",))
    # 640 x 905 becomes 644 x 896; one placeholder stands for them all.
    assert shown.outputs["num_input_tokens"][0] - plain.outputs["num_input_tokens"][0] == 23 * 32 - 1


def test_log_probabilities_come_when_they_are_asked_for(dots, picture):
    ask = {"exclude_input_in_output": True, "additional": ("logprobs", "cumulative_logprob")}
    [without] = Stream(dots, QUESTION, picture, sampling=GREEDY, **ask)
    assert without.outputs["logprobs"] == ["null"]
    assert math.isnan(without.outputs["cumulative_logprob"][0])
    [response] = Stream(dots, QUESTION, picture, sampling={**GREEDY, "logprobs": 2}, **ask)
    tokens = json.loads(response.outputs["logprobs"][0])
    best = [max(position.values(), key=lambda found: found["logprob"]) for position in tokens]
    assert {found["rank"] for found in best} == {1}
    assert sum(found["logprob"] for found in best) == pytest.approx(response.outputs["cumulative_logprob"][0], abs=1e-3)


def test_request_parameters_stand_in_for_sampling_parameters(dots, picture):
    # Over HTTP, as `curl …/generate` sends them.
    url = f"http://{dots.http_url}/v2/models/dots_vllm/generate"
    body = {"text_input": QUESTION, "max_tokens": "3", "temperature": 0, "return_num_output_tokens": True}
    assert httpx.post(url, json=body, timeout=60).json()["num_output_tokens"] == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampling": {"top_p": 3}}, "top_p"),
        ({"sampling": {"max_token": 3}}, "unknown: max_token"),
        ({"sampling": {"temperature": "hot"}}, "temperature"),
        ({"sampling": [1]}, "not a JSON object"),
        ({"stream": True, "exclude_input_in_output": False}, "exclude_input_in_output"),
        ({"stream": True, "sampling": {"n": 2}}, "n must be 1"),
    ],
)
def test_what_cannot_be_done_is_told(dots, picture, options, message):
    with pytest.raises(InferenceServerException, match=rf"\[invalid_argument\] .*{re.escape(message)}"):
        list(Stream(dots, QUESTION, picture, **options))


def test_a_file_that_is_no_picture_and_two_pictures_for_one_place_are_told(dots, picture):
    with pytest.raises(InferenceServerException, match="image: element 0 cannot be read"):
        list(Stream(dots, QUESTION, b"no picture"))
    with pytest.raises(InferenceServerException, match="1 image"):
        list(Stream(dots, QUESTION, picture, picture))


@pytest.mark.parametrize("stream", [True, False])
def test_who_leaves_takes_the_engines_work_along(dots, picture, stream):
    asked = Stream(dots, QUESTION, picture, sampling=ENDLESS, stream=stream)
    assert eventually(lambda: metric(dots, "num_requests_running") == 1, 60)
    asked.cancel()
    assert eventually(lambda: metric(dots, "num_requests_running") == 0, 60)
    time.sleep(0.5)
    tokens = metric(dots, "generation_tokens_total")
    time.sleep(0.5)
    assert metric(dots, "generation_tokens_total") == tokens


def test_sixteen_requests_share_the_engines_batch(dots, picture):
    asked = [Stream(dots, QUESTION, picture, sampling=ENDLESS) for _ in range(16)]
    assert eventually(lambda: metric(dots, "num_requests_running") == 16, 120)
    for one in asked:
        one.cancel()
    assert eventually(lambda: metric(dots, "num_requests_running") == 0, 60)


def test_greedy_text_and_log_probabilities_are_those_of_vllm_alone(dots, tiny_models):
    names = ["pump", "label", "valve_right"]
    paths = [str(tiny_models.folder / "pages" / f"{name}.png") for name in names]
    command = [sys.executable, "-m", "tests.vlm.vllm_alone", str(tiny_models.folder / "dots"), QUESTION, *paths]
    alone = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    # vLLM's own words are among its output.
    answers = [json.loads(line) for line in alone.splitlines() if line.startswith("{")]
    for name, expected in zip(names, answers, strict=True):
        [served] = Stream(
            dots,
            QUESTION,
            tiny_models.picture(page(name)),
            sampling={**GREEDY, "logprobs": 1},
            exclude_input_in_output=True,
            additional=("logprobs",),
        )
        assert served.text == expected["text"]
        found = [next(iter(position.values())) for position in json.loads(served.outputs["logprobs"][0])]
        assert [token["logprob"] for token in found] == pytest.approx(expected["logprobs"], abs=1e-3)


def test_a_killed_engine_fails_its_requests_and_is_started_again(dots, picture):
    before = engine_processes(dots)
    core = next(pid for pid, title in before.items() if "EngineCore" in title)
    asked = Stream(dots, QUESTION, picture, sampling=ENDLESS, stream=True)
    asked.response()
    os.kill(core, signal.SIGKILL)
    with pytest.raises(InferenceServerException, match="engine has died"):
        list(asked)
    assert eventually(lambda: not any(map(alive, before)), 30)
    wait_loaded(dots, "dots")
    [response] = Stream(dots, QUESTION, picture, sampling=GREEDY, exclude_input_in_output=True)
    assert response.text.startswith("Pump P-101")


def test_a_killed_engine_is_started_again_though_a_client_keeps_its_stream(dots, picture):
    kept = Stream(dots, QUESTION, picture, sampling=GREEDY, exclude_input_in_output=True)
    assert kept.response().text.startswith("Pump P-101")
    before = engine_processes(dots)
    os.kill(next(pid for pid, title in before.items() if "EngineCore" in title), signal.SIGKILL)
    assert eventually(lambda: not loaded(dots, "dots"), 30)
    assert eventually(lambda: not any(map(alive, before)), 30)
    wait_loaded(dots, "dots")
    [response] = Stream(dots, QUESTION, picture, sampling=GREEDY, exclude_input_in_output=True)
    assert response.text.startswith("Pump P-101")
    kept.cancel()


def test_a_killed_stub_takes_the_engine_along_and_is_started_again(dots, picture):
    before = engine_processes(dots)
    stub = next(pid for pid, command in dots.stubs.items() if "folder" in command)
    os.kill(stub, signal.SIGKILL)
    # Triton itself calls the model ready as before: the launcher has to see it, and to start Triton again.
    assert eventually(lambda: not loaded(dots, "dots"), 30)
    assert eventually(lambda: not any(map(alive, before)), 30)
    wait_loaded(dots, "dots")
    [response] = Stream(dots, QUESTION, picture, sampling=GREEDY, exclude_input_in_output=True)
    assert response.text.startswith("Pump P-101")
