"""When Triton goes, requests fail at once and in the API's form; when it comes back, so does the service."""

import socket
import threading
import time
from typing import Any

import httpx


def refused_at_once(adapter: Any) -> None:
    start = time.perf_counter()
    answer = adapter.upload({})
    assert time.perf_counter() - start < 5.0
    assert (answer.status_code, answer.json()["success"]) == (503, False)
    assert answer.headers["Retry-After"]


def test_requests_fail_while_triton_is_away_and_succeed_when_it_is_back(standin: Any, adapter: Any) -> None:
    assert adapter.upload({}).status_code == 200
    answers: list[httpx.Response] = []
    in_flight = threading.Thread(target=lambda: answers.append(adapter.upload({"sleep": 30.0})))
    in_flight.start()
    time.sleep(0.5)
    standin.kill()
    try:
        in_flight.join(5.0)
        assert [answer.status_code for answer in answers] == [503]
        refused_at_once(adapter)
        assert httpx.get(f"{adapter.url}/ping", timeout=2.0).status_code == 503
    finally:
        standin.start()
    time.sleep(1.0)
    assert adapter.upload({}).status_code == 200


def test_an_address_that_never_answers_is_given_up_within_a_second(adapter_with: Any) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        refused_at_once(adapter_with(triton_url=f"127.0.0.1:{silent.getsockname()[1]}"))


def test_readiness_is_denied_while_a_model_is_missing(adapter: Any) -> None:
    """The stand-in has no det_onnx."""
    answer = httpx.get(f"{adapter.url}/ping", timeout=2.0)
    assert (answer.status_code, answer.json()["status"]) == (503, "error")


def test_readiness_is_denied_in_time_when_triton_hangs(standin: Any, adapter: Any) -> None:
    with standin.frozen():
        answer = httpx.get(f"{adapter.url}/ping", timeout=2.0)
    assert answer.status_code == 503
