"""PDFs: bytes to pages, each a picture."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from adapter.settings import Settings


def kind(data: bytes) -> Literal["pdf", "image"]:
    """What a file is by its content: a PDF has its mark within the first 1024 bytes (ISO 32000-1, annex H.3.4.1)."""
    return "pdf" if b"%PDF-" in data[:1024] else "image"


class Layout(Enum):
    """What becomes of a page."""

    WHOLE = "whole"
    """One picture: the page, rendered."""
    PICTURES = "pictures"
    """Where the page is nothing but pictures, each of them at its native resolution; else the page, rendered."""


@dataclass(frozen=True)
class PageImage:
    """A page of a document, or one of the pictures that it consists of, upright as a reader sees the page.

    `bbox` is where it lies on the page: x, y, width, height, in points (1/72 inch) from the page's upper left corner.
    A point (u, v) of the picture, in pixels, lies on the page at (x + u * bbox width / width, y + v * bbox height /
    height), whatever the resolution was.
    """

    page: int
    """From 1."""
    index: int
    """From 0, among the pictures of the page."""
    encoded: bytes
    """PNG, or JPEG where the PDF holds one."""
    bbox: tuple[float, float, float, float]
    width: int
    """Pixels."""
    height: int
    dpi: float
    """Pixels per inch of the page: `OCR_PDF_DPI`, less where a page is too large for it, or a picture's own."""


class Document:
    """An open PDF."""

    page_count: int

    def pages(self, layout: Layout) -> AsyncIterator[PageImage]:
        """Its pages in order, each made when it is asked for.

        Raises `TooLargeError` (a page of too many pixels, of too much memory), `UnreadableDocumentError`.
        """
        raise NotImplementedError


class Documents:
    """Opens PDFs, each in a process of its own: MuPDF is C, and a hostile file takes down its own reader only."""

    def __init__(self, settings: Settings) -> None:
        """Must be made inside the running event loop."""

    async def close(self) -> None:
        pass

    @asynccontextmanager
    async def open(self, data: bytes, name: str) -> AsyncIterator[Document]:
        """The PDF in the field `name`, open until the context is left.

        Raises `UnreadableDocumentError`, `EncryptedDocumentError`, `TooLargeError` (more pages than OCR_PDF_MAX_PAGES).
        """
        raise NotImplementedError
        yield
