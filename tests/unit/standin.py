"""The application on a recognizer that reads nothing: it notes what it was asked for, and answers as it was told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields
from typing import Any

import httpx
from fastapi import FastAPI

from adapter.apis import base
from adapter.app import create_app
from adapter.documents import Layout, PageImage
from adapter.drawing import Draughtsman
from adapter.errors import ServiceError
from adapter.recognizer import DocumentPage, DocumentReading, Line, Page, Quad, RecognitionOptions, Span, Word
from adapter.runtime import Runtime
from adapter.settings import Settings
from adapter.sources import FileLimit, from_base64
from tests.pages import blank

PICTURE = blank().data
QUAD: Quad = ((1.0, 2.0), (30.4, 2.0), (30.4, 12.0), (1.0, 12.6))
SPAN = Span("文", 0.9, QUAD)
LINE = Line("文字", 0.8, QUAD, 0.75, 180, (Word("文字", 0.9, QUAD, (SPAN, SPAN)),))
PAGE = Page((LINE,), 640, 480, False, 0, "", {"detection": 0.1, "recognition": 0.2}, "PP-OCRv4_mobile")


def page_image(
    page: int, index: int = 0, bbox: tuple[float, float, float, float] = (0.0, 0.0, 595.0, 842.0)
) -> PageImage:
    return PageImage(page=page, index=index, encoded=PICTURE, bbox=bbox, width=640, height=480, dpi=200.0)


@dataclass
class StandIn:
    """What the routes are lent instead of the real thing.

    Attributes:
        page: read off every picture.
        pictures: what every PDF consists of.
        error: raised instead of reading.
        error_after: raised by a PDF after its pictures.
        runtime_: what the models run on.
        is_ready: whether they are ready.
        seen: the options of each reading.
        layouts: how each PDF was to be taken apart.
    """

    page: Page = PAGE
    pictures: Sequence[PageImage] = ()
    error: ServiceError | None = None
    error_after: ServiceError | None = None
    runtime_: Runtime = field(default=Runtime("PP-OCRv4_mobile", ("CPUExecutionProvider",), ("PP-OCRv4_mobile",)))
    is_ready: bool = True
    seen: list[RecognitionOptions] = field(default_factory=list)
    layouts: list[Layout] = field(default_factory=list)

    async def ready(self, timeout: float) -> bool:
        return self.is_ready

    async def runtime(self) -> Runtime:
        return self.runtime_

    async def url_or_base64(self, text: str, name: str, limit: FileLimit) -> bytes:
        return from_base64(text, name, limit)

    async def read(self, picture: bytes, options: RecognitionOptions) -> Page:
        self.seen.append(options)
        if self.error:
            raise self.error
        return self.page

    @asynccontextmanager
    async def reading(
        self, document: bytes, name: str, layout: Layout, options: RecognitionOptions
    ) -> AsyncIterator[DocumentReading]:
        self.seen.append(options)
        self.layouts.append(layout)
        if self.error:
            raise self.error

        async def pages() -> AsyncIterator[DocumentPage]:
            for picture in self.pictures:
                yield DocumentPage(picture, self.page)
            if self.error_after:
                raise self.error_after

        yield DocumentReading(len({picture.page for picture in self.pictures}), pages())


@dataclass(frozen=True)
class Client:
    """A client of an application."""

    app: FastAPI

    def request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://adapter") as client:
                return await client.request(method, path, **arguments)

        return asyncio.run(send())

    def get(self, path: str) -> httpx.Response:
        return self.request("GET", path)

    def post(self, path: str, **arguments: Any) -> httpx.Response:
        return self.request("POST", path, **arguments)


def client(standin: StandIn, **settings: Any) -> Client:
    """A client of an application of these settings whose routes use the stand-in."""
    given = Settings(**settings)
    app = create_app(given)
    lent = {
        "settings": given,
        "sources": standin,
        "recognizer": standin,
        "probe": standin,
        "draughtsman": Draughtsman(),
    }
    services = base.Services(**{field.name: lent.get(field.name) for field in fields(base.Services)})  # type: ignore[arg-type]
    app.dependency_overrides[base._services] = lambda: services
    return Client(app)
