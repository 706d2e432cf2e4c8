"""A picture with what was found on it: the quads over the picture, and beside it each text in its place."""

import asyncio
import colorsys
import io
import multiprocessing
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import cache, lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFile, ImageFont, ImageOps

from adapter.errors import InternalError, UnreadableImageError
from adapter.labels import Label, TextLayer
from adapter.pixels import flat

# Pixels of the longer side: a drawing is for the eye, and PaddleX's has no more.
_LONGEST = 2000
_PROCESSES = 2
_JPEG_QUALITY = 90
_OPACITY = 0.4
_HUE_STEP = 0.618034  # of the colour wheel, so that neighbours differ (the golden ratio: no cycle)
_DOWNWARDS = 1.5  # a quad this much higher than wide holds a line that runs downwards


class Draughtsman:
    """Draws, in processes of its own: pictures are decoded anew, and the font is PyMuPDF's."""

    def __init__(self) -> None:
        self._pool = _pool()

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def jpeg(self, picture: bytes, angle: int = 0) -> bytes:
        """An encoded picture as a JPEG, its EXIF orientation applied, and turned counter-clockwise by `angle`, a
        multiple of 90 degrees; its longer side 2000 pixels at most."""
        return await self._run(_jpeg, picture, angle)

    async def annotated(self, picture: bytes, labels: Sequence[Label], angle: int = 0) -> bytes:
        """The same with the quads of the labels over it, and beside it, on white, their texts."""
        return await self._run(_annotated, picture, labels, angle)

    async def searchable_pdf(self, picture: bytes, layer: TextLayer) -> bytes:
        """A PDF whose one page shows an encoded picture, with its text over it; see `adapter.searchable_pdf`.

        All of them raise `UnreadableImageError` where the picture cannot be decoded.
        """
        return await self._run(_searchable_pdf, picture, layer)

    async def _run(self, function: Callable[..., bytes], *arguments: object) -> bytes:
        pool = self._pool
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, function, *arguments)
        except BrokenProcessPool as error:
            _kill(pool)
            if pool is self._pool:
                self._pool = _pool()
            raise InternalError("the picture could not be drawn") from error


def _pool() -> ProcessPoolExecutor:
    # The processes start when they are needed. Not by fork: gRPC's threads would not survive it.
    return ProcessPoolExecutor(_PROCESSES, multiprocessing.get_context("spawn"), _be_lenient)


def _kill(pool: ProcessPoolExecutor) -> None:
    """Python 3.14's `kill_workers`. A broken pool ends its processes, but not one that was just being started, which
    may wait for ever for a lock that the dead one held, and the pool, and Python's exit, for it."""
    for process in list((pool._processes or {}).values()):
        process.kill()


def _be_lenient() -> None:
    # The models have read the picture: what else is wrong with its file is no matter.
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    warnings.simplefilter("ignore")


def _jpeg(picture: bytes, angle: int) -> bytes:
    return _encoded(_decoded(picture, angle)[0])


def _annotated(picture: bytes, labels: Sequence[Label], angle: int) -> bytes:
    image, scale = _decoded(picture, angle)
    overlay = image.copy()
    texts = Image.new("RGB", image.size, "white")
    on_overlay, on_texts = ImageDraw.Draw(overlay), ImageDraw.Draw(texts)
    for number, label in enumerate(labels):
        quad = np.array(label.quad, np.float64) * scale
        red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(number * _HUE_STEP % 1, 0.9, 0.8))
        corners = [(x, y) for x, y in quad.tolist()]
        on_overlay.polygon(corners, fill=(red, green, blue))
        _write(texts, label.text, quad)
        on_texts.polygon(corners, outline=(red, green, blue))
    both = Image.new("RGB", (2 * image.width, image.height))
    both.paste(Image.blend(image, overlay, _OPACITY), (0, 0))
    both.paste(texts, (image.width, 0))
    return _encoded(both)


def _searchable_pdf(picture: bytes, layer: TextLayer) -> bytes:
    from adapter import searchable_pdf  # noqa: PLC0415 - for PyMuPDF, as below

    try:
        return searchable_pdf.searchable_pdf(picture, [layer])
    except Exception as error:  # as above
        raise UnreadableImageError(f"the picture cannot be made a PDF: {error}") from None


def _decoded(picture: bytes, angle: int) -> tuple[Image.Image, float]:
    """The picture as the models see it, made smaller where it is large and turned, and the factor by which it was
    made smaller.

    Raises `UnreadableImageError` where Pillow cannot decode what the models could.
    """
    try:
        image: Image.Image = Image.open(io.BytesIO(picture))
        longest = max(image.size)
        # Lets the decoder leave out what would be thrown away (JPEG alone can).
        image.draft("RGB", (_LONGEST, _LONGEST))
        image.load()
    except Exception as error:  # Pillow's decoders raise whatever a damaged file provokes
        raise UnreadableImageError(f"the picture cannot be drawn: {error}") from None
    with suppress(Exception):  # broken EXIF turns nothing
        image = ImageOps.exif_transpose(image)
    upright = flat(image)
    upright.thumbnail((_LONGEST, _LONGEST))
    return upright.rotate(angle, expand=True), max(upright.size) / longest


def _write(canvas: Image.Image, text: str, quad: npt.NDArray[np.float64]) -> None:
    """Draw the text so that it fills the quad, as on the picture, however that is turned."""
    width, height = _sides(quad)
    if height > _DOWNWARDS * width:
        quad, width, height = np.roll(quad, -1, axis=0), height, width
    if not text or height < 1:
        return
    # No larger than the quad in either direction: what follows only enlarges.
    font = _font(round(height))
    font = _font(min(round(height), int(height * width / max(font.getlength(text), 1))))
    mask = Image.new("L", (max(1, round(font.getlength(text))), sum(font.getmetrics())))
    ImageDraw.Draw(mask).text((0, 0), text, fill=255, font=font)
    left, top = np.floor(quad.min(0)).astype(int).tolist()
    right, bottom = np.ceil(quad.max(0)).astype(int).tolist()
    coefficients = _perspective(quad - (left, top), mask.size)
    size = (max(1, right - left), max(1, bottom - top))
    in_place = mask.transform(size, Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BICUBIC)
    canvas.paste("black", (left, top), in_place)


def _sides(quad: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Its width and height, the longer of either's two sides."""
    lengths = np.linalg.norm(quad - np.roll(quad, -1, axis=0), axis=1)
    return float(max(lengths[0], lengths[2])), float(max(lengths[1], lengths[3]))


def _perspective(quad: npt.NDArray[np.float64], size: tuple[int, int]) -> list[float]:
    """The coefficients a to h of u = (ax + by + c) / (gx + hy + 1), v = (dx + ey + f) / (gx + hy + 1), which takes the
    quad's corners (x, y) to those of a rectangle of that size."""
    width, height = size
    rows, values = [], []
    for (x, y), (u, v) in zip(quad.tolist(), [(0, 0), (width, 0), (width, height), (0, height)], strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    # By least squares: a quad that has shrunk to a line has no exact answer, and needs none.
    return [float(value) for value in np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0]]


@lru_cache(maxsize=64)
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(io.BytesIO(_typeface()), max(size, 4), layout_engine=ImageFont.Layout.BASIC)


@cache
def _typeface() -> bytes:
    """Droid Sans Fallback, which has Chinese, Japanese and Korean beside Latin."""
    import pymupdf  # noqa: PLC0415 - 60 MB that only a process that draws is to carry

    return bytes(pymupdf.Font("cjk").buffer)


def _encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()
