"""Many clients of all OCR APIs at the same time: every one gets the answer to its own question."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from typing import Any, NamedTuple

import httpx

from scripts.launched import Launched
from tests.pages import draw, encode
from tests.pdfs import typeset

CLIENTS = 64


class Call(NamedTuple):
    """How one API is asked to read a file, and where the texts are in its answer."""

    path: str
    body: Callable[[bytes], dict[str, Any]]
    texts: Callable[[Any], list[str]]
    file: Callable[[str], bytes] = lambda text: encode(draw([text]))


def _base64(file: bytes) -> str:
    return base64.b64encode(file).decode()


def _results(answer: Any) -> list[str]:
    return [line["text"] for line in answer["results"]]


def _detections(answer: Any) -> list[str]:
    return [detection["text"] for detection in answer["detections"]]


CALLS = (
    Call("/invocations", lambda file: {"json": {"image": _base64(file)}}, _detections),
    Call("/invocations", lambda file: {"content": file, "headers": {"Content-Type": "image/png"}}, _detections),
    Call("/endpoints/any/invocations", lambda file: {"json": {"image": _base64(file)}}, _detections),
    Call("/upload", lambda file: {"files": {"file": file}}, _results),
    Call("/paddleocr", lambda file: {"json": {"image": _base64(file)}}, _results),
    Call(
        "/ocr",
        lambda file: {"json": {"image": _base64(file)}},
        lambda answer: [text["text"] for text in answer["result"]["texts"]],
    ),
    Call(
        "/ocr",
        lambda file: {"json": {"file": _base64(file), "fileType": 1}},
        lambda answer: [text for page in answer["result"]["ocrResults"] for text in page["prunedResult"]["rec_texts"]],
    ),
    Call(
        "/upload_pdf",
        lambda file: {"files": {"file": file}},
        lambda answer: [line["text"] for page in answer["results"] for line in page["result"]],
        lambda text: typeset([text]),
    ),
)


def test_64_clients_of_all_apis_each_get_the_answer_to_their_own_question(triton: Launched) -> None:
    async def ask(client: httpx.AsyncClient, number: int) -> tuple[str, list[str]]:
        call, text = CALLS[number % len(CALLS)], f"Order {number:02d} of {CLIENTS}"
        answer = await client.post(call.path, **call.body(call.file(text)))
        assert answer.status_code == 200, answer.text
        return text, [found.replace(" ", "") for found in call.texts(answer.json())]

    async def ask_all() -> list[tuple[str, list[str]]]:
        limits = httpx.Limits(max_connections=CLIENTS)
        async with httpx.AsyncClient(base_url=triton.adapter_url, timeout=120, limits=limits) as client:
            return await asyncio.gather(*(ask(client, number) for number in range(CLIENTS)))

    for text, found in asyncio.run(ask_all()):
        assert found == [text.replace(" ", "")]
