"""Every OCR API says in its own form, at once, that the queue is full or that Triton has gone."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import httpx

from scripts.launched import eventually
from tests.pdfs import typeset
from tests.server.adapter.conftest import picture

PDF = typeset(["A page"])


class Call(NamedTuple):
    """How one API is asked to read a picture, and whether an answer has the form of its failures."""

    path: str
    body: Callable[[bytes], dict[str, Any]]
    is_failure: Callable[[Any], bool]


def _in_json(field: str, **fields: Any) -> Callable[[bytes], dict[str, Any]]:
    return lambda file: {"json": {field: base64.b64encode(file).decode(), **fields}}


def _raw(file: bytes) -> dict[str, Any]:
    return {"content": file, "headers": {"Content-Type": "image/png"}}


def _sagemaker(failure: Any) -> bool:
    return bool(failure["status"] == "error" and failure["error"])


def _paddleocr(failure: Any) -> bool:
    return bool(failure["success"] is False and failure["error"])


def _paddlex(failure: Any) -> bool:
    return bool(failure["errorCode"] == 503 and failure["errorMsg"] and failure["logId"])


CALLS = (
    Call("/invocations", _in_json("image"), _sagemaker),
    Call("/invocations", _raw, _sagemaker),
    Call("/endpoints/any/invocations", _in_json("image"), lambda failure: bool(failure["Message"])),
    Call("/v1/ocr", _in_json("image"), _paddleocr),
    Call("/upload", lambda file: {"files": {"file": file}}, _paddleocr),
    Call("/upload_pdf", lambda _: {"files": {"file": PDF}}, _paddleocr),
    Call("/ocr", _in_json("image"), _paddlex),
    Call("/ocr", _in_json("file", fileType=1), _paddlex),
)
READING = [call for call in CALLS if call.path != "/upload_pdf"]


def ask(adapter: Any, call: Call, orders: dict[str, Any], timeout: float = 60.0) -> httpx.Response:
    return httpx.post(f"{adapter.url}{call.path}", timeout=timeout, **call.body(picture(orders)))


def assert_refused(call: Call, answer: httpx.Response) -> None:
    assert answer.status_code == 503, (call.path, answer.text)
    assert int(answer.headers["Retry-After"]) >= 1
    assert call.is_failure(answer.json()), (call.path, answer.text)


def assert_in_flight(adapter: Any, number: int) -> None:
    assert eventually(lambda: adapter.metric("ocr_in_flight") == number, 10)


def test_beyond_the_queue_every_api_refuses_at_once_in_its_own_form(adapter_with: Any) -> None:
    adapter = adapter_with(max_in_flight=1, max_waiting=0)
    with adapter.asked({"sleep": 30.0}):
        assert_in_flight(adapter, 1)
        start = time.perf_counter()
        with ThreadPoolExecutor(len(CALLS)) as pool:
            answers = list(pool.map(lambda call: ask(adapter, call, {}), CALLS))
        assert time.perf_counter() - start < 5.0
        for call, answer in zip(CALLS, answers, strict=True):
            assert_refused(call, answer)
    assert_in_flight(adapter, 0)


def test_when_triton_is_killed_every_api_says_so_at_once_and_serves_again_when_it_is_back(
    standin: Any, adapter: Any
) -> None:
    with ThreadPoolExecutor(len(READING)) as pool:
        answers = [pool.submit(ask, adapter, call, {"sleep": 30.0}) for call in READING]
        assert_in_flight(adapter, len(READING))
        standin.kill()
        try:
            start = time.perf_counter()
            for call, answer in zip(READING, answers, strict=True):
                assert_refused(call, answer.result())
            assert time.perf_counter() - start < 5.0
            for call in CALLS:
                start = time.perf_counter()
                assert_refused(call, ask(adapter, call, {}))
                assert time.perf_counter() - start < 5.0
            assert httpx.get(f"{adapter.url}/ping").status_code == 503
        finally:
            standin.start()
    assert eventually(lambda: ask(adapter, READING[-1], {}).status_code == 200, 10)
