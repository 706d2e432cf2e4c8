"""Reading a picture: what every OCR API calls."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, cast

import numpy as np

from adapter.context import api_name
from adapter.documents import Documents, Layout, PageImage
from adapter.errors import ModelUnavailableError, TritonUnavailableError
from adapter.gate import Gate
from adapter.metrics import Metrics
from adapter.ordered import ordered
from adapter.tritons import Tritons

logger = logging.getLogger(__name__)

_MODEL = "ocr_ensemble"
_MODELS = ("doc_onnx", "det_onnx", "cls_onnx", "rec_onnx", _MODEL)

Angle = Literal[0, 90, 180, 270]
Point = tuple[float, float]
Quad = tuple[Point, Point, Point, Point]


@dataclass(frozen=True)
class RecognitionOptions:
    """The options of one reading, under the names of the model's inputs; None leaves the model's default.

    A value out of range is the model's to refuse: it raises `InvalidRequestError`, which names it.
    """

    profile: str | None = None
    rec_profile: str | None = None
    use_det: bool | None = None
    use_cls: bool | None = None
    use_rec: bool | None = None
    use_doc_orientation_classify: bool | None = None
    reading_order: bool | None = None
    return_word_box: bool | None = None
    det_thresh: float | None = None
    box_thresh: float | None = None
    unclip_ratio: float | None = None
    text_score: float | None = None
    min_side: int | None = None
    max_side: int | None = None
    rec_batch_size: int | None = None


@dataclass(frozen=True)
class Span:
    """A piece of a line."""

    text: str
    score: float
    quad: Quad


@dataclass(frozen=True)
class Word(Span):
    """A piece that stands alone: a word, or one character of a script that is written without spaces."""

    characters: tuple[Span, ...]


@dataclass(frozen=True)
class Line:
    """One line of text. `quad` is in pixels of the upright picture, from the text's upper left corner, clockwise."""

    text: str
    score: float
    quad: Quad
    box_score: float
    angle: int
    words: tuple[Word, ...]


@dataclass(frozen=True)
class Page:
    """What was read off one picture: its lines, its size in pixels (EXIF applied), and seconds per stage.

    `angle` is by how many degrees the page is turned clockwise, 0 where that was not asked; quads are in pixels of the
    picture as it came. `text` is the text of the whole page, where its reading order was asked for.
    `more_frames`: the file holds further pictures (a TIFF's pages, an animation), of which only the first was read.
    """

    lines: tuple[Line, ...]
    width: int
    height: int
    more_frames: bool
    angle: Angle
    text: str
    times: Mapping[str, float]
    profile: str

    def set_upright(self) -> "Page":
        """The same in pixels of the page as it stands upright, turned counter-clockwise by `angle`."""
        page = self
        for _ in range(self.angle // 90):
            page = page._turned()
        return replace(page, angle=0)

    def _turned(self) -> "Page":
        """A quarter counter-clockwise."""

        def turned(quad: Quad) -> Quad:
            (x0, y0), (x1, y1), (x2, y2), (x3, y3) = quad
            right = self.width
            return ((y0, right - x0), (y1, right - x1), (y2, right - x2), (y3, right - x3))

        def turned_span(span: Span) -> Span:
            return replace(span, quad=turned(span.quad))

        lines = tuple(
            replace(
                line,
                quad=turned(line.quad),
                words=tuple(
                    replace(word, quad=turned(word.quad), characters=tuple(map(turned_span, word.characters)))
                    for word in line.words
                ),
            )
            for line in self.lines
        )
        return replace(self, lines=lines, width=self.height, height=self.width)


@dataclass(frozen=True)
class DocumentPage:
    """One picture of a document, and what was read off it."""

    picture: PageImage
    page: Page


@dataclass(frozen=True)
class DocumentReading:
    """A document that is being read: `pages` gives what was read, in order, as soon as it is."""

    page_count: int
    pages: AsyncIterator[DocumentPage]


class Recognizer:
    """Reads pictures through Triton, in the turn that the gate gives them."""

    def __init__(
        self, triton: Tritons, documents: Documents, gate: Gate, metrics: Metrics, pages_in_flight: int
    ) -> None:
        """`pages_in_flight`: how many pages of one document are read at the same time."""
        self._triton = triton
        self._documents = documents
        self._pages_in_flight = pages_in_flight
        self._gate = gate
        self._metrics = metrics
        self._available: bool | None = None

    async def ready(self, timeout: float) -> bool:
        """Whether Triton and every model that reading needs are ready; answers within `timeout` seconds."""
        ready = await self._triton.ready(_MODELS, timeout)
        self._note(available=ready)
        return ready

    async def read(self, picture: bytes, options: RecognitionOptions) -> Page:
        """Read an encoded picture (JPEG, PNG, BMP, TIFF, WebP, GIF).

        Raises `BusyError` when the queue is full, and whatever `Tritons.infer` raises.
        """
        async with self._gate.enter():
            return await self._read(picture, options)

    @asynccontextmanager
    async def reading(
        self, document: bytes, name: str, layout: Layout, options: RecognitionOptions
    ) -> AsyncIterator[DocumentReading]:
        """Read the PDF in the field `name`; several of its pages are in flight at a time.

        Entering raises `BusyError` when the queue is full, and whatever `Documents.open` raises; the pages raise what
        `Document.pages` and `read` raise, but never `BusyError`: a document that was let in is read to its end.
        """
        begun = False
        # The first, which somebody waits for, is read alone: as fast as if it were the only one.
        first_read = asyncio.Event()

        async with self._gate.admit() as admission, self._documents.open(document, name) as opened:

            async def read(picture: PageImage) -> DocumentPage:
                nonlocal begun
                if begun:
                    await first_read.wait()
                begun = True
                async with admission.place():
                    page = await self._read(picture.encoded, options)
                first_read.set()
                return DocumentPage(picture, page)

            async with aclosing(ordered(opened.pages(layout), read, self._pages_in_flight)) as pages:
                yield DocumentReading(opened.page_count, pages)

    async def _read(self, picture: bytes, options: RecognitionOptions) -> Page:
        try:
            outputs = await self._triton.infer(_MODEL, _tensors(picture, options))
        except (TritonUnavailableError, ModelUnavailableError):
            self._note(available=False)
            raise
        self._note(available=True)
        self._metrics.pages.labels(api_name.get()).inc()
        return _page(outputs)

    def _note(self, available: bool) -> None:
        """Log what has changed, once: what it means for each request is in the metrics."""
        if available != self._available:
            logger.warning("the OCR models are ready" if available else "the OCR models are not ready")
        self._available = available


_DTYPES: dict[type, type] = {str: np.object_, bool: np.bool_, float: np.float32, int: np.int32}


def _tensors(picture: bytes, options: RecognitionOptions) -> dict[str, np.ndarray]:
    tensors = {"image": np.array([picture], np.object_)}
    for field in fields(options):
        value = getattr(options, field.name)
        if value is not None:
            dtype = _DTYPES[type(value)]
            tensors[field.name] = np.array([value.encode() if isinstance(value, str) else value], dtype)
    return tensors


def _page(outputs: Mapping[str, np.ndarray]) -> Page:
    lines = zip(
        outputs["texts"],
        outputs["scores"].tolist(),
        outputs["boxes"].tolist(),
        outputs["box_scores"].tolist(),
        outputs["angles"].tolist(),
        outputs["words"],
        strict=True,
    )
    width, height = outputs["size"].tolist()
    return Page(
        lines=tuple(
            Line(text.decode(), score, _quad(box), box_score, angle, _words(words))
            for text, score, box, box_score, angle, words in lines
        ),
        width=width,
        height=height,
        more_frames=bool(outputs["more_frames"][0]),
        angle=cast(Angle, int(outputs["page_angle"][0])),
        text=outputs["text"][0].decode(),
        times=json.loads(outputs["times"][0]),
        profile=outputs["profile_used"][0].decode(),
    )


def _words(encoded: bytes) -> tuple[Word, ...]:
    if not encoded:
        return ()
    return tuple(Word(*_span(word), tuple(Span(*_span(c)) for c in word["characters"])) for word in json.loads(encoded))


def _span(span: Mapping[str, Any]) -> tuple[str, float, Quad]:
    return span["text"], span["score"], _quad(span["quad"])


def _quad(points: list[list[float]]) -> Quad:
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = points
    return ((x0, y0), (x1, y1), (x2, y2), (x3, y3))
