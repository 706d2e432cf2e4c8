"""The server's HTTP API, on the standard library alone."""

from __future__ import annotations

import base64
import json
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse, IncompleteRead
from typing import Any, TypeVar

from triton_ocr.errors import InputError, ServerError

# Seconds. A long PDF takes minutes; the server has a limit of its own, which says more when it is reached.
_READ_TIMEOUT = 3600.0
_ASK_TIMEOUT = 60.0
# How often a server that is busy is asked again, when it says after how many seconds.
_TRIES = 5
# How often a request is made whose connection breaks off. Reading changes nothing, and a server whose adapter has died
# keeps new connections until it is started again; one that is gone refuses them.
_TRIES_IF_CUT = 3
_CUT = (ConnectionAbortedError, ConnectionResetError, BrokenPipeError, IncompleteRead)
_NDJSON = "application/x-ndjson"

T = TypeVar("T")
Quad = Sequence[Sequence[int]]

# The server is on this machine or named outright: proxies of the environment are for the rest of the world.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class ReadPage:
    """A page as the server read it: of each line a quad (whole pixels, clockwise from the text's upper left), the mean
    probability of text within it, the text and its score; the whole text in reading order where that was asked for; and
    the drawing (JPEG) where there is one."""

    width: int
    height: int
    polys: Sequence[Quad]
    poly_scores: Sequence[float]
    texts: Sequence[str]
    text_scores: Sequence[float]
    in_order: str | None
    drawing: bytes | None


class Client:
    """Asks one server. Threads may share it."""

    def __init__(self, url: str, key: str | None = None) -> None:
        """`url` is the server's base URL, or its host and port alone; `key` is one of its OCR_API_KEYS."""
        self.url = (url if "://" in url else f"http://{url}").rstrip("/")
        self._headers = {"X-API-Key": key} if key else {}

    def is_ready(self, timeout: float = 5.0) -> bool:
        """Whether it can read pictures now."""
        try:
            with _OPENER.open(f"{self.url}/ping", timeout=timeout) as response:
                return bool(response.status == 200)
        except (OSError, ValueError, HTTPException):
            return False

    def get(self, path: str) -> dict[str, Any]:
        """The JSON at the path. Raises ServerError."""

        def ask() -> dict[str, Any]:
            request = urllib.request.Request(self.url + path, headers=self._headers)  # noqa: S310 - the caller's
            try:
                with _OPENER.open(request, timeout=_ASK_TIMEOUT) as response:
                    answer: dict[str, Any] = json.load(response)
                    return answer
            except urllib.error.HTTPError as error:
                raise ServerError(f"{self.url}{path}: {_message(error)}") from error

        return self._whole(ask)

    def read(
        self, file: bytes, fields: Mapping[str, Any], on_page: Callable[[int, int], None] = lambda done, of: None
    ) -> list[ReadPage]:
        """The pages of a PDF, or the one of a picture. `fields` are those of PaddleX's `POST /ocr`.

        `on_page` is told after each page how many are done, and of how many; from the first one again where the answer
        broke off. Raises InputError where the server refuses the file, ServerError where it does not answer.
        """

        def take(response: HTTPResponse) -> list[ReadPage]:
            first = response.readline()
            if not first:
                raise ConnectionAbortedError("it left before the first page")
            start = json.loads(first)
            pages: list[ReadPage] = []
            for line in response:
                entry = json.loads(line)
                if "errorMsg" in entry:
                    raise InputError(f"page {len(pages) + 1}: {entry['errorMsg']}")
                pages.append(_page(entry))
                on_page(len(pages), start["numPages"])
            if len(pages) != start["numPages"]:
                raise ConnectionAbortedError(f"it left after {len(pages)} of {start['numPages']} pages")
            return pages

        body = {"file": base64.b64encode(file).decode(), "fileType": 0 if is_pdf(file) else 1, **fields}
        return self._posted("/paddlex/ocr", json.dumps(body).encode(), "application/json", _NDJSON, take)

    def searchable_pdf(self, file: bytes, pages: Sequence[Mapping[str, Any]]) -> bytes:
        """A picture or PDF as a PDF with what was read laid invisibly over its pages.

        Each of `pages` has `page` (from 1), `width`, `height` and `lines`, each with `text` and `bbox`. Raises as
        `read` does.
        """
        boundary = secrets.token_hex(16)
        body = b"".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n\r\n'.encode()
            + content
            + b"\r\n"
            for name, content in (("file", file), ("pages", json.dumps(pages).encode()))
        )
        body += f"--{boundary}--\r\n".encode()
        form = f"multipart/form-data; boundary={boundary}"
        return self._posted("/page/searchable_pdf", body, form, "application/pdf", lambda response: response.read())

    def _posted(self, path: str, body: bytes, content_type: str, accept: str, take: Callable[[HTTPResponse], T]) -> T:
        """What `take` makes of the answer to a request."""
        headers = {"Content-Type": content_type, "Accept": accept, **self._headers}

        def ask() -> T:
            request = urllib.request.Request(self.url + path, body, headers)  # noqa: S310 - the caller's
            with self._opened(request) as response:
                return take(response)

        return self._whole(ask)

    def _whole(self, ask: Callable[[], T]) -> T:
        """What `ask` returns; it is asked again where the connection breaks off. Raises ServerError."""
        for tries_left in reversed(range(_TRIES_IF_CUT)):
            try:
                return ask()
            except (OSError, ValueError, HTTPException) as error:
                reason = getattr(error, "reason", error)
                if not (isinstance(reason, _CUT) and tries_left):
                    raise ServerError(f"no answer from {self.url}: {reason}") from error
        raise AssertionError("the last try returns or raises")

    def _opened(self, request: urllib.request.Request) -> HTTPResponse:
        """The answer's beginning; a server that is busy is asked again when it says so."""
        for tries_left in reversed(range(_TRIES)):
            try:
                response: HTTPResponse = _OPENER.open(request, timeout=_READ_TIMEOUT)
                return response
            except urllib.error.HTTPError as error:
                if error.code == 401:
                    raise ServerError(f"{self.url}: {_message(error)}; OCR_API_KEY names it") from error
                wait = error.headers.get("Retry-After", "")
                if not (error.code == 503 and wait.isdigit() and tries_left):
                    raise InputError(_message(error)) from error
                time.sleep(int(wait))
        raise AssertionError("the last try returns or raises")


def is_pdf(file: bytes) -> bool:
    """Whether a file is a PDF, whose mark lies within the first 1024 bytes (ISO 32000-1, annex H.3.4.1)."""
    return b"%PDF-" in file[:1024]


def _page(entry: Mapping[str, Any]) -> ReadPage:
    answer = entry["ocrResult"]
    pruned = answer["prunedResult"]
    # Lines that score too low were found, but are left out of what was read; the others stand in the same order.
    found = iter(zip(pruned["dt_polys"], pruned["dt_scores"]))
    drawing = answer.get("ocrImage")
    return ReadPage(
        width=entry["width"],
        height=entry["height"],
        polys=pruned["rec_polys"],
        poly_scores=[next(score for quad, score in found if quad == kept) for kept in pruned["rec_polys"]],
        texts=pruned["rec_texts"],
        text_scores=pruned["rec_scores"],
        in_order=answer.get("text"),
        drawing=base64.b64decode(drawing) if drawing is not None else None,
    )


def _message(error: urllib.error.HTTPError) -> str:
    """What the server says of a failure, in either of its forms."""
    try:
        answer = json.load(error)
        return str(answer.get("errorMsg") or answer["error"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"HTTP {error.code} {error.reason}"
