"""Pictures to try networks on, the same on every call: noise and rendered text. All are uint8 [N, H, W, 3], BGR."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pymupdf

# Characters that every dictionary of the catalogue holds: Chinese, Latin, digits and signs.
TEXT = "登机牌 BOARDING PASS 航班 MU2379 日期 03DEC 序号 035 票价 ¥1,280.50 北京 上海 Total: 42% (incl. tax) 谢谢惠顾"

Pictures = npt.NDArray[np.uint8]


def noise(count: int, height: int, width: int) -> Pictures:
    """Every pixel at random: what no normalisation may get wrong."""
    return np.random.default_rng(seed=0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def text_lines(count: int, height: int, width: int) -> Pictures:
    """One line of dark text on a light ground in each picture, each with another text and colour."""
    return _rendered(count, height, width, size=height * 0.7, lines=1)


def text_pages(count: int, height: int, width: int) -> Pictures:
    """Several lines of text of different sizes in each picture."""
    return _rendered(count, height, width, size=height / 12, lines=8)


def _rendered(count: int, height: int, width: int, size: float, lines: int) -> Pictures:
    with pymupdf.open() as document:
        pictures = []
        for number in range(count):
            page = document.new_page(width=width, height=height)
            page.draw_rect(page.rect, fill=(0.95, 0.9, 1 - number % 4 * 0.1), color=None)
            for line in range(lines):
                start = 7 * (number + line) % len(TEXT)
                page.insert_text(
                    (size / 4, (line + 0.85) * height / lines),
                    TEXT[start:] + TEXT[:start],
                    fontname="china-s",  # Comes with PyMuPDF: nothing has to be installed.
                    fontsize=size * (1 + line % 3 * 0.2),
                    color=(0.1, 0, number % 3 * 0.2),
                )
            pixels = page.get_pixmap()
            rgb = np.frombuffer(pixels.samples, np.uint8).reshape(pixels.height, pixels.width, 3)
            pictures.append(rgb[..., ::-1])
    return np.stack(pictures)
