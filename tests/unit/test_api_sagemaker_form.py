"""The form of SageMaker's two paths: what a body may be, what goes back, and how failures look."""

import base64
import json
from dataclasses import replace
from typing import Any

import httpx
import pytest

from adapter import errors
from adapter.documents import Layout
from adapter.runtime import Runtime
from tests.unit.standin import PAGE, PICTURE, QUAD, StandIn, client, page_image

PATHS = [
    "/invocations",
    "/sagemaker/invocations",
    "/endpoints/any-name/invocations",
    "/sagemaker/endpoints/x/invocations",
]
BASE64 = base64.b64encode(PICTURE).decode()
PDF = b"%PDF-1.7 as far as a stand-in is concerned"


def invoke(standin: StandIn, path: str = "/invocations", *, headers: Any = None, **body: Any) -> httpx.Response:
    return client(standin).post(path, headers=headers, **body)


@pytest.mark.parametrize("path", PATHS)
def test_the_answer_has_the_documented_form(path: str) -> None:
    answer = invoke(StandIn(), path, json={"image": BASE64})
    assert (answer.status_code, answer.json()) == (
        200,
        {
            "detections": [{"bbox": [list(point) for point in QUAD], "text": "文字", "confidence": 0.8}],
            "count": 1,
            "status": "success",
            "gpu_enabled": False,
            "profile": "PP-OCRv4_mobile",
        },
    )


def test_further_pictures_in_a_file_are_told() -> None:
    several = StandIn(page=replace(PAGE, more_frames=True))
    assert invoke(several, json={"image": BASE64}).json()["more_frames"] is True


def test_gpu_enabled_is_the_truth() -> None:
    standin = StandIn(runtime_=Runtime("PP-OCRv4_mobile", ("CUDAExecutionProvider",), ("PP-OCRv4_mobile",)))
    assert invoke(standin, json={"image": BASE64}).json()["gpu_enabled"] is True


@pytest.mark.parametrize(
    "content_type", ["image/png", "IMAGE/PNG", "image/jpeg; q=1", "application/x-image", "application/octet-stream"]
)
def test_a_picture_may_be_the_whole_body(content_type: str) -> None:
    answer = invoke(StandIn(), content=PICTURE, headers={"Content-Type": content_type})
    assert answer.json()["count"] == 1


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "application/x-www-form-urlencoded", ""])
def test_every_other_body_is_json(content_type: str) -> None:
    body = json.dumps({"image": BASE64}).encode()
    assert invoke(StandIn(), content=body, headers={"Content-Type": content_type}).json()["count"] == 1
    answer = invoke(StandIn(), content=PICTURE, headers={"Content-Type": content_type})
    assert (answer.status_code, answer.json()["status"]) == (400, "error")


@pytest.mark.parametrize("body", [{"content": PDF}, {"json": {"image": base64.b64encode(PDF).decode()}}])
def test_the_detections_of_a_pdf_carry_their_page(body: dict[str, Any]) -> None:
    standin = StandIn(pictures=[page_image(1), page_image(2)])
    answer = invoke(standin, headers={"Content-Type": "application/pdf"} if "content" in body else None, **body).json()
    assert [detection["page"] for detection in answer["detections"]] == [1, 2]
    assert (answer["count"], answer["profile"], standin.layouts) == (2, "PP-OCRv4_mobile", [Layout.WHOLE])


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("/invocations", {"json": {"image": BASE64, "profile": "P"}}, {}),
        ("/invocations?profile=P", {"content": PICTURE}, {"Content-Type": "image/png"}),
        ("/invocations", {"json": {"image": BASE64}}, {"X-Amzn-SageMaker-Custom-Attributes": "trace=7, profile=P"}),
        ("/invocations?profile=Q", {"json": {"image": BASE64, "profile": "P"}}, {}),
    ],
)
def test_a_profile_may_be_named_in_the_body_the_query_or_the_attributes(
    path: str, body: dict[str, Any], headers: dict[str, str]
) -> None:
    standin = StandIn()
    assert invoke(standin, path, headers=headers, **body).status_code == 200
    assert [options.profile for options in standin.seen] == ["P"]


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("/invocations", {"json": {"image": BASE64, "use_doc_orientation_classify": True, "reading_order": True}}, {}),
        (
            "/invocations?use_doc_orientation_classify=true&reading_order=1",
            {"content": PICTURE},
            {"Content-Type": "image/png"},
        ),
        (
            "/invocations?reading_order=true",
            {"json": {"image": BASE64}},
            {
                "X-Amzn-SageMaker-Custom-Attributes": "reading_order=false use_doc_orientation_classify=true",
            },
        ),
    ],
)
def test_the_options_of_a_page_may_be_given_wherever_a_profile_may(
    path: str, body: dict[str, Any], headers: dict[str, str]
) -> None:
    standin = StandIn(page=replace(PAGE, angle=270, text="文字"))
    answer = invoke(standin, path, headers=headers, **body).json()
    (options,) = standin.seen
    assert (options.use_doc_orientation_classify, options.reading_order) == (True, True)
    assert (answer["page_angles"], answer["text"]) == ([270], "文字")


def test_an_option_in_the_attributes_that_is_none_is_named() -> None:
    headers = {"X-Amzn-SageMaker-Custom-Attributes": "reading_order=perhaps"}
    answer = invoke(StandIn(), json={"image": BASE64}, headers=headers)
    assert answer.status_code == 400
    assert "reading_order" in answer.json()["error"]


def test_the_pages_of_a_pdf_tell_their_angles_and_make_one_text() -> None:
    standin = StandIn(page=replace(PAGE, angle=180, text="文字"), pictures=[page_image(1), page_image(2)])
    pdf = base64.b64encode(PDF).decode()
    body = {"image": pdf, "use_doc_orientation_classify": True, "reading_order": True}
    answer = invoke(standin, json=body).json()
    assert (answer["page_angles"], answer["text"]) == ([180, 180], "文字\n\n文字")


def test_attributes_and_inference_ids_go_back_and_the_variant_is_told() -> None:
    headers = {"X-Amzn-SageMaker-Custom-Attributes": "trace=7", "X-Amzn-SageMaker-Inference-Id": "order-1"}
    for path in PATHS:
        answer = invoke(StandIn(), path, json={"image": BASE64}, headers=headers)
        assert {name: answer.headers[name] for name in headers} == headers
        assert answer.headers.get("x-Amzn-Invoked-Production-Variant") == (
            "AllTraffic" if "endpoints" in path else None
        )
    assert "X-Amzn-SageMaker-Custom-Attributes" not in invoke(StandIn(), json={"image": BASE64}).headers


@pytest.mark.parametrize("value", ["t\xe9", "a\tb", "x" * 1025])
def test_attributes_that_could_not_go_back_are_refused(value: str) -> None:
    headers = httpx.Headers({"X-Amzn-SageMaker-Custom-Attributes": value}, encoding="latin-1")
    answer = invoke(StandIn(), json={"image": BASE64}, headers=headers)
    assert (answer.status_code, answer.json()["status"]) == (400, "error")
    assert "Custom-Attributes" in answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"{}", "image"),
        (b'{"image": 7}', "image"),
        (b'{"image": ""}', "image: empty"),
        (b'{"image": "?"}', "image: not base64"),
        (b'{"image": "aGVsbG8="}', "image"),
        (b"[]", "object"),
        (b"{", "JSON"),
        (b"", "JSON"),
        (b"\xff\xfe", "JSON"),
        (b"[" * 100_000, "JSON"),
    ],
)
def test_what_is_wrong_with_a_body_is_named(body: bytes, named: str) -> None:
    answer = invoke(StandIn(), content=body)
    assert (answer.status_code, answer.json()["status"]) == (400, "error")
    assert named in answer.json()["error"]


def test_a_picture_over_the_documented_size_is_refused_before_it_is_read() -> None:
    standin = StandIn()
    answer = client(standin, max_image_width=100).post("/invocations", json={"image": BASE64})
    assert (answer.status_code, answer.json()["status"]) == (413, "error")
    assert "OCR_MAX_IMAGE_WIDTH" in answer.json()["error"]
    assert not standin.seen


@pytest.mark.parametrize(
    ("error", "status", "kind", "original"),
    [
        (errors.UnreadableImageError("not a picture"), 424, "ModelError", 400),
        (errors.TooLargeError("too large"), 424, "ModelError", 413),
        (errors.InternalError("internal error"), 424, "ModelError", 500),
        (errors.DeadlineExceededError("too late"), 424, "ModelError", 504),
        (errors.ModelUnavailableError("not loaded"), 429, "ModelNotReadyException", None),
        (errors.BusyError("busy"), 503, "ServiceUnavailable", None),
        (errors.TritonUnavailableError("away"), 503, "ServiceUnavailable", None),
    ],
)
@pytest.mark.parametrize("prefix", ["", "/sagemaker"])
def test_a_failure_of_an_endpoint_is_sagemakers_own(
    prefix: str, error: errors.ServiceError, status: int, kind: str, original: int | None
) -> None:
    answer = invoke(StandIn(error=error), f"{prefix}/endpoints/e/invocations", json={"image": BASE64})
    assert (answer.status_code, answer.headers["x-amzn-ErrorType"]) == (status, kind)
    failure = answer.json()
    assert error.message in failure["Message"]
    assert failure.get("OriginalStatusCode") == original
    if original:
        assert json.loads(failure["OriginalMessage"]) == {"status": "error", "error": error.message}
        direct = invoke(StandIn(error=error), f"{prefix}/invocations", json={"image": BASE64})
        assert (direct.status_code, direct.text) == (original, failure["OriginalMessage"])


def test_a_wrong_method_and_a_body_over_the_limit_have_the_endpoints_form_too() -> None:
    answer = client(StandIn()).get("/endpoints/e/invocations")
    assert (answer.status_code, answer.headers["x-amzn-ErrorType"]) == (405, "UnknownOperationException")
    answer = client(StandIn(), max_file_size=10).post("/endpoints/e/invocations", content=bytes(1_000_000))
    assert (answer.status_code, answer.json()["OriginalStatusCode"]) == (424, 413)
