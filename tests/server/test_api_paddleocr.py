"""The PaddleOCR service on real pictures, as the document's own clients call it."""

from __future__ import annotations

import base64
import json
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from rapidfuzz.distance import Levenshtein

from scripts.launched import Launched
from tests.pages import CHINESE, MIXED, draw, encode, upside_down
from tests.pdfs import scanned, typeset

PAGE = encode(draw(MIXED))
LINE = draw(MIXED[:1], margin=6)


def in_base64(picture: bytes) -> str:
    return base64.b64encode(picture).decode()


def post(server: Launched, path: str, **fields: Any) -> httpx.Response:
    return httpx.post(f"{server.adapter_url}{path}", json={"image": in_base64(PAGE), **fields}, timeout=60)


def read(server: Launched, path: str, **fields: Any) -> list[dict[str, Any]]:
    answer = post(server, path, **fields)
    assert answer.status_code == 200, answer.text
    lines: list[dict[str, Any]] = answer.json()["results"]
    return lines


def post_pdf(server: Launched, file: bytes, **arguments: Any) -> httpx.Response:
    return httpx.post(f"{server.adapter_url}/upload_pdf", files={"file": file}, timeout=120, **arguments)


def alike(text: str, expected: str) -> bool:
    return Levenshtein.normalized_similarity("".join(text.split()), "".join(expected.split())) > 0.85


@pytest.mark.parametrize("path", ["/paddleocr", "/easyocr", "/v1/ocr", "/paddleocr-service/v1/ocr"])
def test_every_path_reads_a_picture(triton: Launched, path: str) -> None:
    lines = read(triton, path)
    assert len(lines) == len(MIXED)
    for line, expected in zip(lines, MIXED, strict=True):
        assert alike(line["text"], expected)
        assert line["confidence"] >= 0.5


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "text/plain", None])
def test_a_client_may_call_its_json_anything(triton: Launched, content_type: str | None) -> None:
    body = json.dumps({"image": in_base64(PAGE)})
    headers = {"Content-Type": content_type} if content_type else {}
    answer = httpx.post(f"{triton.adapter_url}/v1/ocr", content=body.encode(), headers=headers, timeout=60)
    assert len(answer.json()["results"]) == len(MIXED)


def test_detection_alone_gives_boxes(triton: Launched) -> None:
    lines = read(triton, "/v1/ocr", use_rec=False, use_cls=False)
    whole = read(triton, "/v1/ocr")
    assert [line["bbox"] for line in lines] == [line["bbox"] for line in whole]
    assert all(line["text"] == "" and line["confidence"] > 0.5 and "angle" not in line for line in lines)


@pytest.mark.parametrize(("picture", "angle"), [(LINE, 0), (cv2.rotate(LINE, cv2.ROTATE_180), 180)])
def test_orientation_alone_gives_the_angle_of_the_picture(triton: Launched, picture: Any, angle: int) -> None:
    height, width = picture.shape[:2]
    (line,) = read(triton, "/v1/ocr", image=in_base64(encode(picture)), use_det=False, use_rec=False)
    assert (line["angle"], line["text"]) == (angle, "")
    assert line["bbox"] == [[0, 0], [width, 0], [width, height], [0, height]]


def test_recognition_alone_takes_the_picture_for_one_line(triton: Launched) -> None:
    (line,) = read(triton, "/v1/ocr", image=in_base64(encode(LINE)), use_det=False, use_cls=False)
    assert alike(line["text"], MIXED[0])


def test_orientation_decides_whether_a_line_on_its_head_is_read(triton: Launched) -> None:
    image = in_base64(encode(cv2.rotate(LINE, cv2.ROTATE_180)))
    (line,) = read(triton, "/v1/ocr", image=image, use_det=False)
    assert alike(line["text"], MIXED[0])
    turned = read(triton, "/v1/ocr", image=image, use_det=False, use_cls=False, text_score=0.0)
    assert not any(alike(line["text"], MIXED[0]) for line in turned)


def test_use_angle_cls_is_the_same_for_paddleocr(triton: Launched) -> None:
    image = in_base64(upside_down(CHINESE).data)
    # PP-OCRv4_mobile's answers hang on this switch alone.
    lines = read(triton, "/paddleocr", image=image, profile="PP-OCRv4_mobile")
    assert sorted(line["text"] for line in lines) == sorted(CHINESE)
    lines = read(triton, "/paddleocr", image=image, profile="PP-OCRv4_mobile", use_angle_cls=False)
    assert not any(line["text"] in CHINESE for line in lines)


def test_the_thresholds_change_what_is_found(triton: Launched) -> None:
    assert read(triton, "/paddleocr", det_db_thresh=1.0) == []
    assert read(triton, "/paddleocr", det_db_box_thresh=1.0) == []
    assert read(triton, "/easyocr", text_threshold=1.0) == []

    def heights(ratio: float) -> float:
        lines = read(triton, "/paddleocr", det_db_unclip_ratio=ratio)
        return float(np.mean([np.ptp(np.array(line["bbox"])[:, 1]) for line in lines]))

    assert heights(2.5) > heights(1.0) + 4


def test_words_and_characters_have_boxes_inside_their_line(triton: Launched) -> None:
    for line in read(triton, "/v1/ocr", return_word_box=True):
        left, right = np.min(line["bbox"], 0)[0], np.max(line["bbox"], 0)[0]
        assert "".join(word["text"] for word in line["words"]).split() == line["text"].replace(" ", "").split()
        for word in line["words"]:
            assert "".join(character["text"] for character in word["characters"]) == word["text"]
            assert all(left - 5 <= x <= right + 5 for part in word["characters"] for x, _ in part["bbox"])


@pytest.mark.parametrize(
    ("path", "fields"), [("/paddleocr", {"lang": "korean"}), ("/easyocr", {"languages": ["en", "ko"]})]
)
def test_a_language_that_the_default_profile_does_not_read_is_refused(
    triton: Launched, path: str, fields: dict[str, Any]
) -> None:
    answer = post(triton, path, **fields)
    assert (answer.status_code, answer.json()["success"]) == (400, False)
    listed = httpx.get(f"{triton.adapter_url}/paddleocr-service/health").json()["supported_languages"]
    assert ", ".join(listed) in answer.json()["error"]


def test_health_tells_what_triton_runs_on(triton: Launched) -> None:
    answer = httpx.get(f"{triton.adapter_url}/paddleocr-service/health")
    metrics = httpx.get(triton.metrics_url).text
    health = answer.json()
    assert (answer.status_code, health["status"], health["gpu_support"]) == (200, "healthy", False)
    assert health["providers"]
    assert all(f'provider="{provider}"' in metrics for provider in health["providers"])
    assert (health["model"], health["model_version"]) == (post(triton, "/v1/ocr").json()["profile"], "v6")


def test_a_typeset_pdf_is_read_page_by_page_in_order(triton: Launched) -> None:
    texts = [[f"Page {number} of 5", "第几页"] for number in range(1, 6)]
    results = post_pdf(triton, typeset(*texts)).json()["results"]
    assert [(entry["page"], entry["index"]) for entry in results] == [(number, 0) for number in range(1, 6)]
    for entry, expected in zip(results, texts, strict=True):
        assert [line["text"].replace(" ", "") for line in entry["result"]] == [
            text.replace(" ", "") for text in expected
        ]
        assert entry["bbox_image"] == [0, 0, 420, 595]
        assert entry["image_size"]["width"] > 1000
        assert entry["processing_time"] > 0


def test_a_page_of_pictures_gives_each_at_its_own_resolution(triton: Launched) -> None:
    first, second = encode(draw(["First picture"])), encode(draw(["Second picture"]), ".jpg")
    file = scanned([(first, (20, 30, 400, 120)), (second, (20, 300, 400, 390))], [(second, (20, 30, 400, 120))])
    results = post_pdf(triton, file).json()["results"]
    assert [(entry["page"], entry["index"]) for entry in results] == [(1, 0), (1, 1), (2, 0)]
    texts = [entry["result"][0]["text"].replace(" ", "") for entry in results]
    assert texts == ["Firstpicture", "Secondpicture", "Secondpicture"]
    height, width = draw(["First picture"]).shape[:2]
    assert results[0]["image_size"] == {"width": width, "height": height}
    x, y, box_width, box_height = results[0]["bbox_image"]
    assert 20 <= x < x + box_width <= 401
    assert 30 <= y < y + box_height <= 121


def test_the_entries_of_a_pdf_can_be_had_as_they_are_read(triton: Launched) -> None:
    file = typeset(["One"], ["Two"], ["Three"])
    headers = {"Accept": "application/x-ndjson"}
    whole = post_pdf(triton, file).json()["results"]
    url = f"{triton.adapter_url}/upload_pdf"
    with httpx.stream("POST", url, files={"file": file}, headers=headers, timeout=120) as answer:
        *entries, end = [json.loads(line) for line in answer.iter_lines()]
    assert end == {"success": True, "pages": 3}
    assert [entry["result"] for entry in entries] == [entry["result"] for entry in whole]


@pytest.mark.parametrize("file", [b"hello", PAGE, b"%PDF-1.7\n", typeset(["cut"])[:200]])
def test_what_is_no_pdf_is_a_bad_request(triton: Launched, file: bytes) -> None:
    for headers in ({}, {"Accept": "application/x-ndjson"}):
        answer = post_pdf(triton, file, headers=headers)
        assert (answer.status_code, answer.json()["success"]) == (400, False)
        assert "file" in answer.json()["error"]
