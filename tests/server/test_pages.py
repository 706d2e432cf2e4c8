"""Turned pages and reading order on the real weights: by Triton's protocol, and through each OCR API."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
import tritonclient.grpc

from scripts.launched import Launched
from tests import pages
from tests.server.ensemble import read

LINES = (*pages.CHINESE, *pages.ENGLISH, *pages.MIXED)
UPRIGHT = pages.draw(LINES)
HEIGHT, WIDTH = UPRIGHT.shape[:2]
# By how many degrees the page is turned clockwise.
ROTATIONS = {0: None, 90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


def lying(angle: int) -> bytes:
    rotation = ROTATIONS[angle]
    return pages.encode(UPRIGHT if rotation is None else np.asarray(cv2.rotate(UPRIGHT, rotation), np.uint8))


def on_picture(angle: int, x: float, y: float) -> tuple[float, float]:
    """Where a point of the upright page lies on the turned one."""
    return {0: (x, y), 90: (HEIGHT - y, x), 180: (WIDTH - x, HEIGHT - y), 270: (y, WIDTH - x)}[angle]


def plain(text: str) -> str:
    return "".join(text.split())


def assert_whole(text: str) -> None:
    assert [plain(line) for line in text.splitlines()] == [plain(line) for line in LINES]


@pytest.fixture(scope="module")
def grpc(triton: Launched) -> Iterator[Any]:
    with tritonclient.grpc.InferenceServerClient(triton.grpc_url) as client:
        yield client


@pytest.fixture(scope="module")
def post(triton: Launched) -> Callable[..., Any]:
    def post(path: str, body: dict[str, Any], status: int = 200) -> Any:
        answer = httpx.post(triton.adapter_url + path, json=body, timeout=120)
        assert answer.status_code == status, answer.text
        return answer.json()

    return post


@pytest.mark.parametrize("angle", ROTATIONS)
def test_triton_tells_a_pages_angle_and_reads_it_as_when_it_stood(grpc: Any, angle: int) -> None:
    standing = read(grpc, lying(0), reading_order=True)
    reading = read(grpc, lying(angle), use_doc_orientation_classify=True, reading_order=True)
    assert reading.page_angle == angle
    assert reading.texts == standing.texts
    assert_whole(reading.text)
    # The quads are the picture's, and begin at the text's own upper left corner.
    there = np.array([[on_picture(angle, x, y) for x, y in quad] for quad in standing.boxes.tolist()])
    assert np.abs(reading.boxes - there).max() < 2


def test_unless_it_is_asked_for_pages_are_read_as_they_lie_and_have_no_text(grpc: Any) -> None:
    reading = read(grpc, lying(180))
    assert (reading.page_angle, reading.text) == (0, "")
    assert plain(reading.texts[0]) == plain(LINES[-1])


@pytest.mark.parametrize("angle", ROTATIONS)
@pytest.mark.parametrize("path", ["/v1/ocr", "/paddleocr", "/easyocr"])
def test_the_paddleocr_service_reads_turned_pages(post: Callable[..., Any], path: str, angle: int) -> None:
    image = base64.b64encode(lying(angle)).decode()
    answer = post(path, {"image": image, "use_doc_orientation_classify": True, "reading_order": True})
    assert answer["page_angle"] == angle
    assert_whole(answer["text"])
    left, top = answer["results"][0]["bbox"][0]
    assert np.abs(np.subtract((left, top), on_picture(angle, 30, 30))).max() < 20


@pytest.mark.parametrize("angle", ROTATIONS)
def test_sagemaker_reads_turned_pages(post: Callable[..., Any], angle: int) -> None:
    image = base64.b64encode(lying(angle)).decode()
    answer = post("/invocations?reading_order=true", {"image": image, "use_doc_orientation_classify": True})
    assert answer["page_angles"] == [angle]
    assert_whole(answer["text"])


@pytest.mark.parametrize("angle", ROTATIONS)
def test_paddlex_reads_turned_pages(post: Callable[..., Any], angle: int) -> None:
    image = base64.b64encode(lying(angle)).decode()
    asked = {"useDocOrientationClassify": True, "readingOrder": True}
    first = post("/ocr", {"image": image, "inferenceParams": asked})["result"]
    assert first["pageAngle"] == angle
    assert_whole(first["text"])
    assert np.abs(np.subtract(first["texts"][0]["poly"][0], on_picture(angle, 30, 30))).max() < 20
    (current,) = post("/ocr", {"file": image, "fileType": 1, "visualize": False, **asked})["result"]["ocrResults"]
    pruned = current["prunedResult"]
    assert pruned["doc_preprocessor_res"]["angle"] == angle
    assert_whole(current["text"])
    # As PaddleX has it: on the page as it was set upright.
    assert np.abs(np.subtract(pruned["rec_polys"][0][0], (30, 30))).max() < 20


def test_unwarping_is_refused_by_name(post: Callable[..., Any]) -> None:
    image = base64.b64encode(lying(0)).decode()
    refused = post("/ocr", {"file": image, "fileType": 1, "useDocUnwarping": True}, status=422)
    assert "useDocUnwarping" in refused["errorMsg"]


def test_columns_are_read_one_after_the_other(grpc: Any) -> None:
    left = [f"The left column has a line {number} of text" for number in range(8)]
    right = [f"The right column has a line {number} of text" for number in range(8)]
    columns = [pages.draw(lines) for lines in (left, right)]
    height = min(len(column) for column in columns)
    picture = pages.encode(np.hstack([column[:height] for column in columns]))
    assert [plain(text) for text in read(grpc, picture, reading_order=True).texts] == [
        plain(line) for line in left + right
    ]
    assert plain(read(grpc, picture).texts[1]) == plain(right[0])
