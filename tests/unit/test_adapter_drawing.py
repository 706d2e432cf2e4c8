"""The drawn answer: quads over the picture, and beside it the texts where they stand."""

import asyncio
import io
import os
import signal
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from multiprocessing.context import SpawnProcess
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pymupdf
import pytest
from PIL import Image

from adapter.drawing import Draughtsman
from adapter.errors import InternalError, UnreadableImageError
from adapter.labels import Label, TextLayer
from scripts.launched import eventually
from tests.pages import ENGLISH, draw, encode, exif_turned

QUAD = ((100.0, 40.0), (300.0, 40.0), (300.0, 80.0), (100.0, 80.0))


@pytest.fixture(scope="module")
def draughtsman() -> Iterator[Draughtsman]:
    draughtsman = Draughtsman()
    yield draughtsman
    draughtsman.close()


def decoded(jpeg: bytes) -> npt.NDArray[np.uint8]:
    assert jpeg.startswith(b"\xff\xd8")
    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))


Annotate = Callable[..., npt.NDArray[np.uint8]]


@pytest.fixture
def annotated(draughtsman: Draughtsman) -> Annotate:
    return lambda picture, *labels: decoded(asyncio.run(draughtsman.annotated(picture, labels)))


def blank(width: int = 400, height: int = 200, extension: str = ".png") -> bytes:
    return encode(np.full((height, width, 3), 255, np.uint8), extension)


def dark(pixels: npt.NDArray[np.uint8]) -> int:
    return int((pixels.max(-1) < 100).sum())


def test_the_quad_is_tinted_on_the_left_and_its_text_stands_on_the_right(annotated: Annotate) -> None:
    drawing = annotated(blank(), Label("北京南站", QUAD))
    assert drawing.shape == (200, 800, 3)
    left, right = drawing[:, :400], drawing[:, 400:]
    assert np.ptp(left[60, 200].astype(int)) > 30
    assert left[150, 200].min() > 240
    assert dark(right[40:80, 100:300]) > 500
    outside = right.copy()
    outside[36:84, 96:304] = 255
    assert outside.min() > 230


def test_a_text_fills_its_quad_however_that_is_turned(annotated: Annotate) -> None:
    slanted = ((100.0, 100.0), (290.0, 50.0), (300.0, 90.0), (110.0, 140.0))
    downwards = ((350.0, 20.0), (380.0, 20.0), (380.0, 180.0), (350.0, 180.0))
    right = annotated(blank(), Label("slanted", slanted), Label("竖排文字", downwards))[:, 400:]
    for quad in (slanted, downwards):
        inside = np.zeros(right.shape[:2], np.uint8)
        cv2.fillPoly(inside, [np.array(quad, np.int32)], 1)
        ys, xs = np.nonzero((right.max(-1) < 100) & (inside > 0))
        assert np.ptp(xs) > 0.6 * np.ptp(np.array(quad)[:, 0])
        assert np.ptp(ys) > 0.6 * np.ptp(np.array(quad)[:, 1])


@pytest.mark.parametrize("text", ["说", "說", "あ", "é", "A"])
def test_every_script_that_is_read_has_its_letters(annotated: Annotate, text: str) -> None:
    missing = annotated(blank(), Label("\U0010ffff", QUAD))
    assert not np.array_equal(annotated(blank(), Label(text, QUAD)), missing)


def test_a_text_that_is_empty_and_a_quad_that_has_no_area_do_no_harm(annotated: Annotate) -> None:
    point = ((5.0, 5.0),) * 4
    outside = ((-50.0, -10.0), (900.0, -10.0), (900.0, 20.0), (-50.0, 20.0))
    annotated(blank(), Label("", QUAD), Label("text", point), Label("text" * 500, outside))


def test_a_large_picture_is_drawn_smaller_and_its_quads_with_it(annotated: Annotate) -> None:
    quad = tuple((10 * x, 10 * y) for x, y in QUAD)
    drawing = annotated(blank(4000, 2000, ".jpg"), Label("text", quad))
    assert drawing.shape == (1000, 4000, 3)
    assert np.ptp(drawing[300, 1000].astype(int)) > 30
    assert drawing[700, 1000].min() > 240


def test_the_picture_is_upright(draughtsman: Draughtsman) -> None:
    upright = draw(ENGLISH)
    turned = exif_turned(ENGLISH).data
    picture = decoded(asyncio.run(draughtsman.jpeg(turned)))
    assert picture.shape == upright.shape
    assert np.abs(picture.astype(int) - upright[..., ::-1]).mean() < 3


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "LA", "I;16"])
def test_pictures_of_every_kind_are_drawn_on_white(draughtsman: Draughtsman, mode: str) -> None:
    buffer = io.BytesIO()
    image = Image.new(mode, (60, 40), 65535 if mode == "I;16" else 0)
    image.save(buffer, "PNG")
    pixels = decoded(asyncio.run(draughtsman.jpeg(buffer.getvalue())))
    assert pixels.shape == (40, 60, 3)
    expected = 255 if mode in {"RGBA", "LA", "I;16"} else 0
    assert abs(int(pixels.mean()) - expected) < 5


def test_what_the_models_could_read_is_drawn_though_its_file_is_damaged(draughtsman: Draughtsman) -> None:
    text = zlib.compress(bytes(100_000_000))
    chunk = b"zTXt" + b"note\0\0" + text
    bomb = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    picture = blank()
    assert asyncio.run(draughtsman.jpeg(picture[:33] + bomb + picture[33:]))
    jpeg = blank(extension=".jpg")
    assert asyncio.run(draughtsman.jpeg(jpeg[: len(jpeg) * 3 // 4]))


@pytest.mark.parametrize("picture", [b"", b"hello", blank()[:20]])
def test_what_cannot_be_decoded_is_the_pictures_fault(draughtsman: Draughtsman, picture: bytes) -> None:
    with pytest.raises(UnreadableImageError):
        asyncio.run(draughtsman.annotated(picture, []))


def test_a_killed_process_fails_one_drawing_and_the_next_is_made() -> None:
    async def work() -> bytes:
        draughtsman = Draughtsman()
        await draughtsman.jpeg(blank())
        for pid in list(draughtsman._pool._processes):
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(InternalError):
            while True:
                await draughtsman.jpeg(blank())
        jpeg = await draughtsman.jpeg(blank())
        draughtsman.close()
        return jpeg

    assert asyncio.run(work())


def test_a_process_killed_while_it_answers_and_another_is_started_leaves_none_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = SpawnProcess.start

    def kill_the_other(process: SpawnProcess) -> None:
        start(process)
        for pid in pool._processes:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.5)  # in which the pool ends the processes that it knows

    async def work() -> None:
        busy = pool.submit(time.sleep, 60)
        monkeypatch.setattr(SpawnProcess, "start", kill_the_other)
        pool._result_queue._wlock.acquire()  # as by one that is killed in the middle of an answer
        with pytest.raises(InternalError):
            await draughtsman.jpeg(blank())
        assert busy.exception()

    draughtsman = Draughtsman()
    pool: Any = draughtsman._pool
    asyncio.run(work())
    assert eventually(lambda: not any(process.is_alive() for process in pool._processes.values()), 10)
    draughtsman.close()


def test_a_picture_becomes_a_pdf_that_can_be_searched(draughtsman: Draughtsman) -> None:
    layer = TextLayer(1, 400, 200, [Label("发票 Invoice", QUAD)])
    document = pymupdf.open(stream=asyncio.run(draughtsman.searchable_pdf(blank(), layer)))
    assert document[0].get_text().strip() == "发票 Invoice"


def test_what_cannot_be_made_a_pdf_is_the_callers_to_know(draughtsman: Draughtsman) -> None:
    with pytest.raises(UnreadableImageError, match="cannot be made a PDF"):
        asyncio.run(draughtsman.searchable_pdf(b"no picture", TextLayer(1, 400, 200, [])))
