"""Pictures with known text, rendered with the CJK font that PyMuPDF carries."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import pymupdf

Image = npt.NDArray[np.uint8]

CHINESE = ("图书馆每天早上八点开门", "请勿在阅览室内大声喧哗", "借书期限为三十天")
ENGLISH = ("The library opens at eight", "Please keep your voice down", "Books are lent for 30 days")
MIXED = ("合计 Total 128.50 元", "订单号 Order No. 2024-0518", "谢谢惠顾 Thank you")

_FONT = pymupdf.Font("cjk")


@dataclass(frozen=True)
class Page:
    """An encoded picture and the lines that stand on it, from the top when it is held upright."""

    data: bytes
    lines: tuple[str, ...]


def draw(lines: Sequence[str], font_size: float = 28.0, margin: float = 30.0) -> Image:
    """Black text on white, BGR [height, width, 3], just large enough for the lines."""
    leading = 1.8 * font_size
    width = max((_FONT.text_length(line, font_size) for line in lines), default=200.0) + 2 * margin
    document = pymupdf.open()
    page = document.new_page(width=width, height=max(len(lines), 1) * leading + 2 * margin)
    writer = pymupdf.TextWriter(page.rect)
    for row, line in enumerate(lines):
        writer.append((margin, margin + font_size + row * leading), line, font=_FONT, fontsize=font_size)
    if lines:
        writer.write_text(page)
    pixels = page.get_pixmap(alpha=False)
    rgb = np.frombuffer(pixels.samples, np.uint8).reshape(pixels.height, pixels.width, 3)
    return np.ascontiguousarray(rgb[..., ::-1])


def encode(image: Image, extension: str = ".png") -> bytes:
    """The picture as a file of the format that the extension names."""
    done, data = cv2.imencode(extension, image)
    assert done
    return data.tobytes()


def page(lines: Sequence[str] = MIXED, font_size: float = 28.0) -> Page:
    """An upright PNG."""
    return Page(encode(draw(lines, font_size)), tuple(lines))


def upside_down(lines: Sequence[str] = CHINESE) -> Page:
    """A PNG turned by 180°."""
    turned = cv2.rotate(draw(lines), cv2.ROTATE_180)
    return Page(encode(turned.astype(np.uint8)), tuple(lines))


def long_line(times_its_height: float, text: str = "图书馆每天早上八点开门请勿大声喧哗") -> Page:
    """A PNG with one line that is at least so many times as long as its characters are high."""
    font_size = 28.0
    repeated = text * -int(-times_its_height * font_size // _FONT.text_length(text, font_size))
    return Page(encode(draw([repeated], font_size)), (repeated,))


def exif_turned(lines: Sequence[str] = ENGLISH) -> Page:
    """A JPEG whose pixels lie on their side, with the EXIF orientation (6) that sets them upright."""
    pixels = cv2.rotate(draw(lines), cv2.ROTATE_90_COUNTERCLOCKWISE).astype(np.uint8)
    jpeg = encode(pixels, ".jpg")
    # EXIF 2.3: a TIFF header and one directory with one entry, tag 0x0112, type 3 (short), count 1.
    tiff = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    segment = b"Exif\0\0" + tiff
    return Page(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:], tuple(lines))


def blank() -> Page:
    """A white PNG with no text."""
    return Page(encode(draw(())), ())
