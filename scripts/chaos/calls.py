"""How the APIs are asked, and what of an answer is the same each time."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from scripts.chaos.material import Material

# Of an answer, what is another each time: when, how long, which request.
_VOLATILE = frozenset({"processing_time", "total_processing_time", "timestamp", "logId"})
# Where the APIs put what went wrong.
_MESSAGES = ("error", "errorMsg", "Message", "message", "detail")
# What the adapter says where it does not know itself what went wrong.
_UNEXPLAINED = "internal error"

Arguments = dict[str, Any]


@dataclass(frozen=True)
class Call:
    """One way to have a file read. `arguments` are those of aiohttp's request."""

    name: str
    path: str
    arguments: Callable[[Material], Arguments]
    documents: bool = False
    """Whether it takes PDFs; the others take pictures."""
    headers: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Case:
    """A file and how it is sent."""

    call: Call
    material: Material

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.call.name} {self.material.name}"


@dataclass(frozen=True)
class Answer:
    """What came back, without what changes from call to call."""

    status: int
    essence: str
    """JSON, or what came in its place."""
    error: str | None
    """What the answer says that went wrong; None where it says nothing of the kind."""

    def unlike(self, other: Answer) -> str:
        """Both, from shortly before where they part."""
        pairs = zip(self.essence, other.essence, strict=False)
        parting = next((place for place, (here, there) in enumerate(pairs) if here != there), 0)
        here, there = (text[max(parting - 60, 0) : parting + 60] for text in (self.essence, other.essence))
        return f"{here!r} where {there!r} is right"

    @property
    def is_clear_error(self) -> bool:
        """Whether a client learns what went wrong."""
        return bool(self.error) and self.error != _UNEXPLAINED


def answer_of(status: int, body: bytes) -> Answer:
    """An answer by its status and body: JSON, or a line of JSON for each part."""
    try:
        parts = [json.loads(line) for line in body.splitlines() if line.strip()]
    except ValueError:
        # Beyond the connections that it can hold the HTTP server answers in the adapter's stead.
        text = body.decode(errors="replace")
        return Answer(status, text, text if status == 503 else None)
    last = parts[-1] if parts and isinstance(parts[-1], dict) else {}
    failed = status >= 400 or last.get("success") is False
    error = next((str(last[key]) for key in _MESSAGES if last.get(key)), None) if failed else None
    return Answer(status, json.dumps([_lasting(part) for part in parts], ensure_ascii=False, sort_keys=True), error)


def _lasting(part: Any) -> Any:
    if isinstance(part, dict):
        return {key: _lasting(value) for key, value in part.items() if key not in _VOLATILE}
    return [_lasting(entry) for entry in part] if isinstance(part, list) else part


def _json(field_name: str, **fields: Any) -> Callable[[Material], Arguments]:
    return lambda material: {"json": {field_name: base64.b64encode(material.data).decode(), **fields}}


def _form(**fields: str) -> Callable[[Material], Arguments]:
    def arguments(material: Material) -> Arguments:
        form = aiohttp.FormData(fields)
        form.add_field("file", material.data, filename=material.name)
        return {"data": form}

    return arguments


def _raw(content_type: str) -> Callable[[Material], Arguments]:
    return lambda material: {"data": material.data, "headers": {"Content-Type": content_type}}


_OCR = (
    Call("SageMaker, JSON", "/invocations", _json("image")),
    Call("SageMaker, raw", "/invocations", _raw("image/png")),
    Call("SageMaker, endpoint", "/endpoints/any/invocations", _json("image", profile="PP-OCRv6_tiny")),
    Call("SageMaker, PDF", "/invocations", _raw("application/pdf"), documents=True),
    Call("PaddleOCR, /upload", "/upload", _form()),
    Call("PaddleOCR, /upload with words", "/upload", _form(return_word_box="true", profile="PP-OCRv5_mobile")),
    Call("PaddleOCR, /v1/ocr", "/v1/ocr", _json("image")),
    Call("PaddleOCR, /paddleocr", "/paddleocr", _json("image", profile="PP-OCRv4_mobile")),
    Call("PaddleOCR, /easyocr", "/easyocr", _json("image")),
    Call("PaddleOCR, /upload_pdf", "/upload_pdf", _form(), documents=True),
    Call(
        "PaddleOCR, /upload_pdf as it is read",
        "/upload_pdf",
        _form(),
        documents=True,
        headers={"Accept": "application/x-ndjson"},
    ),
    Call("PaddleX, image", "/ocr", _json("image")),
    Call("PaddleX, file", "/ocr", _json("file", fileType=1, visualize=False)),
    Call("PaddleX, PDF", "/ocr", _json("file", fileType=0), documents=True),
)
_INTERNVL = Call("InternVL", "/ocr/process", _form())
_DOTS = Call("DotsOCR", "/dots/ocr", _json("image", image_format="base64", temperature=0, max_new_tokens=64))


def calls(environment: Mapping[str, str] = os.environ) -> Iterator[Call]:
    """Those of the OCR APIs, and of the vision-language models whose weights the environment names."""
    yield from _OCR
    if environment.get("MODEL_PATH"):
        yield _INTERNVL
    if environment.get("DOTS_MODEL_PATH"):
        yield _DOTS


def cases(materials: Sequence[Material], of: Sequence[Call]) -> list[Case]:
    """Every file to every call that takes its kind."""
    return [Case(call, material) for material in materials for call in of if call.documents == material.is_pdf]
