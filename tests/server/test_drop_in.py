"""The ports of the documents' own servers: each has its API's paths at the root, on the same models."""

from __future__ import annotations

import httpx

from scripts.launched import Launched
from tests.pages import MIXED, draw, encode

PAGE = encode(draw(MIXED))


def get(port: int | None, path: str) -> httpx.Response:
    return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=30)


def test_each_port_tells_the_health_of_its_own_api(triton: Launched) -> None:
    ports = triton.listeners
    assert get(ports.paddleocr_service, "/health").json()["status"] == "healthy"
    assert get(ports.dots, "/health").json() == {"status": "healthy", "model_loaded": False}
    assert get(ports.internvl, "/health").json()["service"] == "InterVL OCR"
    assert get(ports.adapter, "/health").json()["errorMsg"] == "Healthy"
    assert get(ports.adapter, "/ping").status_code == 200


def test_pictures_are_read_on_the_paddleocr_services_port(triton: Launched) -> None:
    url = f"http://127.0.0.1:{triton.listeners.paddleocr_service}/upload"
    answer = httpx.post(url, files={"file": PAGE}, timeout=60)
    assert [line["text"] for line in answer.json()["results"]] == list(MIXED)


def test_the_start_page_is_on_internvls_port_only(triton: Launched) -> None:
    assert "text/html" in get(triton.listeners.internvl, "/").headers["Content-Type"]
    assert get(triton.listeners.dots, "/").status_code == 404


def test_the_metrics_count_the_requests_of_every_port(triton: Launched) -> None:
    get(triton.listeners.dots, "/health")
    assert 'api="dots' in get(triton.listeners.adapter, "/metrics").text
