"""The DotsOCR server's documented calls over real weights: adapter, Triton, vLLM."""

from __future__ import annotations

import base64
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import cv2
import httpx
import numpy as np
import pytest

from scripts.launched import Launched, eventually
from scripts.tiny.pages import PAGES, Image, render
from tests.pages import encode
from tests.vlm.conftest import TinyModels, page
from tests.vlm.dots import PATIENCE, engine_processes, metric

# The first of them waits for the training and the start.
pytestmark = pytest.mark.timeout(1500)

PROMPTS = ("prompt_layout_all_en", "prompt_layout_only_en", "prompt_ocr", "prompt_grounding_ocr")


def ask(server: Launched, **body: Any) -> httpx.Response:
    """POST /dots/ocr; always the likeliest token."""
    return httpx.post(f"{server.adapter_url}/dots/ocr", json={"temperature": 0, **body}, timeout=PATIENCE)


def text(server: Launched, picture: Image, prompt: str, **body: Any) -> str:
    """What is read off a picture (BGR)."""
    encoded = base64.b64encode(encode(picture)).decode()
    answer = ask(server, image=encoded, image_format="base64", prompt_type=prompt, **body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["response"])


def rows(tiny_models: TinyModels, prompt: str) -> list[dict[str, Any]]:
    """What is expected of a prompt type, and as what it is asked."""
    found: list[dict[str, Any]] = tiny_models.expected("dots")
    return [
        {
            "image": str(tiny_models.folder / row["page"]),
            "prompt_type": prompt,
            **({"bbox": row["box"]} if row["box"] else {}),
            "answer": row["answer"],
        }
        for row in found
        if row["prompt"] == prompt
    ]


def bgr(name: str) -> Image:
    """A page's pixels."""
    return np.ascontiguousarray(render(page(name))[..., ::-1])


@pytest.mark.parametrize("prompt", PROMPTS)
def test_every_page_is_read_as_expected(dots, tiny_models, prompt):
    expected = rows(tiny_models, prompt)
    assert len(expected) >= len(PAGES)
    for row in expected:
        answer = row.pop("answer")
        found = ask(dots, **row)
        assert found.status_code == 200, found.text
        assert found.json() == {"model": "dots-ocr", "response": answer, "prompt_type": prompt}, row


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_stream_joins_to_the_same_answer(dots, tiny_models, prompt):
    row = rows(tiny_models, prompt)[0]
    answer = row.pop("answer")
    lines = [json.loads(line) for line in ask(dots, **row, stream=True).text.splitlines()]
    assert "".join(line["response"] for line in lines) == answer
    assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]
    assert len(lines) > 2


def test_streamed_characters_are_whole(dots, tiny_models):
    for row in rows(tiny_models, "prompt_ocr"):
        answer = row.pop("answer")
        pieces = [json.loads(line)["response"] for line in ask(dots, **row, stream=True).text.splitlines()]
        assert "".join(pieces) == answer
        assert "�" not in "".join(pieces)


def test_a_page_that_lies_a_little_aside_is_read_the_same(dots, tiny_models):
    for row in rows(tiny_models, "prompt_ocr"):
        pixels = cv2.imread(row["image"])
        height, width = pixels.shape[:2]
        moved = cv2.warpAffine(
            pixels, np.array([[1, 0, 3], [0, 1, -2]], np.float32), (width, height), borderValue=(255, 255, 255)
        )
        assert text(dots, moved, "prompt_ocr") == row["answer"], row["image"]


def test_the_boxes_of_a_copy_of_half_the_size_are_half_as_large(dots, tiny_models):
    for row in rows(tiny_models, "prompt_layout_all_en"):
        half = cv2.resize(cv2.imread(row["image"]), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        found = json.loads(text(dots, half, "prompt_layout_all_en"))
        expected = json.loads(row["answer"])
        assert [{**each, "bbox": None} for each in found] == [{**each, "bbox": None} for each in expected]
        for one, other in zip(found, expected, strict=True):
            # The model's own numbers are whole pixels of what it is shown.
            assert np.allclose(np.array(one["bbox"]) * 2, other["bbox"], atol=3), (row["image"], one, other)


def test_channels_keep_their_order(dots):
    """The pages differ in their colour only; a stranger to both is the page with red and blue exchanged."""
    red, blue = (text(dots, bgr(name), "prompt_layout_all_en") for name in ("stamp_red", "stamp_blue"))
    assert red != blue


@pytest.mark.parametrize("kind", ["blank", "noise"])
def test_nothing_is_read_off_a_picture_of_nothing(dots, kind):
    rng = np.random.default_rng(7)
    shape = (400, 500, 3)
    picture = np.full(shape, 255, np.uint8) if kind == "blank" else rng.integers(0, 256, shape).astype(np.uint8)
    assert text(dots, picture, "prompt_layout_all_en") == "[]"
    assert text(dots, picture, "prompt_ocr") == ""


def test_what_is_cut_off_is_repaired_and_says_so(dots, tiny_models):
    row = rows(tiny_models, "prompt_layout_all_en")[0]
    whole = json.loads(row.pop("answer"))
    found = ask(dots, **row, max_new_tokens=60).json()
    assert found["truncated"] and found["repaired"]
    elements = json.loads(found["response"])
    assert elements[0] == whole[0]
    assert len(elements) < len(whole)


def test_sixteen_callers_at_once_are_answered_as_one_is(dots, tiny_models):
    expected = rows(tiny_models, "prompt_layout_all_en")
    asked = [expected[number % len(expected)] for number in range(16)]
    with ThreadPoolExecutor(16) as pool:
        calls = [
            pool.submit(ask, dots, **{name: value for name, value in row.items() if name != "answer"}) for row in asked
        ]
    assert [call.result().json()["response"] for call in calls] == [row["answer"] for row in asked]


def leave_a_stream(server: Launched, row: dict[str, Any]) -> None:
    """Hang up when the first line has come."""
    with httpx.stream(
        "POST", f"{server.adapter_url}/dots/ocr", json={**row, "stream": True}, timeout=PATIENCE
    ) as answer:
        next(answer.iter_lines())
        with standing_still(server):
            answer.close()
            wait_until_the_adapter_knows(server)


def leave_without_an_answer(server: Launched, row: dict[str, Any]) -> None:
    """Hang up when the request is there."""
    with standing_still(server):
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{server.adapter_url}/dots/ocr", json=row, timeout=3)
        wait_until_the_adapter_knows(server)


_ATTEMPTS = 4


@pytest.mark.parametrize("leave", [leave_a_stream, leave_without_an_answer])
def test_who_hangs_up_stops_the_engines_work(dots, tiny_models, leave):
    row = max(rows(tiny_models, "prompt_layout_all_en"), key=lambda row: len(row["answer"]))
    row = {**row, "temperature": 0}
    del row["answer"]
    whole = tokens_of(dots, lambda: ask(dots, **row))
    # On a busy machine the engine may be done before anybody has left: that says nothing.
    assert any(tokens_of(dots, lambda: leave(dots, row)) < whole for _ in range(_ATTEMPTS))


def tokens_of(server: Launched, work: Callable[[], object]) -> float:
    """How many tokens the engine generates for some work, until it has no more to do."""
    before = metric(server, "generation_tokens_total")
    work()
    time.sleep(2)  # what goes on has begun by then
    assert eventually(lambda: metric(server, "num_requests_running") == 0, PATIENCE)
    return metric(server, "generation_tokens_total") - before


@contextmanager
def standing_still(server: Launched) -> Iterator[None]:
    """While the engine's processes do nothing, lest they have done before anybody can leave."""
    processes = [*engine_processes(server)]
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)


def wait_until_the_adapter_knows(server: Launched) -> None:
    """That its caller has left; and a moment for the word to come to the engine's process."""
    assert eventually(lambda: "\nocr_in_flight 0.0" in httpx.get(f"{server.adapter_url}/metrics").text, PATIENCE)
    time.sleep(1)
