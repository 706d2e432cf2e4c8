"""The form of PaddleX's /ocr, of its first serving and of the current one."""

import base64
import io
import json
from dataclasses import replace
from typing import Any

import httpx
import pytest
from PIL import Image

from adapter import errors
from adapter.documents import Layout
from adapter.recognizer import RecognitionOptions
from tests.unit.standin import LINE, PAGE, PICTURE, StandIn, client, page_image

BASE64 = base64.b64encode(PICTURE).decode()
PDF = base64.b64encode(b"%PDF-1.7 as far as a stand-in is concerned").decode()
POLY = [[1, 2], [30, 2], [30, 12], [1, 13]]
PAGES = [page_image(1), page_image(2)]


def post(standin: StandIn, body: dict[str, Any], path: str = "/ocr", **arguments: Any) -> httpx.Response:
    return client(standin).post(path, json=body, **arguments)


def jpeg_size(text: str) -> tuple[int, int]:
    image = Image.open(io.BytesIO(base64.b64decode(text, validate=True)))
    assert image.format == "JPEG"
    return image.size


def asked(body: dict[str, Any]) -> RecognitionOptions:
    standin = StandIn(pictures=PAGES)
    answer = post(standin, body)
    assert answer.status_code == 200, answer.text
    (options,) = standin.seen
    return options


@pytest.mark.parametrize("path", ["/ocr", "/paddlex/ocr"])
def test_the_first_form_is_answered_as_its_document_says(path: str) -> None:
    answer = post(StandIn(), {"image": BASE64}, path, headers={"X-Request-Id": "order-7"}).json()
    width, height = Image.open(io.BytesIO(PICTURE)).size
    assert jpeg_size(answer["result"].pop("image")) == (2 * width, height)
    assert answer == {
        "logId": "order-7",
        "errorCode": 0,
        "errorMsg": "Success",
        "result": {"texts": [{"poly": POLY, "text": "文字", "score": 0.8}], "profile": "PP-OCRv4_mobile"},
    }


def test_no_line_is_left_out_for_its_score() -> None:
    assert asked({"image": BASE64}) == RecognitionOptions(text_score=0.0)
    assert asked({"file": BASE64, "fileType": 1}) == RecognitionOptions(text_score=0.0)


def test_the_longer_side_reaches_the_models() -> None:
    options = asked({"image": BASE64, "inferenceParams": {"maxLongSide": 960}, "profile": "P"})
    assert options == RecognitionOptions(max_side=960, profile="P", text_score=0.0)


def test_the_options_of_a_page_reach_the_models_in_the_first_form() -> None:
    options = asked({"image": BASE64, "inferenceParams": {"useDocOrientationClassify": True, "readingOrder": True}})
    assert options == RecognitionOptions(use_doc_orientation_classify=True, reading_order=True, text_score=0.0)


@pytest.mark.parametrize("given", [{"textDetLimitType": "min"}, {}])
def test_the_shorter_side_is_the_one_that_is_bounded_unless_the_longer_is_asked_for(given: dict[str, str]) -> None:
    options = asked({"file": BASE64, "fileType": 1, "textDetLimitSideLen": 64, **given})
    assert (options.min_side, options.max_side) == (64, None)


def test_every_option_of_the_current_form_reaches_the_models() -> None:
    body = {
        "file": BASE64,
        "fileType": 1,
        "useDocOrientationClassify": True,
        "useDocUnwarping": False,
        "readingOrder": True,
        "useTextlineOrientation": False,
        "textDetLimitSideLen": 960,
        "textDetLimitType": "max",
        "textDetThresh": 0.2,
        "textDetBoxThresh": 0.5,
        "textDetUnclipRatio": 1.7,
        "returnWordBox": True,
        "visualize": False,
        "profile": "P",
    }
    assert asked(body) == RecognitionOptions(
        profile="P",
        use_doc_orientation_classify=True,
        reading_order=True,
        use_cls=False,
        return_word_box=True,
        max_side=960,
        det_thresh=0.2,
        box_thresh=0.5,
        unclip_ratio=1.7,
        text_score=0.0,
    )


def test_a_picture_in_the_current_form() -> None:
    answer = post(StandIn(), {"file": BASE64, "fileType": 1, "logId": "mine"}).json()
    (result,) = answer["result"]["ocrResults"]
    width, height = Image.open(io.BytesIO(PICTURE)).size
    assert jpeg_size(result["ocrImage"]) == (2 * width, height)
    assert jpeg_size(result["inputImage"]) == (width, height)
    assert (answer["logId"], answer["errorCode"], answer["errorMsg"]) == ("mine", 0, "Success")
    assert answer["result"]["dataInfo"] == {"type": "image", "width": 640, "height": 480}
    assert answer["result"]["profile"] == "PP-OCRv4_mobile"
    assert result["prunedResult"] == {
        "model_settings": {"use_doc_preprocessor": False, "use_textline_orientation": True},
        "dt_polys": [POLY],
        "dt_scores": [0.75],
        "text_det_params": {},
        "text_type": "general",
        "textline_orientation_angles": [1],
        "text_rec_score_thresh": 0.0,
        "return_word_box": False,
        "rec_texts": ["文字"],
        "rec_scores": [0.8],
        "rec_polys": [POLY],
        "rec_boxes": [[1, 2, 30, 13]],
    }


def test_the_first_form_tells_of_a_turned_page_in_pixels_of_the_picture() -> None:
    standin = StandIn(page=replace(PAGE, angle=90, text="文字"))
    wanted = {"useDocOrientationClassify": True, "readingOrder": True}
    result = post(standin, {"image": BASE64, "inferenceParams": wanted}).json()["result"]
    assert (result["pageAngle"], result["text"], result["texts"][0]["poly"]) == (90, "文字", POLY)


def test_the_current_form_gives_a_turned_page_as_it_was_set_upright() -> None:
    standin = StandIn(page=replace(PAGE, angle=90, text="文字"))
    body = {"file": BASE64, "fileType": 1, "useDocOrientationClassify": True, "readingOrder": True}
    answer = post(standin, body).json()["result"]
    (result,) = answer["ocrResults"]
    pruned = result["prunedResult"]
    assert pruned["model_settings"]["use_doc_preprocessor"] is True
    assert pruned["doc_preprocessor_res"] == {
        "model_settings": {"use_doc_orientation_classify": True, "use_doc_unwarping": False},
        "angle": 90,
    }
    # What is x pixels from the left of the picture is x pixels from the bottom of the page.
    assert pruned["dt_polys"] == pruned["rec_polys"] == [[[y, 640 - x] for x, y in POLY]]
    width, height = Image.open(io.BytesIO(PICTURE)).size
    assert jpeg_size(result["ocrImage"]) == (2 * height, width)
    assert jpeg_size(result["docPreprocessingImage"]) == (height, width)
    assert jpeg_size(result["inputImage"]) == (width, height)
    assert answer["dataInfo"] == {"type": "image", "width": 640, "height": 480}
    assert result["text"] == "文字"


def test_lines_of_a_low_score_are_not_in_the_text() -> None:
    body = {"file": BASE64, "fileType": 1, "textRecScoreThresh": 0.5}
    assert asked(body).text_score == 0.0
    assert asked({**body, "readingOrder": True}).text_score == 0.5


def test_a_pdf_in_the_current_form_has_a_result_for_each_page() -> None:
    standin = StandIn(pictures=PAGES)
    result = post(standin, {"file": PDF, "fileType": 0}).json()["result"]
    assert [page.keys() for page in result["ocrResults"]] == [{"prunedResult", "ocrImage", "inputImage"}] * 2
    size = {"width": 640, "height": 480}
    assert result["dataInfo"] == {"type": "pdf", "numPages": 2, "pages": [size, size]}
    assert standin.layouts == [Layout.WHOLE]


def test_what_was_detected_is_told_apart_from_what_was_read_well() -> None:
    poor = StandIn(page=replace(PAGE, lines=(LINE, replace(LINE, text="?", score=0.2, angle=0))))
    body = {"file": BASE64, "fileType": 1, "textRecScoreThresh": 0.5, "visualize": False}
    (result,) = post(poor, body).json()["result"]["ocrResults"]
    pruned = result["prunedResult"]
    assert (len(pruned["dt_polys"]), pruned["textline_orientation_angles"]) == (2, [1, 0])
    assert (pruned["rec_texts"], len(pruned["rec_polys"]), len(pruned["rec_boxes"])) == (["文字"], 1, 1)
    assert pruned["text_rec_score_thresh"] == 0.5


@pytest.mark.parametrize("body", [{"image": BASE64}, {"file": BASE64, "fileType": 1}])
def test_further_pictures_in_a_file_are_told(body: dict[str, Any]) -> None:
    several = StandIn(page=replace(PAGE, more_frames=True))
    assert post(several, body).json()["result"]["moreFrames"] is True


def test_what_was_asked_for_stands_in_the_answer() -> None:
    body = {
        "file": BASE64,
        "fileType": 1,
        "useTextlineOrientation": False,
        "textDetBoxThresh": 0.5,
        "textDetLimitSideLen": 960,
        "textDetLimitType": "max",
        "returnWordBox": True,
        "visualize": False,
    }
    (result,) = post(StandIn(), body).json()["result"]["ocrResults"]
    pruned = result["prunedResult"]
    assert result.keys() == {"prunedResult"}
    assert pruned["text_det_params"] == {"limit_side_len": 960, "limit_type": "max", "box_thresh": 0.5}
    assert pruned["model_settings"]["use_textline_orientation"] is False
    assert pruned["textline_orientation_angles"] == [-1]
    assert (pruned["return_word_box"], pruned["text_word"]) == (True, [["文字"]])
    assert pruned["text_word_boxes"] == [[[1, 2, 30, 13]]]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "image"),
        ({"image": 7}, "image"),
        ({"image": ""}, "image: empty"),
        ({"image": BASE64, "inferenceParams": {"maxLongSide": 0}}, "maxLongSide"),
        ({"image": BASE64, "inferenceParams": {"maxLongSide": "long"}}, "maxLongSide"),
        ({"file": BASE64}, "File type cannot be determined"),
        ({"file": BASE64, "fileType": 2}, "fileType"),
        ({"file": BASE64, "fileType": 1, "useDocUnwarping": True}, "useDocUnwarping"),
        ({"file": BASE64, "fileType": 1, "textDetLimitSideLen": 8}, "textDetLimitSideLen"),
        ({"file": BASE64, "fileType": 1, "textDetLimitType": "most"}, "textDetLimitType"),
        ({"file": BASE64, "fileType": 1, "textDetThresh": 1.5}, "textDetThresh"),
        ({"file": BASE64, "fileType": 1, "textDetUnclipRatio": 0}, "textDetUnclipRatio"),
        ({"file": BASE64, "fileType": 1, "textRecScoreThresh": -1}, "textRecScoreThresh"),
    ],
)
def test_what_is_wrong_with_a_request_is_a_422_that_names_it(body: dict[str, Any], named: str) -> None:
    standin = StandIn()
    answer = post(standin, body)
    failure = answer.json()
    assert (answer.status_code, failure["errorCode"]) == (422, 422)
    assert named in failure["errorMsg"]
    assert failure["logId"] == answer.headers["X-Request-Id"]
    assert not standin.seen


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.UnreadableImageError("not a picture"), 422),
        (errors.RefusedSourceError("not to be fetched"), 403),
        (errors.TooLargeError("too large"), 413),
        (errors.BusyError("busy"), 503),
        (errors.DeadlineExceededError("too late"), 504),
        (errors.InternalError("internal error"), 500),
    ],
)
def test_a_failures_code_is_its_status(error: errors.ServiceError, status: int) -> None:
    answer = post(StandIn(error=error), {"image": BASE64})
    assert (answer.status_code, answer.json()["errorCode"]) == (status, status)
    assert answer.json()["errorMsg"] == error.message


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "text/plain", ""])
def test_a_body_is_json_whatever_its_content_type_says(content_type: str) -> None:
    body = json.dumps({"image": BASE64}).encode()
    answer = client(StandIn()).post("/ocr", content=body, headers={"Content-Type": content_type})
    assert answer.json()["errorCode"] == 0


def test_a_long_document_is_drawn_only_where_it_does_not_cost_too_much() -> None:
    pages = [page_image(page) for page in range(1, 52)]
    body = {"file": PDF, "fileType": 0}
    results = post(StandIn(pictures=pages), body).json()["result"]["ocrResults"]
    assert (len(results), results[0].keys()) == (51, {"prunedResult"})
    answer = post(StandIn(pictures=pages), {**body, "visualize": True})
    assert (answer.status_code, "visualize" in answer.json()["errorMsg"]) == (422, True)


def test_health_is_paddlexs_and_the_servers_own_says_more() -> None:
    answer = client(StandIn()).get("/paddlex/health")
    assert (answer.status_code, answer.json()["errorCode"], answer.json()["errorMsg"]) == (200, 0, "Healthy")
    own = client(StandIn()).get("/health").json()
    assert answer.json().keys() < own.keys()
    assert (own["errorMsg"], own["profile"], own["gpu"]) == ("Healthy", "PP-OCRv4_mobile", False)
    for path in ("/paddlex/health", "/health"):
        answer = client(StandIn(is_ready=False)).get(path)
        assert (answer.status_code, answer.json()["errorCode"]) == (503, 503)
