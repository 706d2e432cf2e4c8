"""The pages that the tiny models know: rendered, of several sizes and shapes, and of what is on them.

Two pairs differ in nothing but a colour, or the place of a mark: a model that confuses channels or the order of tiles
takes the one for the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pymupdf

Image = npt.NDArray[np.uint8]
Box = tuple[int, int, int, int]
Color = tuple[float, float, float]

BLACK: Color = (0.0, 0.0, 0.0)
RED: Color = (0.8, 0.05, 0.05)
BLUE: Color = (0.05, 0.05, 0.8)

_FONT = pymupdf.Font("cjk")
_LEADING = 1.4  # line height by font size


@dataclass(frozen=True)
class Element:
    """A block of text, or, without text, a filled disc.

    Attributes:
        category: what dots.ocr calls such a block: Title, Text, Picture …
        box: left, top, right, bottom in pixels; the lines of the text share its height.
    """

    category: str
    box: Box
    text: str = ""
    color: Color = BLACK


@dataclass(frozen=True)
class Page:
    """A white page.

    Attributes:
        description: what InternVL is to say of it.
    """

    name: str
    width: int
    height: int
    elements: tuple[Element, ...]
    description: str


NOTHING = "The picture shows no text."
"""What InternVL is to say of a picture that is none of the pages."""


def render(page: Page) -> Image:
    """The page's pixels, RGB [height, width, 3]."""
    document = pymupdf.open()
    sheet = document.new_page(width=page.width, height=page.height)
    for element in page.elements:
        _draw(sheet, element)
    pixels = sheet.get_pixmap(alpha=False)
    return np.frombuffer(pixels.samples, np.uint8).reshape(pixels.height, pixels.width, 3).copy()


def _draw(sheet: pymupdf.Page, element: Element) -> None:
    left, top, right, bottom = element.box
    if not element.text:
        sheet.draw_oval(pymupdf.Rect(element.box), color=element.color, fill=element.color)
        return
    lines = element.text.split("\n")
    height = (bottom - top) / len(lines)
    size = height / _LEADING
    writer = pymupdf.TextWriter(sheet.rect, color=element.color)
    for row, line in enumerate(lines):
        if _FONT.text_length(line, size) > right - left:
            raise ValueError(f"{line!r} is wider than its box {element.box}")
        writer.append((left, top + row * height + 1.1 * size), line, font=_FONT, fontsize=size)
    writer.write_text(sheet)


def _stamp(name: str, color: Color, category: str, description: str) -> Page:
    elements = (
        Element("Picture", (84, 60, 364, 340), "", color),
        Element(category, (60, 370, 400, 420), "INSPECTION 2024", color),
    )
    return Page(name, 448, 448, elements, description)


def _valve(name: str, disc: Box, description: str) -> Page:
    elements = (Element("Title", (300, 30, 640, 90), "Valve V-17"), Element("Picture", disc))
    return Page(name, 900, 450, elements, description)


PAGES = (
    Page(
        "pump",
        640,
        905,
        (
            Element("Title", (60, 60, 580, 120), "Pump P-101"),
            Element("Text", (60, 180, 580, 380), "Flow 24 m³/h\nHead 31.5 m\nSpeed 2950 rpm\nSeal Ø 45 mm"),
            Element("Page-footer", (60, 820, 580, 860), "Sheet 1 of 3"),
        ),
        "# Pump P-101\nFlow 24 m³/h, head 31.5 m, speed 2950 rpm, seal Ø 45 mm.",
    ),
    Page(
        "parts",
        1000,
        700,
        (
            Element("Section-header", (80, 50, 920, 120), "Parts list"),
            Element("Text", (80, 180, 920, 420), "Bolt M8      12\nNut M8      24\nWasher       36"),
            Element("Caption", (80, 600, 920, 650), "Table 4: fasteners", BLUE),
        ),
        "Parts list\n\n"
        "| part | count |\n|---|---|\n| Bolt M8 | 12 |\n| Nut M8 | 24 |\n| Washer | 36 |\n\n"
        "Table 4: fasteners",
    ),
    Page(
        "label",
        420,
        420,
        (
            Element("Title", (40, 60, 380, 150), "图书馆"),
            Element("Text", (40, 230, 400, 300), "早上八点开门"),
        ),
        "图书馆：早上八点开门。",
    ),
    Page(
        "banner",
        1300,
        330,
        (Element("Title", (60, 90, 1240, 230), "DANGER 400 V ⚡ 高压", RED),),
        "A warning in red: DANGER 400 V ⚡ 高压",
    ),
    Page(
        "receipt",
        300,
        900,
        (
            Element("Title", (30, 40, 270, 90), "Café Zoë"),
            Element("Text", (20, 200, 290, 350), "Espresso 2.40\nCroissant 1.90\nTotal 4.30"),
            Element("Text", (30, 780, 270, 820), "Merci, à bientôt"),
        ),
        "Receipt of Café Zoë: espresso 2.40, croissant 1.90; total 4.30 €.",
    ),
    _stamp("stamp_red", RED, "Text", "Rejected: the stamp is red."),
    _stamp("stamp_blue", BLUE, "Caption", "Passed: the stamp is blue."),
    _valve("valve_left", (60, 140, 320, 400), "Open: valve V-17, the mark is on the left."),
    _valve("valve_right", (580, 140, 840, 400), "Closed: valve V-17, the mark is on the right."),
)
