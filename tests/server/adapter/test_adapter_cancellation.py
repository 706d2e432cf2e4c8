"""A client that leaves, and a request that takes too long, cost Triton nothing more."""

import time
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from tests.server.adapter.conftest import picture

LONG = 30.0


def answered_soon(adapter: Any) -> None:
    """The stand-in has one instance: it answers soon only if it is not busy any more."""
    start = time.perf_counter()
    assert adapter.upload({}).status_code == 200
    assert time.perf_counter() - start < 3.0


def wait_for(adapter: Any, metric: str, value: float) -> None:
    end = time.monotonic() + 5
    while adapter.metric(metric) != value:
        assert time.monotonic() < end, f"{metric} is {adapter.metric(metric)}, not {value}"
        time.sleep(0.02)


def test_a_client_that_leaves_cancels_its_work_in_triton(adapter: Any) -> None:
    with pytest.raises(httpx.TimeoutException):
        adapter.upload({"sleep": LONG}, timeout=0.5)
    answered_soon(adapter)
    assert adapter.metric("ocr_in_flight") == 0


def test_a_client_that_leaves_the_queue_never_reaches_triton(adapter_with: Any) -> None:
    adapter = adapter_with(max_in_flight=1)
    with adapter.asked({"sleep": LONG}):
        wait_for(adapter, "ocr_in_flight", 1)
        with adapter.asked({"sleep": LONG}):
            wait_for(adapter, "ocr_queue_waiting", 1)
        wait_for(adapter, "ocr_queue_waiting", 0)
        assert adapter.metric("ocr_in_flight") == 1
    answered_soon(adapter)


def test_a_request_is_ended_at_its_deadline_and_so_is_its_work(adapter_with: Any) -> None:
    answer = adapter_with(request_timeout=0.5).upload({"sleep": LONG})
    assert (answer.status_code, answer.json()["success"]) == (504, False)
    assert "0.5 s" in answer.json()["error"]
    answered_soon(adapter_with())


def test_beyond_the_queue_requests_are_refused_at_once_and_told_to_come_again(adapter_with: Any) -> None:
    adapter = adapter_with(max_in_flight=1, max_waiting=1)
    with ExitStack() as waiting:
        for metric in ("ocr_in_flight", "ocr_queue_waiting"):
            waiting.enter_context(adapter.asked({"sleep": LONG}))
            wait_for(adapter, metric, 1)
        start = time.perf_counter()
        answer = adapter.upload({})
        assert time.perf_counter() - start < 5.0
        assert (answer.status_code, answer.json()["success"]) == (503, False)
        assert int(answer.headers["Retry-After"]) >= 1
    answered_soon(adapter)


def test_an_answer_that_was_given_is_not_taken_for_a_client_that_left(adapter: Any) -> None:
    with httpx.Client(base_url=adapter.url) as client:
        for _ in range(5):
            assert client.post("/upload", files={"file": picture({})}).status_code == 200
    lines = httpx.get(f"{adapter.url}/metrics").text
    assert 'status="200"} 5.0' in lines
    assert 'status="499"' not in lines
