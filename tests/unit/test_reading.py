"""A document is let in once, and read to its end, several pages at a time, in order."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pymupdf
import pytest

from adapter.documents import Documents, Layout
from adapter.errors import BusyError, InternalError, TooLargeError
from adapter.gate import Gate
from adapter.metrics import Metrics
from adapter.recognizer import RecognitionOptions, Recognizer
from adapter.settings import Settings


class SlowTriton:
    """Reads the width off a PNG's header; narrower pictures take longer, and what runs at the same time is counted."""

    def __init__(self) -> None:
        self.running = self.most = self.asked = 0
        self.began = asyncio.Event()

    async def infer(self, model: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        width = int.from_bytes(inputs["image"][0][16:20], "big")
        self.asked += 1
        self.began.set()
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if width == 13:
                raise InternalError("unlucky")
            await asyncio.sleep(2 / width)
        finally:
            self.running -= 1
        outputs: dict[str, Any] = {
            "texts": [],
            "scores": [],
            "boxes": [],
            "box_scores": [],
            "angles": [],
            "words": [],
            "size": [width, 1],
            "more_frames": [False],
            "page_angle": [0],
            "text": [b""],
            "times": [b"{}"],
            "profile_used": [b"p"],
        }
        return {name: np.array(value) for name, value in outputs.items()}


def pdf(*widths: int) -> bytes:
    """A page for each width; at 72 dpi that many pixels wide."""
    document = pymupdf.open()
    for width in widths:
        document.new_page(width=width, height=50)
    return bytes(document.tobytes())


@asynccontextmanager
async def recognizer(
    places: int = 8, waiting: int = 0, at_once: int = 3, **settings: Any
) -> AsyncIterator[tuple[Recognizer, SlowTriton]]:
    triton, metrics = SlowTriton(), Metrics()
    documents = Documents(Settings(pdf_dpi=72, **settings))
    try:
        gate = Gate(places, waiting, metrics)
        yield Recognizer(triton, documents, gate, metrics, at_once), triton  # type: ignore[arg-type]
    finally:
        await documents.close()


async def read(recognizer: Recognizer, data: bytes) -> list[int]:
    """The widths of the pages, in the order in which they came."""
    async with recognizer.reading(data, "file", Layout.WHOLE, RecognitionOptions()) as reading:
        found = [entry async for entry in reading.pages]
    assert [entry.picture.page for entry in found] == list(range(1, reading.page_count + 1))
    assert all(entry.picture.width == entry.page.width for entry in found)
    return [entry.page.width for entry in found]


def test_pages_come_in_order_though_several_are_read_at_a_time() -> None:
    async def scenario() -> None:
        async with recognizer(at_once=3) as (reader, triton):
            widths = [20, 200, 100, 30, 300, 50]
            assert await read(reader, pdf(*widths)) == widths
            assert triton.most == 3

    asyncio.run(scenario())


def test_the_first_page_is_read_alone_so_that_it_comes_as_fast_as_a_picture() -> None:
    async def scenario() -> None:
        async with recognizer(at_once=3) as (reader, triton):
            task = asyncio.create_task(read(reader, pdf(4, 100, 100)))
            await triton.began.wait()
            await asyncio.sleep(0.3)  # of the half second that it takes
            assert triton.asked == 1
            assert await task == [4, 100, 100]
            assert triton.most == 2

    asyncio.run(scenario())


def test_a_document_of_many_pages_is_let_in_once_and_never_refused_on_the_way() -> None:
    async def scenario() -> None:
        async with recognizer(places=1, waiting=1) as (reader, triton):
            widths = list(range(40, 60))
            both = await asyncio.gather(read(reader, pdf(*widths)), read(reader, pdf(*widths)))
            assert both == [widths, widths]
            assert triton.most == 1

    asyncio.run(scenario())


def test_a_document_is_refused_at_once_when_the_queue_is_full_even_before_it_is_opened() -> None:
    async def scenario() -> None:
        async with recognizer(places=1, waiting=0) as (reader, _):
            first = asyncio.create_task(read(reader, pdf(20, 20)))
            await asyncio.sleep(0.05)
            with pytest.raises(BusyError):
                await read(reader, b"not even a PDF")
            with pytest.raises(BusyError):
                await reader.read(b"", RecognitionOptions())
            await first
            assert await read(reader, pdf(20)) == [20]

    asyncio.run(scenario())


def test_a_long_document_does_not_keep_a_picture_waiting() -> None:
    async def scenario() -> None:
        async with recognizer(places=2, waiting=4, at_once=2) as (reader, triton):
            document = asyncio.create_task(read(reader, pdf(*[20] * 12)))
            await triton.began.wait()
            picture = pymupdf.Pixmap(pymupdf.csRGB, pymupdf.IRect(0, 0, 100, 1)).tobytes("png")
            await reader.read(picture, RecognitionOptions())
            assert not document.done()
            assert triton.asked < 8
            await document

    asyncio.run(scenario())


def test_what_was_read_before_a_failure_is_given() -> None:
    async def scenario(data: bytes, error: type[Exception], **settings: Any) -> list[int]:
        seen = []
        async with recognizer(**settings) as (reader, triton):
            with pytest.raises(error):
                async with reader.reading(data, "file", Layout.WHOLE, RecognitionOptions()) as reading:
                    async for entry in reading.pages:
                        seen.append(entry.page.width)
            assert not triton.running
        return seen

    assert asyncio.run(scenario(pdf(40, 50, 13, 60), InternalError)) == [40, 50]
    assert asyncio.run(scenario(pdf(40, 50, 9000), TooLargeError, pdf_max_pixels=10_000)) == [40, 50]


def test_who_leaves_stops_the_pages_in_flight_and_makes_room() -> None:
    async def scenario() -> None:
        async with recognizer(places=1, waiting=0) as (reader, triton):
            task = asyncio.create_task(read(reader, pdf(*[3] * 5)))
            await triton.began.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not triton.running
            assert await read(reader, pdf(30)) == [30]

    asyncio.run(scenario())
