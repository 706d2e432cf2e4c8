"""PDFs with known text."""

from __future__ import annotations

from collections.abc import Sequence

import pymupdf

_A5 = (420.0, 595.0)  # points
_FONT = pymupdf.Font("cjk")


def typeset(*pages: Sequence[str], font_size: float = 20.0) -> bytes:
    """A page for each of the lists of lines, as text."""
    document = pymupdf.open()
    for lines in pages:
        page = document.new_page(width=_A5[0], height=_A5[1])
        writer = pymupdf.TextWriter(page.rect)
        for row, line in enumerate(lines, 1):
            writer.append((40, 40 + 2 * row * font_size), line, font=_FONT, fontsize=font_size)
        if lines:
            writer.write_text(page)
    return bytes(document.tobytes())


def scanned(*pages: Sequence[tuple[bytes, tuple[float, float, float, float]]]) -> bytes:
    """A page for each of the lists of pictures, each with its rectangle: left, top, right, bottom in points."""
    document = pymupdf.open()
    for pictures in pages:
        page = document.new_page(width=_A5[0], height=_A5[1])
        for picture, rectangle in pictures:
            page.insert_image(pymupdf.Rect(rectangle), stream=picture)
    return bytes(document.tobytes())
