"""The text layer of a searchable PDF: what a reader of the PDF finds, where, and what it sees."""

import io
from collections.abc import Sequence
from typing import Any
from unicodedata import combining

import pymupdf
import pytest
from PIL import Image

from adapter.labels import Label, TextLayer
from adapter.searchable_pdf import searchable_pdf
from tests import pages, pdfs

Box = tuple[float, float, float, float]


def label(text: str, box: Box) -> Label:
    x0, y0, x1, y1 = box
    return Label(text, [(x0, y0), (x1, y0), (x1, y1), (x0, y1)])


def empty_pdf(rotation: int = 0, cropped: bool = False) -> pymupdf.Document:
    """One page, 300 x 500 points before it is turned."""
    document = pymupdf.open()
    page = document.new_page(width=300, height=500)
    if cropped:
        page.set_cropbox((20, 30, 290, 490))
    page.set_rotation(rotation)
    return document


def opened(file: bytes, labels: Sequence[Label], size: tuple[float, float], **layer: Any) -> pymupdf.Page:
    document = pymupdf.open(stream=searchable_pdf(file, [TextLayer(1, *size, labels, **layer)]))
    return document[0]


def shown_words(page: pymupdf.Page) -> list[tuple[str, Box]]:
    """Each word, and where it stands on the page as it is shown."""
    return [
        (word[4], tuple(round(value) for value in pymupdf.Rect(word[:4]) * page.rotation_matrix))
        for word in page.get_text("words")
    ]


def test_a_picture_becomes_a_page_whose_text_is_found_where_it_stands() -> None:
    image = pages.draw(pages.CHINESE)
    height, width, _ = image.shape
    page = opened(pages.encode(image), [label("图书馆 opens", (50, 20, 150, 40))], (width, height))
    scale = 842 / max(width, height)
    assert page.rect.width == pytest.approx(scale * width)
    (found,) = page.search_for("图书馆 opens")
    assert tuple(found) == pytest.approx([scale * value for value in (50, 20, 150, 40)], abs=1)


def test_the_text_is_not_seen() -> None:
    picture = pages.encode(pages.draw(pages.CHINESE))
    with_text, without = opened(picture, [label("overlay", (0, 0, 400, 200))], (421, 200)), opened(picture, [], (1, 1))
    assert with_text.get_pixmap().samples == without.get_pixmap().samples


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("WEBP", "RGBA"),
        ("WEBP", "RGB"),
        ("TIFF", "RGBA"),
        ("TIFF", "I;16"),
        ("GIF", "P"),
        ("BMP", "L"),
        ("PNG", "RGBA"),
    ],
)
def test_pictures_of_every_format_are_shown(kind: str, mode: str) -> None:
    file = io.BytesIO()
    Image.new(mode, (60, 40), 90).save(file, kind)
    page = opened(file.getvalue(), [label("x", (10, 10, 20, 20))], (60, 40))
    assert page.rect.width / page.rect.height == pytest.approx(1.5)
    assert page.get_text().strip() == "x"


def test_a_jpeg_is_kept_as_it_is_and_shown_upright() -> None:
    picture = pages.exif_turned()
    page = opened(picture.data, [], (1, 1))
    assert page.rect.width > page.rect.height
    (image,) = page.get_images(full=True)
    # But for its metadata: as many bytes of compressed data.
    assert len(page.parent.extract_image(image[0])["image"]) == pytest.approx(len(picture.data), rel=0.05)
    assert page.parent.extract_image(image[0])["ext"] == "jpeg"


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("cropped", [False, True])
def test_text_stands_where_it_was_read_on_turned_and_cropped_pages(rotation: int, cropped: bool) -> None:
    document = empty_pdf(rotation, cropped)
    size = (2 * document[0].rect.width, 2 * document[0].rect.height)
    page = opened(document.tobytes(), [label("世界", (40, 60, 120, 100))], size)
    assert shown_words(page) == [("世界", (20, 30, 60, 50))]


def test_a_part_of_a_page_has_its_text_within_that_part() -> None:
    page = opened(
        empty_pdf().tobytes(), [label("世界", (0, 0, 100, 50))], (1000, 1000), bbox=(100.0, 200.0, 200.0, 200.0)
    )
    assert shown_words(page) == [("世界", (100, 200, 120, 210))]


def test_lines_at_an_angle_and_lines_that_run_downwards_have_their_direction() -> None:
    tilted = Label("tilted", [(50, 100), (150, 200), (130, 220), (30, 120)])
    page = opened(empty_pdf().tobytes(), [tilted, label("竖排文字", (200, 50, 220, 150))], (300, 500))
    found = {
        line["spans"][0]["text"]: line["dir"] for block in page.get_text("dict")["blocks"] for line in block["lines"]
    }
    assert found["tilted"] == pytest.approx((0.707, 0.707), abs=0.01)
    assert found["竖排文字"] == pytest.approx((0, 1), abs=0.01)


def test_characters_of_all_scripts_are_found_again() -> None:
    ranges = [(0x21, 0x7F), (0xA1, 0x180), (0x370, 0x3FF), (0x3041, 0x30FF), (0x3400, 0x9FFF), (0x1F300, 0x1F600)]
    codes = [code for start, end in ranges for code in range(start, end)]
    characters = [chr(code) for code in codes if chr(code).isprintable() and not combining(chr(code))]
    rows = ["".join(characters[start : start + 50]) for start in range(0, len(characters), 50)]
    labels = [label(row, (10, 20 * number, 990, 20 * number + 14)) for number, row in enumerate(rows)]
    page = opened(pages.blank().data, labels, (1000, 20 * len(rows)))
    assert page.get_text().splitlines() == rows


def test_text_that_the_page_has_is_not_laid_over_it_again() -> None:
    document = pdfs.typeset(["图书馆 opens"])
    own = pymupdf.open(stream=document)[0].get_text("words")[0][:4]
    page = opened(document, [label("图书馆", own), label("stamp", (200, 400, 300, 420))], (420, 595))
    assert page.get_text().split() == ["图书馆", "opens", "stamp"]


def test_pages_that_were_not_read_and_the_rest_of_the_document_stay() -> None:
    document = pdfs.typeset([], [], [])
    result = searchable_pdf(document, [TextLayer(2, 420, 595, [label("two", (10, 10, 60, 30))])])
    assert [page.get_text().strip() for page in pymupdf.open(stream=result).pages()] == ["", "two", ""]


def test_a_page_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="page 4 is not among the 3"):
        searchable_pdf(pdfs.typeset([], [], []), [TextLayer(4, 1, 1, [])])


def test_a_picture_that_is_turned_by_exif_keeps_its_text_upright() -> None:
    page = opened(pages.exif_turned().data, [label("up", (20, 10, 60, 30))], (423, 212))
    assert shown_words(page)[0][1] == pytest.approx((40, 20, 119, 60), abs=1)


def test_more_than_two_bytes_of_characters_are_refused() -> None:
    text = "".join(chr(code) for code in range(0x10000, 0x20001))
    with pytest.raises(ValueError, match="65535"):
        searchable_pdf(pages.blank().data, [TextLayer(1, 1, 1, [label(text, (0, 0, 1, 1))])])
