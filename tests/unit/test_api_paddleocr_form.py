"""The form of the PaddleOCR service: what its options ask the models for, and what goes back."""

import base64
import json
from typing import Any

import httpx
import pytest

from adapter import errors
from adapter.documents import Layout
from adapter.languages import languages
from adapter.recognizer import RecognitionOptions
from adapter.runtime import Runtime
from tests.unit.standin import PICTURE, QUAD, StandIn, client, page_image

BASE64 = base64.b64encode(PICTURE).decode()
BBOX = [list(point) for point in QUAD]
PDF = b"%PDF-1.7 as far as a stand-in is concerned"
JSON_PATHS = ["/paddleocr", "/easyocr", "/v1/ocr"]


def ask(standin: StandIn, path: str, body: dict[str, Any] | None = None, **settings: Any) -> httpx.Response:
    """POST the picture, in JSON or as a form, as the path wants it."""
    if path.endswith(tuple(JSON_PATHS)):
        return client(standin, **settings).post(path, json={"image": BASE64, **(body or {})})
    file = {"file": PDF if path.endswith("pdf") else PICTURE}
    return client(standin, **settings).post(path, data=body or {}, files=file)


def asked(path: str, body: dict[str, Any], **settings: Any) -> RecognitionOptions:
    """What the models were asked for."""
    standin = StandIn()
    answer = ask(standin, path, body, **settings)
    assert answer.status_code == 200, answer.text
    (options,) = standin.seen
    return options


@pytest.mark.parametrize("prefix", ["", "/paddleocr-service"])
@pytest.mark.parametrize("path", [*JSON_PATHS, "/upload"])
def test_the_answer_has_the_documented_form(prefix: str, path: str) -> None:
    answer = ask(StandIn(), prefix + path).json()
    assert 0 <= answer.pop("processing_time") < 60
    assert answer == {
        "success": True,
        "results": [{"text": "文字", "confidence": 0.8, "bbox": BBOX}],
        "image_size": {"width": 640, "height": 480},
        "profile": "PP-OCRv4_mobile",
    }


PAGE_OPTIONS: dict[str, Any] = {"use_doc_orientation_classify": True, "reading_order": True}


@pytest.mark.parametrize("path", ["/v1/ocr", "/upload", "/upload_pdf"])
def test_every_option_of_the_general_paths_reaches_the_models(path: str) -> None:
    body = {
        "use_det": False,
        "use_cls": False,
        "use_rec": False,
        "text_score": 0.25,
        "box_thresh": 0.4,
        "unclip_ratio": 2.0,
        "return_word_box": True,
        "profile": "P",
        **PAGE_OPTIONS,
    }
    assert asked(path, body) == RecognitionOptions(
        profile="P",
        **PAGE_OPTIONS,
        use_det=False,
        use_cls=False,
        use_rec=False,
        return_word_box=True,
        text_score=0.25,
        box_thresh=0.4,
        unclip_ratio=2.0,
    )


def test_every_option_of_paddleocr_reaches_the_models() -> None:
    body = {
        "use_angle_cls": False,
        "lang": "en",
        "det_db_thresh": 0.2,
        "det_db_box_thresh": 0.6,
        "det_db_unclip_ratio": 1.8,
        "profile": "PP-OCRv4_mobile",
        **PAGE_OPTIONS,
    }
    assert asked("/paddleocr", body) == RecognitionOptions(
        profile="PP-OCRv4_mobile",
        use_cls=False,
        det_thresh=0.2,
        box_thresh=0.6,
        unclip_ratio=1.8,
        text_score=0.5,
        **PAGE_OPTIONS,
    )


def test_every_option_of_easyocr_reaches_the_models() -> None:
    body = {"languages": ["en"], "gpu": True, "text_threshold": 0.7, "profile": "PP-OCRv4_mobile", **PAGE_OPTIONS}
    assert asked("/easyocr", body) == RecognitionOptions(profile="PP-OCRv4_mobile", text_score=0.7, **PAGE_OPTIONS)
    assert asked("/easyocr", {**body, "gpu": False}) == asked("/easyocr", body)


@pytest.mark.parametrize("path", [*JSON_PATHS, "/upload", "/upload_pdf"])
def test_pages_are_read_as_they_lie_and_lines_come_from_the_top_unless_it_is_asked_for(path: str) -> None:
    options = asked(path, {})
    assert not options.use_doc_orientation_classify and not options.reading_order


@pytest.mark.parametrize("path", [*JSON_PATHS, "/upload", "/upload_pdf"])
def test_what_is_not_given_comes_from_the_settings_or_is_left_to_the_profile(path: str) -> None:
    options = asked(path, {})
    assert (options.text_score, options.box_thresh, options.unclip_ratio, options.profile) == (0.5, None, None, None)
    options = asked(path, {}, text_score=0.1, box_thresh=0.2, unclip_ratio=3.0)
    assert (options.text_score, options.box_thresh, options.unclip_ratio) == (0.1, 0.2, 3.0)


@pytest.mark.parametrize("use_det", [True, False])
@pytest.mark.parametrize("use_cls", [True, False])
@pytest.mark.parametrize("use_rec", [True, False])
def test_the_stages_can_be_had_in_every_combination(use_det: bool, use_cls: bool, use_rec: bool) -> None:
    standin = StandIn()
    flags = {"use_det": use_det, "use_cls": use_cls, "use_rec": use_rec}
    (line,) = ask(standin, "/v1/ocr", flags).json()["results"]
    (options,) = standin.seen
    assert (options.use_det, options.use_cls, options.use_rec) == (use_det, use_cls, use_rec)
    assert line["confidence"] == (0.8 if use_rec else 0.75)
    assert line.get("angle") == (180 if use_cls and not use_rec else None)


@pytest.mark.parametrize("path", ["/v1/ocr", "/upload"])
def test_word_and_character_boxes_come_when_asked_for(path: str) -> None:
    (line,) = ask(StandIn(), path, {"return_word_box": True}).json()["results"]
    character = {"text": "文", "confidence": 0.9, "bbox": BBOX}
    assert line["words"] == [{"text": "文字", "confidence": 0.9, "bbox": BBOX, "characters": [character] * 2}]


@pytest.mark.parametrize(
    ("path", "body", "language", "profile"),
    [
        ("/paddleocr", {"lang": "korean"}, "korean", "PP-OCRv4_mobile"),
        ("/paddleocr", {"lang": "japan"}, "japan", "PP-OCRv4_mobile"),
        ("/paddleocr", {"lang": "chinese_cht", "profile": "PP-OCRv6_tiny"}, "chinese_cht", "PP-OCRv6_tiny"),
        ("/easyocr", {"languages": ["en", "ja"]}, "ja", "PP-OCRv4_mobile"),
        ("/easyocr", {"languages": ["ko"], "profile": "PP-OCRv6_small"}, "ko", "PP-OCRv6_small"),
    ],
)
def test_a_language_that_is_not_read_is_refused_with_those_that_are(
    path: str, body: dict[str, Any], language: str, profile: str
) -> None:
    answer = ask(StandIn(), path, body)
    assert (answer.status_code, answer.json()["success"]) == (400, False)
    assert repr(language) in answer.json()["error"]
    assert ", ".join(languages(profile)) in answer.json()["error"]


def test_a_language_that_the_named_profile_reads_is_taken() -> None:
    assert asked("/paddleocr", {"lang": "japan", "profile": "PP-OCRv5_mobile"}).profile == "PP-OCRv5_mobile"
    assert asked("/easyocr", {"languages": ["ch_tra", "ja"], "profile": "PP-OCRv6_small"}).profile == "PP-OCRv6_small"


@pytest.mark.parametrize("path", JSON_PATHS)
@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_a_body_is_json_whatever_its_content_type_says(path: str, content_type: str) -> None:
    body = json.dumps({"image": BASE64}).encode()
    assert client(StandIn()).post(path, content=body, headers={"Content-Type": content_type}).json()["success"]


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("/v1/ocr", {"text_score": 1.5}, "text_score"),
        ("/v1/ocr", {"unclip_ratio": 0}, "unclip_ratio"),
        ("/v1/ocr", {"image": ""}, "image: empty"),
        ("/v1/ocr", {"image": "???"}, "image: not base64"),
        ("/v1/ocr", {"image": None}, "image"),
        ("/v1/ocr", {"image": base64.b64encode(PDF).decode()}, "/upload_pdf"),
        ("/paddleocr", {"det_db_thresh": -0.1}, "det_db_thresh"),
        ("/paddleocr", {"det_db_box_thresh": 2}, "det_db_box_thresh"),
        ("/paddleocr", {"det_db_unclip_ratio": 100}, "det_db_unclip_ratio"),
        ("/paddleocr", {"lang": 7}, "lang"),
        ("/easyocr", {"text_threshold": 7}, "text_threshold"),
        ("/easyocr", {"languages": "en"}, "languages"),
        ("/upload", {"text_score": "nan"}, "text_score"),
        ("/upload", {"use_det": "maybe"}, "use_det"),
        ("/upload_pdf", {"box_thresh": "-1"}, "box_thresh"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_its_name(path: str, body: dict[str, Any], named: str) -> None:
    standin = StandIn()
    answer = ask(standin, path, body)
    assert (answer.status_code, answer.json()["success"]) == (400, False)
    assert named in answer.json()["error"]
    assert not standin.seen


@pytest.mark.parametrize("path", [*JSON_PATHS, "/upload"])
def test_a_picture_over_the_documented_size_is_refused_before_it_is_read(path: str) -> None:
    for setting in ("max_image_width", "max_image_height"):
        standin = StandIn()
        limits: dict[str, Any] = {setting: 20}
        answer = ask(standin, path, **limits)
        assert (answer.status_code, answer.json()["success"]) == (413, False)
        assert f"OCR_{setting.upper()}" in answer.json()["error"]
        assert not standin.seen


def test_health_tells_what_is_loaded() -> None:
    runtime = Runtime("PP-OCRv4_mobile", ("CUDAExecutionProvider",), ("PP-OCRv4_mobile",))
    answer = client(StandIn(runtime_=runtime)).get("/paddleocr-service/health")
    assert (answer.status_code, answer.json()) == (
        200,
        {
            "status": "healthy",
            "model": "PP-OCRv4_mobile",
            "model_version": "v4",
            "gpu_support": True,
            "providers": ["CUDAExecutionProvider"],
            "environment": "production",
            "supported_languages": ["ch", "en"],
        },
    )


def test_without_the_models_it_is_not_healthy() -> None:
    answer = client(StandIn(is_ready=False)).get("/paddleocr-service/health")
    assert (answer.status_code, answer.json()["status"]) == (503, "unhealthy")


PAGES = [
    page_image(1, 0, (0.0, 0.0, 595.276, 841.89)),
    page_image(2, 0, (10.0, 20.0, 100.0, 50.0)),
    page_image(2, 1, (10.0, 90.0, 100.0, 50.0)),
]


def entry(page: int, index: int, bbox: list[float]) -> dict[str, Any]:
    return {
        "page": page,
        "index": index,
        "result": [{"text": "文字", "confidence": 0.8, "bbox": BBOX}],
        "bbox_image": bbox,
        "processing_time": 0.3,
        "image_size": {"width": 640, "height": 480},
        "profile": "PP-OCRv4_mobile",
    }


ENTRIES = [
    entry(1, 0, [0.0, 0.0, 595.28, 841.89]),
    entry(2, 0, [10.0, 20.0, 100.0, 50.0]),
    entry(2, 1, [10.0, 90.0, 100.0, 50.0]),
]


def test_a_pdf_gives_an_entry_for_each_picture_in_order() -> None:
    standin = StandIn(pictures=PAGES)
    assert ask(standin, "/upload_pdf").json() == {"success": True, "results": ENTRIES}
    assert standin.layouts == [Layout.PICTURES]


def lines_of(standin: StandIn) -> tuple[httpx.Response, list[dict[str, Any]]]:
    headers = {"Accept": "application/x-ndjson"}
    answer = client(standin).post("/upload_pdf", files={"file": PDF}, headers=headers)
    return answer, [json.loads(line) for line in answer.text.splitlines()]


def test_the_entries_can_be_had_line_by_line_and_a_last_line_says_that_it_was_all() -> None:
    answer, lines = lines_of(StandIn(pictures=PAGES))
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/x-ndjson")
    assert lines == [*ENTRIES, {"success": True, "pages": 2}]


def test_a_failure_on_the_way_is_the_last_line() -> None:
    _, lines = lines_of(StandIn(pictures=PAGES[:1], error_after=errors.TritonUnavailableError("away")))
    assert lines == [ENTRIES[0], {"success": False, "error": "away"}]


def test_a_failure_before_the_first_line_has_its_status() -> None:
    answer, _ = lines_of(StandIn(error=errors.EncryptedDocumentError("encrypted")))
    assert (answer.status_code, answer.json()) == (400, {"success": False, "error": "encrypted"})
