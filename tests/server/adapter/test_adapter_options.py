"""What a client asks for reaches Triton, and what Triton answers reaches the client."""

import json
from typing import Any

import httpx
import pytest

QUAD = [[1, 2], [30, 2], [30, 12], [1, 12]]


def seen(answer: httpx.Response) -> dict[str, Any]:
    """What the model saw: `options` and `request_id`."""
    orders: dict[str, Any] = json.loads(answer.json()["results"][0]["text"])
    return orders


def test_every_option_arrives_as_it_was_given(adapter: Any) -> None:
    form = {
        "profile": "PP-OCRv5_mobile",
        "use_det": "false",
        "use_cls": "0",
        "use_rec": "true",
        "return_word_box": "1",
        "text_score": "0.25",
        "box_thresh": "0.4",
        "unclip_ratio": "2",
        "use_doc_orientation_classify": "true",
        "reading_order": "true",
    }
    expected = {
        "profile": "PP-OCRv5_mobile",
        "use_det": False,
        "use_cls": False,
        "use_rec": True,
        "return_word_box": True,
        "text_score": 0.25,
        "box_thresh": 0.4,
        "unclip_ratio": 2.0,
        "use_doc_orientation_classify": True,
        "reading_order": True,
    }
    assert seen(adapter.upload({}, form))["options"] == expected


def test_what_is_not_given_has_the_documents_default_or_is_left_to_the_profile(adapter: Any) -> None:
    expected = {
        "use_det": True,
        "use_cls": True,
        "use_rec": True,
        "return_word_box": False,
        "text_score": 0.5,
        "use_doc_orientation_classify": False,
        "reading_order": False,
    }
    assert seen(adapter.upload({}))["options"] == expected


def test_the_settings_are_defaults_that_a_request_may_change(adapter_with: Any) -> None:
    adapter = adapter_with(text_score=0.1, box_thresh=0.2, unclip_ratio=3.0)
    options = seen(adapter.upload({}, {"box_thresh": "0.7"}))["options"]
    assert (options["text_score"], options["box_thresh"], options["unclip_ratio"]) == (0.1, 0.7, 3.0)


def test_the_answer_has_the_documented_form(adapter: Any) -> None:
    answer = adapter.upload({}).json()
    (line,) = answer.pop("results")
    seconds = answer.pop("processing_time")
    assert answer == {
        "success": True,
        "image_size": {"width": 640, "height": 480},
        "profile": "PP-OCRv4_mobile",
        "more_frames": True,
    }
    assert 0 < seconds < 60
    assert (line["confidence"], line["bbox"]) == (0.5, QUAD)
    assert line.keys() == {"text", "confidence", "bbox"}


def test_word_boxes_come_when_asked_for(adapter: Any) -> None:
    (line,) = adapter.upload({}, {"return_word_box": "true"}).json()["results"]
    span = {"text": "文字", "confidence": 0.9, "bbox": QUAD}
    assert line["words"] == [{**span, "characters": [span]}]


def test_without_recognition_the_confidence_is_the_detections(adapter: Any) -> None:
    (line,) = adapter.upload({}, {"use_rec": "false"}).json()["results"]
    assert line["confidence"] == 0.75


def test_the_requests_id_goes_with_it_to_triton_and_back(adapter: Any) -> None:
    answer = adapter.upload({}, headers={"X-Request-Id": "order-7"})
    assert answer.headers["X-Request-Id"] == seen(answer)["request_id"] == "order-7"


@pytest.mark.parametrize(
    ("orders", "status", "error"),
    [
        ({"fail": "[invalid_argument] text_score must be less"}, 400, "text_score must be less"),
        ({"fail": "[unreadable_image] not a picture"}, 400, "not a picture"),
        ({"fail": "[too_large] more than 100 megapixels"}, 413, "more than 100 megapixels"),
        (
            {"fail": "det_onnx: Failed to increase the shared memory pool size for key 'x' to 4194304 bytes."},
            503,
            "the inference server has too little shared memory left for a picture of this size: send a smaller one, or "
            "give it more (/dev/shm; of a container --shm-size)",
        ),
        ({"fail": "KeyError: secret"}, 500, "the inference server failed to process the request"),
        ({"raise": "secret"}, 500, "the inference server failed to process the request"),
    ],
)
def test_a_failure_of_the_model_has_a_right_status_and_shows_no_inside(
    adapter: Any, orders: dict[str, str], status: int, error: str
) -> None:
    answer = adapter.upload(orders)
    assert (answer.status_code, answer.json()) == (status, {"success": False, "error": error})


def test_pages_and_requests_are_counted_by_api(adapter: Any) -> None:
    adapter.upload({})
    adapter.upload({"fail": "[unreadable_image] not a picture"})
    lines = httpx.get(f"{adapter.url}/metrics").text.splitlines()
    assert 'ocr_pages_total{api="paddleocr_service"} 1.0' in lines
    for status in (200, 400):
        assert f'ocr_requests_total{{api="paddleocr_service",route="/upload",status="{status}"}} 1.0' in lines
