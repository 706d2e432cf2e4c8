"""Reading documents with InternVL: from a file to the texts of its pages and what they hold."""

import math
from bisect import bisect_left
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from adapter.decoding import Decoder
from adapter.documents import Documents, Layout, PageImage, kind
from adapter.gate import Admission
from adapter.internvl.structure import Kind, passages
from adapter.ordered import ordered
from adapter.repetition import PlainText
from adapter.vlm import Chunk, Sampling, VisionLanguageModel


@dataclass(frozen=True)
class Finding:
    """A table, a diagram, an annotation or a specification in the text of a page."""

    kind: Kind
    content: str
    confidence: float
    """Of the tokens that it consists of."""


@dataclass(frozen=True)
class PageReading:
    """What the model wrote about one page."""

    text: str
    logprobs: tuple[float, ...]
    """Of the tokens of the text."""
    findings: tuple[Finding, ...]
    image_patches: int
    """The tiles that the model was shown."""
    truncated: bool
    """Whether the limit of tokens cut the text off."""
    repaired: bool
    """Whether a repetition without end was left out."""


@dataclass(frozen=True)
class Passage:
    """A piece of the text about a picture, as the model writes it."""

    text: str


@dataclass(frozen=True)
class LastPassage(Passage):
    """The last piece, empty or not, and what is to be said of the whole."""

    confidence: float
    """Of all tokens."""
    truncated: bool
    """Whether the limit of tokens cut the text off."""
    repaired: bool
    """Whether a repetition without end was left out."""


@dataclass(frozen=True)
class FileReading:
    """What the model wrote about a file: a PDF's pages in order, or the one picture. The size is the first page's, in
    pixels."""

    pages: tuple[PageReading, ...]
    width: int
    height: int
    is_document: bool
    more_frames: bool
    """Whether the file holds further pictures, of which only the first was read."""

    @property
    def confidence(self) -> float:
        """Of all tokens of all pages."""
        return confidence([logprob for page in self.pages for logprob in page.logprobs])


class InternvlReader:
    """Reads pictures and PDFs with an InternVL that Triton runs."""

    def __init__(
        self, model: VisionLanguageModel, decoder: Decoder, documents: Documents, sampling: Sampling, pages_at_once: int
    ) -> None:
        """`pages_at_once`: how many pages of one document are read at the same time."""
        self.model = model
        self._decoder = decoder
        self._documents = documents
        self._sampling = sampling
        self._pages_at_once = pages_at_once

    async def read(self, file: bytes, name: str, prompt: str) -> FileReading:
        """Ask `prompt` about the file in the field `name`, about each page alone.

        Raises what is wrong with the file (`Documents.open`, `Decoder.show`), `BusyError` when the queue is full, and
        what `VisionLanguageModel.generate` raises; one page that fails fails the file.
        """
        if kind(file) == "image":
            shown = await self._decoder.show(file, name)
            async with self.model.admit() as admission:
                reading = await self._page(admission, shown.encoded, prompt)
            return FileReading((reading,), shown.width, shown.height, False, shown.more_frames)

        first: list[PageImage] = []

        async def page(image: PageImage) -> PageReading:
            first.append(image)
            return await self._page(admission, image.encoded, prompt)

        async with (
            self.model.admit() as admission,
            self._documents.open(file, name) as document,
            aclosing(ordered(document.pages(Layout.WHOLE), page, self._pages_at_once)) as readings,
        ):
            pages = tuple([reading async for reading in readings])
        return FileReading(pages, first[0].width, first[0].height, True, False)

    async def write(self, picture: bytes, name: str, prompt: str) -> AsyncGenerator[Passage, None]:
        """Ask `prompt` about the picture in the field `name`; the text piece by piece, at the end a `LastPassage`.

        To close the generator is to cancel the model's work. Raises what `read` raises.
        """
        shown = await self._decoder.show(picture, name)
        answer = PlainText()
        logprobs: list[float] = []
        truncated = False
        async with (
            self.model.admit() as admission,
            aclosing(self.model.generate(admission, prompt, shown.encoded, self._sampling)) as chunks,
        ):
            async for chunk in chunks:
                logprobs += chunk.logprobs
                truncated |= chunk.truncated
                yield Passage(answer.feed(chunk.text))
                if answer.looping:
                    break
        rest = answer.finish()
        yield LastPassage(rest, confidence(logprobs), truncated, answer.repaired)

    async def _page(self, admission: Admission, picture: bytes, prompt: str) -> PageReading:
        answer = PlainText()
        given: list[str] = []
        chunks: list[Chunk] = []
        async with aclosing(self.model.generate(admission, prompt, picture, self._sampling)) as stream:
            async for chunk in stream:
                chunks.append(chunk)
                given.append(answer.feed(chunk.text))
                if answer.looping:
                    break
        given.append(answer.finish())
        text = "".join(given)
        spans = _TokenSpans(chunks)
        return PageReading(
            text=text,
            logprobs=spans.within(0, len(text)) if answer.repaired else spans.all(),
            findings=tuple(
                Finding(part.kind, text[part.start : part.end], confidence(spans.within(part.start, part.end)))
                for part in passages(text)
            ),
            image_patches=max((chunk.image_patches for chunk in chunks), default=0),
            truncated=any(chunk.truncated for chunk in chunks),
            repaired=answer.repaired,
        )


def confidence(logprobs: Sequence[float]) -> float:
    """The geometric mean of the tokens' probabilities; 0 where there are none.

    To four places: beyond the seventh it is of the other texts that the network wrote beside this one.
    """
    return round(math.exp(sum(logprobs) / len(logprobs)), 4) if logprobs else 0.0


class _TokenSpans:
    """Which tokens a part of a text consists of: those whose chunks begin in it, and the one that reaches into it."""

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        self._chunks = chunks
        self._ends: list[int] = []
        end = 0
        for chunk in chunks:
            end += len(chunk.text)
            self._ends.append(end)

    def all(self) -> tuple[float, ...]:
        """The logarithms of the probabilities of all tokens."""
        return tuple(logprob for chunk in self._chunks for logprob in chunk.logprobs)

    def within(self, start: int, end: int) -> tuple[float, ...]:
        """The logarithms of the probabilities of the tokens between two characters of the text."""
        # From the first chunk that ends behind the start to the first that reaches the end.
        first, last = bisect_left(self._ends, start + 1), bisect_left(self._ends, end)
        return tuple(logprob for chunk in self._chunks[first : last + 1] for logprob in chunk.logprobs)
