"""Pages with known text, rendered with the CJK font that PyMuPDF carries."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import pymupdf

from scripts.benchmark.errors import BenchmarkError
from scripts.benchmark.pictures import Line, Picture, Truth

_FONT = pymupdf.Font("cjk")
_ASCENT, _DESCENT = 0.86, 0.2  # of the font's letters, in em
_LEADING = 1.6  # em

_CHINESE = (
    "图书馆每天早上八点开门，周末照常开放。请勿在阅览室内大声喧哗，手机请调为静音。借书期限为三十天，逾期每日收取少量费用。"
    "本市今日多云转晴，最高气温二十三度，东南风三到四级。列车将于下午两点一刻到达终点站，请提前做好下车准备。"
    "合同自双方签字之日起生效，有效期为一年。如有争议，应当友好协商解决；协商不成的，可以向有管辖权的法院提起诉讼。"
    "实验室使用前须登记姓名和时间，离开时关闭电源与门窗。药品应按照标签分类存放，过期的必须及时清理。"
)
_ENGLISH = (
    "The library opens at eight every morning, weekends included. Please keep your voice down in the reading room. "
    "Books are lent for thirty days, and a small fee is charged for each day after that. The train to the coast leaves "
    "from platform four at a quarter past two; change at the junction for the northern line. This agreement takes "
    "effect on the day it is signed and remains in force for one year. Measurements were repeated five times, and the "
    "median of each series is given in the table below, together with its range. "
)
_ITEMS = (
    "牛奶 Milk",
    "面包 Bread",
    "苹果 Apples",
    "鸡蛋 Eggs",
    "大米 Rice 5kg",
    "茶叶 Tea",
    "酱油 Soy sauce",
    "橙汁 Juice",
)


@dataclass(frozen=True)
class _Kind:
    """How a page looks; sizes in pixels."""

    name: str
    width: int
    height: int
    font_size: float
    margin: int
    texts: tuple[str, ...]  # take turns from paragraph to paragraph; none: a receipt
    extension: str


# A few of what cameras, scanners and screens send, of different sizes, shapes and densities.
_KINDS = (
    _Kind("letter", 1240, 1754, 30, 120, (_CHINESE,), ".jpg"),
    _Kind("receipt", 620, 1400, 30, 40, (), ".jpg"),
    _Kind("article", 1654, 1169, 24, 90, (_ENGLISH,), ".png"),
    _Kind("notice", 960, 720, 44, 70, (_CHINESE,), ".jpg"),
    _Kind("screen", 1366, 768, 20, 40, (_ENGLISH, _CHINESE), ".png"),
    _Kind("card", 700, 420, 34, 40, (_ENGLISH,), ".jpg"),
    _Kind("form", 1080, 1440, 26, 80, (_CHINESE, _ENGLISH), ".jpg"),
    _Kind("photo", 2200, 1600, 48, 200, (_ENGLISH, _CHINESE), ".jpg"),
)


def rendered(count: int) -> list[Picture]:
    """So many pages; the same ones each time. The kinds of page take turns, each time with other texts."""
    return [_page(_KINDS[number % len(_KINDS)], number) for number in range(count)]


def grid(lines: int, width: int, height: int) -> Picture:
    """A page of one size with so many short lines, each well apart from its neighbours.

    Raises:
        BenchmarkError: there is no room for them.
    """
    columns = max(1, round((lines * width / height / 4) ** 0.5))
    rows = -(-lines // columns)
    font_size = min(40.0, height / rows / 2, width / columns / 4)
    if font_size < 8:
        raise BenchmarkError(f"{lines} lines do not fit on {width} x {height} pixels")
    places = itertools.islice(itertools.product(range(rows), range(columns)), lines)
    written = [
        (width * (column + 0.1) / columns, height * (row + 0.7) / rows, f"A{number:04d}")
        for number, (row, column) in enumerate(places)
    ]
    return _drawn(f"{lines} lines", (width, height), font_size, written, ".png")


def scaled(picture: Picture, megapixels: float) -> Picture:
    """The same page as a JPEG with so many megapixels, of the same shape and the same lines; without its truth, whose
    quads are another size's."""
    image = cv2.imdecode(np.frombuffer(picture.data, np.uint8), cv2.IMREAD_COLOR)
    factor = (megapixels * 1e6 / (image.shape[0] * image.shape[1])) ** 0.5
    done, data = cv2.imencode(".jpg", cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA))
    if not done:
        raise BenchmarkError(f"no JPEG of {megapixels:g} megapixels can be made")
    return Picture(f"{megapixels:g} MP", data.tobytes(), Truth(()))


def pdf(pages: int) -> bytes:
    """A PDF of typeset A5 pages, a dozen lines each, no two of which are the same."""
    document = pymupdf.open()
    for number in range(pages):
        page = document.new_page(width=420, height=595)  # points
        lines = itertools.islice(_wrapped(_text_from(_CHINESE, number * 7), 340, 14), 11)
        # One of the fonts that a PDF need not carry.
        page.insert_text((40, 60), [f"Page {number + 1}", *lines], fontname="china-s", fontsize=14, lineheight=2.6)
    return bytes(document.tobytes())


def pdf_page(document: bytes, dpi: int) -> bytes:
    """The first page of a PDF as a PNG."""
    return bytes(pymupdf.open(stream=document)[0].get_pixmap(dpi=dpi, alpha=False).tobytes("png"))


def _page(kind: _Kind, number: int) -> Picture:
    rows = int((kind.height - 2 * kind.margin) // (kind.font_size * _LEADING))
    written = [
        (x, kind.margin + (row + 1) * kind.font_size * _LEADING, text)
        for row, texts in enumerate(itertools.islice(_rows(kind, number), rows))
        for x, text in texts
    ]
    name = f"{kind.name} {number // len(_KINDS) + 1}"
    return _drawn(name, (kind.width, kind.height), kind.font_size, written, kind.extension)


def _rows(kind: _Kind, number: int) -> Iterator[list[tuple[float, str]]]:
    """The lines of each row, with the place where each begins."""
    chance = random.Random(number)  # noqa: S311 - the same pages each time
    width = kind.width - 2 * kind.margin
    while True:
        if not kind.texts:
            price = f"{chance.randint(1, 99)}.{chance.randint(0, 99):02d}"
            right = kind.margin + width - _length(price, kind.font_size)
            yield [(kind.margin, chance.choice(_ITEMS)), (right, price)]
            continue
        for text in kind.texts:
            lines = _wrapped(_text_from(text, chance.randrange(len(text))), width, kind.font_size)
            for line in itertools.islice(lines, chance.randint(3, 7)):
                yield [(kind.margin, line)]
            yield []


def _text_from(text: str, start: int) -> Iterator[str]:
    """Its words (in Chinese its characters) from the one at a place on, without end."""
    words = [f"{word} " for word in text.split()] if " " in text else list(text)
    return itertools.islice(itertools.cycle(words), start % len(words), None)


def _wrapped(words: Iterator[str], width: float, font_size: float) -> Iterator[str]:
    line = ""
    for word in words:
        if line and _length(line + word, font_size) > width:
            yield line.rstrip()
            line = ""
        line += word


def _length(text: str, font_size: float) -> float:
    return sum(map(_advance, text)) * font_size


@cache
def _advance(character: str) -> float:
    """In em."""
    return float(_FONT.text_length(character, 1.0))


def _drawn(
    name: str, size: tuple[int, int], font_size: float, written: Sequence[tuple[float, float, str]], extension: str
) -> Picture:
    """Dark text on paper, each line given by the left end of its base line."""
    document = pymupdf.open()
    page = document.new_page(width=size[0], height=size[1])
    page.draw_rect(page.rect, color=None, fill=(0.97, 0.96, 0.94))
    writer = pymupdf.TextWriter(page.rect, color=(0.1, 0.1, 0.15))
    lines = []
    for x, y, text in written:
        writer.append((x, y), text, font=_FONT, fontsize=font_size)
        right, top, bottom = x + _length(text, font_size), y - _ASCENT * font_size, y + _DESCENT * font_size
        lines.append(Line(text, ((x, top), (right, top), (right, bottom), (x, bottom))))
    writer.write_text(page)
    pixels = page.get_pixmap(alpha=False)
    rgb = np.frombuffer(pixels.samples, np.uint8).reshape(pixels.height, pixels.width, 3)
    done, data = cv2.imencode(extension, rgb[..., ::-1])
    if not done:
        raise BenchmarkError(f"{name} cannot be encoded as {extension}")
    return Picture(name, data.tobytes(), Truth(tuple(lines)))
