"""AWS's own client calls the endpoint with nothing changed but its URL."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config

from scripts.launched import Launched
from tests.pages import MIXED, draw, encode
from tests.pdfs import typeset

PAGE = encode(draw(MIXED))
ENDPOINT = "paddleocr-g5-endpoint-1758025210"


def in_base64(file: bytes, **fields: Any) -> str:
    return json.dumps({"image": base64.b64encode(file).decode(), **fields})


@pytest.fixture(scope="module", params=["", "/sagemaker"])
def runtime(request: pytest.FixtureRequest, triton: Launched) -> Any:
    return boto3.client(
        "sagemaker-runtime",
        region_name="us-east-1",
        endpoint_url=f"{triton.adapter_url}{request.param}",
        aws_access_key_id="any",
        aws_secret_access_key="any",  # noqa: S106 - nobody checks it
        config=Config(retries={"max_attempts": 0}, proxies={}, max_pool_connections=16),
    )


def result_of(answer: Any) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(answer["Body"].read().decode())
    return result


def squeezed(result: dict[str, Any]) -> list[str]:
    return ["".join(detection["text"].split()) for detection in result["detections"]]


EXPECTED = ["".join(line.split()) for line in MIXED]


def test_the_documented_call_reads_a_picture(runtime: Any) -> None:
    answer = runtime.invoke_endpoint(EndpointName=ENDPOINT, ContentType="application/json", Body=in_base64(PAGE))
    result = result_of(answer)
    assert squeezed(result) == EXPECTED
    assert (result["status"], result["count"], result["gpu_enabled"]) == ("success", len(MIXED), False)
    for detection in result["detections"]:
        assert detection.keys() == {"bbox", "text", "confidence"}
        assert len(detection["bbox"]) == 4
        assert 0.5 <= detection["confidence"] <= 1
    assert answer["ContentType"] == "application/json"
    assert answer["InvokedProductionVariant"] == "AllTraffic"


@pytest.mark.parametrize("content_type", ["image/png", "application/x-image", "application/octet-stream"])
def test_a_raw_picture_is_read_and_what_goes_along_comes_back(runtime: Any, content_type: str) -> None:
    answer = runtime.invoke_endpoint(
        EndpointName=ENDPOINT,
        ContentType=content_type,
        Accept="application/json",
        Body=PAGE,
        CustomAttributes="trace=7,profile=PP-OCRv4_mobile",
        InferenceId="order-1",
    )
    result = result_of(answer)
    assert squeezed(result) == EXPECTED
    assert result["profile"] == "PP-OCRv4_mobile"
    assert answer["CustomAttributes"] == "trace=7,profile=PP-OCRv4_mobile"
    assert answer["ResponseMetadata"]["HTTPHeaders"]["x-amzn-sagemaker-inference-id"] == "order-1"


@pytest.mark.parametrize("body", [lambda file: (file, "application/pdf"), lambda file: (in_base64(file), "text/json")])
def test_a_pdfs_detections_carry_their_page(runtime: Any, body: Callable[[bytes], tuple[Any, str]]) -> None:
    data, content_type = body(typeset(["First page"], ["Second page", "goes on"]))
    result = result_of(runtime.invoke_endpoint(EndpointName=ENDPOINT, ContentType=content_type, Body=data))
    assert [(detection["page"], detection["text"]) for detection in result["detections"]] == [
        (1, "First page"),
        (2, "Second page"),
        (2, "goes on"),
    ]


@pytest.mark.parametrize(
    ("body", "status", "named"),
    [
        ("{}", 400, "image"),
        ("not JSON", 400, "JSON"),
        (in_base64(b"not a picture"), 400, "image"),
        (in_base64(PAGE, profile="PP-OCRv9"), 400, "PP-OCRv9"),
        (in_base64(PAGE)[:-200] + '"}', 400, "damaged"),
        (in_base64(bytes(10 * 1024 * 1024 + 1)), 413, "10485760"),
    ],
)
def test_a_failure_is_a_model_error_with_the_original_status_and_message(
    runtime: Any, body: str, status: int, named: str
) -> None:
    with pytest.raises(runtime.exceptions.ModelError) as caught:
        runtime.invoke_endpoint(EndpointName=ENDPOINT, ContentType="application/json", Body=body)
    response = caught.value.response
    assert response["OriginalStatusCode"] == status
    original = json.loads(response["OriginalMessage"])
    assert original["status"] == "error"
    assert named in original["error"]
    assert named in response["Error"]["Message"]


def test_sixteen_threads_each_get_their_own_answer(runtime: Any) -> None:
    words = [f"Order {number} of 16" for number in range(1, 17)]

    def read(word: str) -> str:
        body = in_base64(encode(draw([word])))
        answer = runtime.invoke_endpoint(EndpointName=ENDPOINT, ContentType="application/json", Body=body)
        (detection,) = result_of(answer)["detections"]
        return str(detection["text"])

    with ThreadPoolExecutor(16) as pool:
        assert [text.replace(" ", "") for text in pool.map(read, words)] == [word.replace(" ", "") for word in words]


def test_the_containers_own_path_answers_the_same(triton: Launched, runtime: Any) -> None:
    body = in_base64(PAGE)
    direct = httpx.post(f"{triton.adapter_url}/invocations", content=body, timeout=60)
    assert direct.json() == result_of(runtime.invoke_endpoint(EndpointName="other", Body=body))
    failure = httpx.post(f"{triton.adapter_url}/invocations", content="{}")
    assert (failure.status_code, failure.json()["status"]) == (400, "error")
