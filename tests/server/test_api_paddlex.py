"""PaddleX's /ocr on real pictures, in the form of its first serving and in the current one."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from adapter.settings import Settings
from scripts.launched import Launched
from tests.pages import MIXED, draw, encode
from tests.pdfs import typeset
from tests.server.adapter.conftest import running_adapter

PICTURE = draw(MIXED)
PAGE = encode(PICTURE)
PDF = typeset(["First page"], ["Second page"])


def in_base64(file: bytes) -> str:
    return base64.b64encode(file).decode()


def post(url: str, path: str = "/ocr", **body: Any) -> httpx.Response:
    return httpx.post(f"{url}{path}", json=body, timeout=120)


def result(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    assert (answer.json()["errorCode"], answer.json()["errorMsg"]) == (0, "Success")
    return answer.json()["result"]


def pixels(jpeg: str) -> Any:
    image = Image.open(io.BytesIO(base64.b64decode(jpeg)))
    assert image.format == "JPEG"
    return np.asarray(image.convert("RGB")).astype(int)


@pytest.mark.parametrize("path", ["/ocr", "/paddlex/ocr"])
def test_the_documented_call_reads_a_picture_and_draws_what_it_found(triton: Launched, path: str) -> None:
    found = result(post(triton.adapter_url, path, image=in_base64(PAGE)))
    texts = [text["text"].replace(" ", "") for text in found["texts"]]
    assert texts == [line.replace(" ", "") for line in MIXED]
    for text in found["texts"]:
        assert all(isinstance(value, int) for point in text["poly"] for value in point)
    height, width = PICTURE.shape[:2]
    drawing = pixels(found["image"])
    assert drawing.shape == (height, 2 * width, 3)
    left, right = drawing[:, :width], drawing[:, width:]
    for text in found["texts"]:
        (x0, y0), (x1, y1) = np.min(text["poly"], 0), np.max(text["poly"], 0)
        assert np.ptp(left[y0:y1, x0:x1], axis=-1).max() > 30, "no colour over the line"
        assert right[y0:y1, x0:x1].min() < 100, "no text beside it"


def test_the_longest_side_is_honoured(triton: Launched) -> None:
    tiny = result(post(triton.adapter_url, image=in_base64(PAGE), inferenceParams={"maxLongSide": 32}))
    assert len(tiny["texts"]) < len(MIXED)
    same = result(post(triton.adapter_url, image=in_base64(PAGE), inferenceParams={"maxLongSide": 4000}))
    assert [text["text"] for text in same["texts"]] == [
        text["text"] for text in result(post(triton.adapter_url, image=in_base64(PAGE)))["texts"]
    ]


def test_a_picture_in_the_current_form(triton: Launched) -> None:
    found = result(post(triton.adapter_url, file=in_base64(PAGE), fileType=1, returnWordBox=True))
    (page,) = found["ocrResults"]
    pruned = page["prunedResult"]
    assert [text.replace(" ", "") for text in pruned["rec_texts"]] == [line.replace(" ", "") for line in MIXED]
    assert len(pruned["rec_scores"]) == len(pruned["rec_polys"]) == len(pruned["rec_boxes"]) == len(MIXED)
    assert [len(words) for words in pruned["text_word"]] == [len(boxes) for boxes in pruned["text_word_boxes"]]
    height, width = PICTURE.shape[:2]
    assert found["dataInfo"] == {"type": "image", "width": width, "height": height}
    assert pixels(page["ocrImage"]).shape == (height, 2 * width, 3)
    assert np.abs(pixels(page["inputImage"]) - PICTURE[..., ::-1]).mean() < 3


def test_a_pdf_in_the_current_form(triton: Launched) -> None:
    found = result(post(triton.adapter_url, file=in_base64(PDF), fileType=0))
    texts = [page["prunedResult"]["rec_texts"] for page in found["ocrResults"]]
    assert [[text.replace(" ", "") for text in page] for page in texts] == [["Firstpage"], ["Secondpage"]]
    assert (found["dataInfo"]["type"], found["dataInfo"]["numPages"]) == ("pdf", 2)
    for page, size in zip(found["ocrResults"], found["dataInfo"]["pages"], strict=True):
        assert pixels(page["inputImage"]).shape == (size["height"], size["width"], 3)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"image": in_base64(b"hello")}, 422),
        ({"image": "http://127.0.0.1:1/private.png"}, 403),
        ({"image": "file:///etc/passwd"}, 403),
        ({"image": in_base64(PAGE), "profile": "PP-OCRv9"}, 422),
        ({"file": in_base64(PAGE), "fileType": 0}, 422),
        ({"file": in_base64(PDF), "fileType": 1}, 422),
    ],
)
def test_a_failures_code_is_its_status(triton: Launched, body: dict[str, Any], status: int) -> None:
    answer = post(triton.adapter_url, **body)
    assert (answer.status_code, answer.json()["errorCode"]) == (status, status), answer.text
    assert answer.json()["errorMsg"]
    assert answer.json()["logId"]


@pytest.fixture(scope="module")
def files() -> Iterator[str]:
    """A web server with a picture and a PDF, by no telling names."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = {"/picture": PAGE, "/document": PDF}.get(self.path)
            self.send_response(200 if data else 404)
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_pictures_and_pdfs_are_fetched_from_hosts_that_are_allowed(triton: Launched, files: str) -> None:
    settings = Settings(triton_url=(triton.grpc_url,), triton_metrics_url=triton.metrics_url, url_allow=(files,))
    with running_adapter(settings) as adapter:
        found = result(post(adapter.url, image=f"http://{files}/picture"))
        assert len(found["texts"]) == len(MIXED)
        found = result(post(adapter.url, file=f"http://{files}/picture", visualize=False))
        assert found["dataInfo"]["type"] == "image"
        found = result(post(adapter.url, file=f"http://{files}/document", visualize=False))
        assert found["dataInfo"]["numPages"] == 2
        answer = post(adapter.url, image=f"http://{files}/nothing")
        assert (answer.status_code, answer.json()["errorCode"]) == (422, 422)


def test_one_profile_can_detect_and_another_recognise(triton: Launched) -> None:
    options: Any = {"profile": "PP-OCRv4_mobile", "recProfile": "PP-OCRv6_tiny", "textRecBatchSize": 2}
    read = result(post(triton.adapter_url, file=in_base64(PAGE), fileType=1, **options))
    assert read["profile"] == "PP-OCRv4_mobile_det+PP-OCRv6_tiny_rec"
    pruned = read["ocrResults"][0]["prunedResult"]
    assert len(pruned["dt_scores"]) == len(pruned["rec_texts"]) == len(MIXED)


def test_the_pages_of_a_pdf_can_be_had_as_they_are_read(triton: Launched) -> None:
    body: Any = {"file": in_base64(PDF), "fileType": 0, "visualize": False}
    accept = {"Accept": "application/x-ndjson"}
    whole = result(post(triton.adapter_url, **body))
    with httpx.stream("POST", f"{triton.adapter_url}/ocr", json=body, headers=accept, timeout=120) as answer:
        start, *pages = map(json.loads, answer.iter_lines())
    assert start == {"type": "pdf", "numPages": 2}
    assert [page["ocrResult"] for page in pages] == whole["ocrResults"]
    assert [{"width": page["width"], "height": page["height"]} for page in pages] == whole["dataInfo"]["pages"]
    refused = httpx.post(f"{triton.adapter_url}/ocr", json={"file": "QUJD", "fileType": 1}, headers=accept, timeout=60)
    assert (refused.status_code, refused.json()["errorCode"]) == (422, 422)
