"""`POST /upload` reads real pictures with the real models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from rapidfuzz.distance import Levenshtein
from tritonclient import grpc

from scripts.launched import Launched
from tests.pages import MIXED, draw, encode

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "example.png"
PROFILES = ["PP-OCRv4_mobile", "PP-OCRv5_mobile", "PP-OCRv6_tiny", "PP-OCRv6_small"]
PAGE = encode(draw(MIXED))


def post(server: Launched, picture: bytes, path: str = "/upload", **form: str) -> httpx.Response:
    return httpx.post(f"{server.adapter_url}{path}", files={"file": ("page.png", picture)}, data=form, timeout=60)


def read(server: Launched, picture: bytes, **form: str) -> dict[str, Any]:
    answer = post(server, picture, **form)
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()
    return result


def squeezed(text: str) -> str:
    """Without blanks, which the profiles see differently between scripts."""
    return "".join(text.split())


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_reads_a_page_and_says_that_it_did(triton: Launched, profile: str) -> None:
    answer = read(triton, PAGE, profile=profile)
    assert answer["profile"] == profile
    assert len(answer["results"]) == len(MIXED)
    for line, expected in zip(answer["results"], MIXED, strict=True):
        assert Levenshtein.normalized_similarity(squeezed(line["text"]), squeezed(expected)) > 0.9
        assert line["confidence"] > 0.5


def test_the_answer_has_the_documented_form(triton: Launched) -> None:
    answer = read(triton, EXAMPLE.read_bytes())
    assert answer["success"] is True
    assert answer["image_size"] == {"width": 720, "height": 600}
    assert 0 < answer["processing_time"] < 60
    texts = [line["text"] for line in answer["results"]]
    assert "LIBRARY RECEIPT" in texts
    for line in answer["results"]:
        assert line.keys() == {"text", "confidence", "bbox"}
        assert np.array(line["bbox"]).shape == (4, 2)
        assert 0.5 <= line["confidence"] <= 1


def test_it_is_what_triton_itself_answers(triton: Launched) -> None:
    image = grpc.InferInput("image", [1], "BYTES")
    image.set_data_from_numpy(np.array([PAGE], np.object_))
    score = grpc.InferInput("text_score", [1], "FP32")
    score.set_data_from_numpy(np.array([0.5], np.float32))
    with grpc.InferenceServerClient(triton.grpc_url) as client:
        direct = client.infer("ocr_ensemble", [image, score])
    answer = read(triton, PAGE)
    assert [line["text"] for line in answer["results"]] == [text.decode() for text in direct.as_numpy("texts")]
    assert np.allclose([line["bbox"] for line in answer["results"]], direct.as_numpy("boxes"))


def test_it_is_served_under_its_prefix_too(triton: Launched) -> None:
    there = post(triton, PAGE, "/paddleocr-service/upload").json()
    assert there["results"] == read(triton, PAGE)["results"]


def test_without_recognition_there_are_boxes_alone(triton: Launched) -> None:
    answer = read(triton, PAGE, use_rec="false")
    assert [line["text"] for line in answer["results"]] == [""] * len(MIXED)
    assert all(line["confidence"] > 0.5 for line in answer["results"])


def test_without_detection_the_picture_is_one_line(triton: Launched) -> None:
    picture = encode(draw(MIXED[:1], margin=6))
    (line,) = read(triton, picture, use_det="false")["results"]
    assert Levenshtein.normalized_similarity(squeezed(line["text"]), squeezed(MIXED[0])) > 0.9


def test_lines_below_the_text_score_are_left_out(triton: Launched) -> None:
    assert read(triton, PAGE, text_score="1")["results"] == []


def test_word_boxes_lie_in_their_line(triton: Launched) -> None:
    for line in read(triton, PAGE, return_word_box="true")["results"]:
        assert squeezed("".join(word["text"] for word in line["words"])) == squeezed(line["text"])
        left, right = np.min(line["bbox"], 0)[0], np.max(line["bbox"], 0)[0]
        assert all(left - 5 <= x <= right + 5 for word in line["words"] for x, _ in word["bbox"])


@pytest.mark.parametrize(
    ("form", "named"),
    [
        ({"text_score": "1.5"}, "text_score"),
        ({"text_score": "nan"}, "text_score"),
        ({"box_thresh": "-0.1"}, "box_thresh"),
        ({"unclip_ratio": "1000"}, "unclip_ratio"),
        ({"unclip_ratio": "inf"}, "unclip_ratio"),
        ({"profile": "PP-OCRv9"}, "PP-OCRv9"),
        ({"profile": "../../etc"}, "../../etc"),
    ],
)
def test_an_option_out_of_its_range_is_named(triton: Launched, form: dict[str, str], named: str) -> None:
    answer = post(triton, PAGE, **form)
    assert (answer.status_code, answer.json()["success"]) == (400, False)
    assert named in answer.json()["error"]


@pytest.mark.parametrize("file", [b"hello", b"%PDF-1.7", PAGE[:20], b"<svg></svg>", b"\0" * 1000])
def test_what_is_no_picture_is_a_bad_request_and_the_next_one_is_served(triton: Launched, file: bytes) -> None:
    answer = post(triton, file)
    assert (answer.status_code, answer.json()["success"]) == (400, False)
    assert answer.json()["error"]
    assert read(triton, PAGE)["results"]


def test_a_file_over_the_documented_limit_is_refused(triton: Launched) -> None:
    answer = post(triton, bytes(10 * 1024 * 1024 + 1))
    assert (answer.status_code, answer.json()["success"]) == (413, False)
    assert "10485760" in answer.json()["error"]
