"""Files to send: rendered here, or those of a folder; whole ones and broken ones."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pymupdf
from PIL import Image

_WORDS = (
    "The library opens at eight",
    "Books are lent for 30 days",
    "图书馆每天早上八点开门",
    "合计 Total 128.50 元",
    "Order No. 2024-0518",
    "谢谢惠顾 Thank you",
)
_FONT = pymupdf.Font("cjk")
_A4 = (595.0, 842.0)  # points


@dataclass(frozen=True)
class Material:
    """A file as a client sends it."""

    name: str
    data: bytes

    @property
    def is_pdf(self) -> bool:
        """Whether it is sent to where documents are read."""
        return self.name.endswith(".pdf")


def small() -> list[Material]:
    """Whole files that are read in a moment: so that what is in flight when something happens is many requests."""
    line = _encoded(_page(1, 24))
    return [
        Material("line.png", line),
        Material("receipt.jpg", _encoded(_page(4, 20), ".jpg")),
        Material("note.png", _encoded(_page(3, 16))),
        # More than what frameworks like to put into files of their own.
        Material("large.bmp", _encoded(_page(12, 40), ".bmp")),
        Material("page.pdf", _pdf(["Page one", "第一页"])),
    ]


def varied() -> list[Material]:
    """Whole files of every format, from one word to what a camera takes, and of many shapes."""
    page = _page(30, 14, size=_A4)
    sizes = [
        Material(f"page{dpi}.png", _encoded(cv2.resize(page, None, fx=dpi / 72, fy=dpi / 72))) for dpi in (72, 110, 200)
    ]
    shapes = [
        Material(f"strip{height}.png", _encoded(_page(2, height / 3, size=(1100 + 7 * height, height * 1.5))))
        for height in range(40, 340, 30)
    ]
    camera = cv2.copyMakeBorder(
        cv2.resize(page, None, fx=3.5, fy=3.5), 400, 400, 300, 300, cv2.BORDER_CONSTANT, value=(90, 110, 100)
    )
    formats = [
        Material(f"note{extension}", _encoded(_page(5, 18), extension))
        for extension in (".png", ".jpg", ".bmp", ".tiff", ".webp", ".jp2", ".ppm")
    ]
    return [
        *small(),
        *sizes,
        *shapes,
        *formats,
        Material("note.gif", _gif(_page(5, 18))),
        Material("word.png", _encoded(_page(1, 12)[:24, :90])),
        Material("blank.png", _encoded(np.full((600, 400, 3), 255, np.uint8))),
        Material("camera.jpg", _encoded(camera, ".jpg")),
        Material("upside_down.png", _encoded(cv2.rotate(_page(5, 20), cv2.ROTATE_180))),
        Material("three_pages.pdf", _pdf(["One"], ["Two", "二"], ["Three"])),
        Material("scan.pdf", _scan(_encoded(cv2.resize(page, None, fx=1.5, fy=1.5), ".jpg"))),
    ]


def broken() -> list[Material]:
    """Files that have to be refused."""
    png, jpeg, pdf = _encoded(_page(3, 20)), _encoded(_page(3, 20), ".jpg"), _pdf(["A page"])
    return [
        Material("empty.png", b""),
        Material("half.png", png[: len(png) // 2]),
        Material("half.jpg", jpeg[: len(jpeg) // 2]),
        Material("head.jpg", jpeg[:30]),
        Material("half.pdf", pdf[: len(pdf) // 2]),
        Material("words.png", b"This is not a picture. " * 40),
        Material("noise.jpg", np.random.default_rng(7).bytes(5000)),
        # IHDR says 100000x100000.
        Material("immense.png", png[:16] + 2 * (100_000).to_bytes(4, "big") + png[24:]),
        Material("locked.pdf", _pdf(["A secret"], password="sesame")),  # noqa: S106 - to be locked out by
    ]


def of_folder(folder: Path) -> list[Material]:
    """Every file below the folder."""
    return [
        Material(str(path.relative_to(folder)), path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]


def _page(lines: int, font_size: float, size: tuple[float, float] | None = None) -> npt.NDArray[np.uint8]:
    """Black text on white, BGR [height, width, 3]; just large enough where no size is given (points, one a pixel)."""
    words = [_WORDS[row % len(_WORDS)] for row in range(lines)]
    leading = 1.8 * font_size
    width = max(_FONT.text_length(line, font_size) for line in words) + 2 * font_size
    document = pymupdf.open()
    page = document.new_page(width=size[0] if size else width, height=size[1] if size else (lines + 1) * leading)
    writer = pymupdf.TextWriter(page.rect)
    for row, line in enumerate(words):
        writer.append((font_size, 1.5 * font_size + row * leading), line, font=_FONT, fontsize=font_size)
    writer.write_text(page)
    pixels = page.get_pixmap(alpha=False)
    rgb = np.frombuffer(pixels.samples, np.uint8).reshape(pixels.height, pixels.width, 3)
    return np.ascontiguousarray(rgb[..., ::-1])


def _encoded(image: npt.NDArray[np.uint8], extension: str = ".png") -> bytes:
    done, data = cv2.imencode(extension, image)
    if not done:
        raise ValueError(f"OpenCV writes no {extension}")
    return bytes(data.tobytes())


def _gif(image: npt.NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "GIF")
    return file.getvalue()


def _pdf(*pages: Sequence[str], password: str | None = None) -> bytes:
    document = pymupdf.open()
    for lines in pages:
        page = document.new_page(width=420, height=300)
        writer = pymupdf.TextWriter(page.rect)
        for row, line in enumerate(lines):
            writer.append((40, 60 + 40 * row), line, font=_FONT, fontsize=22)
        writer.write_text(page)
    if password is None:
        return bytes(document.tobytes())
    return bytes(document.tobytes(encryption=pymupdf.mupdf.PDF_ENCRYPT_AES_256, user_pw=password, owner_pw=password))


def _scan(picture: bytes) -> bytes:
    document = pymupdf.open()
    page = document.new_page(width=_A4[0], height=_A4[1])
    page.insert_image(page.rect, stream=picture)
    return bytes(document.tobytes())
