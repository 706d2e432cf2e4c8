"""What the server and the process that reads one PDF say to each other.

Both send frames: the lengths of header and payload, the header (JSON), the payload (a file).

    reader: {"pid": its process id}
    server: the fields of `Limits`; payload: the PDF
    reader: {"page_count": pages}
    server: {"layout": value of a `Layout`}
    reader: the fields of a `PageImage` but `encoded`, which is the payload; one frame for each, in order
    reader: {"end": true}

or, in place of the last three,

    server: {"text": true}; payload: the fields of each `TextLayer` (JSON)
    reader: {"searchable": true}; payload: the PDF with the text over it

Instead of any frame the reader may send {"error": value of a `Fault`, "message": in words}, its last. It renders as
far ahead as the socket takes it, which is less than two pages.
"""

import json
import struct
from dataclasses import dataclass
from enum import Enum
from typing import Any

LENGTHS = struct.Struct(">II")
"""Of a frame's header and payload, in bytes."""


class Fault(Enum):
    """What kept the reader from answering."""

    UNREADABLE = "unreadable"
    ENCRYPTED = "encrypted"
    TOO_LARGE = "too_large"


class Layout(Enum):
    """What becomes of a page."""

    WHOLE = "whole"
    """One picture: the page, rendered."""
    PICTURES = "pictures"
    """Where the page is nothing but pictures, each of them at its native resolution; else the page, rendered."""


@dataclass(frozen=True)
class Limits:
    """How far a PDF is followed; each is the setting `OCR_PDF_…` of its name."""

    dpi: int
    max_pages: int
    max_pixels: int
    page_timeout: float
    memory: int


@dataclass(frozen=True)
class PageImage:
    """A page of a document, or one of the pictures that it consists of, upright as a reader sees the page.

    `bbox` is where it lies on the page: x, y, width, height, in points (1/72 inch) from the page's upper left corner.
    The pixel (u, v) of the picture lies on the page at (x + u / width of the picture * width of the bbox), and so
    with y, whatever the resolution is.
    """

    page: int
    """From 1."""
    index: int
    """From 0, among the pictures of the page."""
    bbox: tuple[float, float, float, float]
    width: int
    """Pixels."""
    height: int
    dpi: float
    """Pixels per inch of the page: `OCR_PDF_DPI`, less where a page is too large for it, or a picture's own."""
    encoded: bytes
    """PNG, or JPEG where the PDF holds one."""


def frame(header: dict[str, Any], payload: bytes = b"") -> tuple[bytes, bytes]:
    """A frame in two pieces, so that a large payload is not copied."""
    encoded = json.dumps(header).encode()
    return LENGTHS.pack(len(encoded), len(payload)) + encoded, payload
