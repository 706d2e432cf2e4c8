from __future__ import annotations

import io
import json
from pathlib import Path

import cv2
import numpy as np
import pymupdf
import pytest
from PIL import Image

from scripts.benchmark.errors import BenchmarkError
from scripts.benchmark.pictures import Copies, Line, Picture, Truth, cycled, labelled, spread, with_comment
from scripts.benchmark.rendered import grid, pdf, rendered, scaled
from tests import pages


def decoded(data: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


@pytest.mark.parametrize("extension", [".jpg", ".png"])
def test_copies_differ_in_their_bytes_and_not_in_their_pixels(extension: str) -> None:
    data = pages.encode(pages.draw(pages.MIXED), extension)
    copies = [picture.data for picture in Copies().of([Picture("a", data, Truth(()))] * 3)]

    assert len({data, *copies}) == 4
    for copy in copies:
        assert (decoded(copy) == decoded(data)).all()
        Image.open(io.BytesIO(copy)).load()  # refuses a PNG whose checksums do not fit


def test_the_copies_of_two_runs_differ() -> None:
    picture = Picture("a", pages.encode(pages.draw(pages.MIXED)), Truth(()))
    assert Copies().of([picture]) != Copies().of([picture])


def test_a_comment_leaves_the_exif_orientation_where_readers_look_for_it() -> None:
    turned = pages.exif_turned().data
    commented = with_comment(turned, "once")
    assert Image.open(io.BytesIO(commented)).getexif()[0x0112] == 6
    assert (decoded(commented) == decoded(turned)).all()


def test_what_is_neither_jpeg_nor_png_cannot_be_told_apart() -> None:
    with pytest.raises(BenchmarkError, match="JPEG and PNG"):
        with_comment(pages.encode(pages.draw(pages.MIXED), ".bmp"), "once")


def test_a_folder_gives_the_jpeg_and_png_pictures_whose_text_is_known(tmp_path: Path) -> None:
    image = pages.draw(pages.MIXED)
    for name in ("a.png", "b.bmp", "c.png", "d.jpg"):
        (tmp_path / name).write_bytes(pages.encode(image, Path(name).suffix))
    line = {"text": "合计", "poly": [[0, 0], [9, 0], [9, 5], [0, 5]]}
    unreadable = {"text": None, "poly": None, "ignore": True}
    entries = [
        {"file": "a.png", "lines": [line, unreadable], "case_insensitive": True, "ignore": [[[0, 0], [1, 0], [1, 1]]]},
        {"file": "b.bmp", "lines": [line]},
        {"file": "c.png", "lines": None},
        {"file": "d.jpg", "lines": [{"text": None, "poly": line["poly"]}]},
    ]
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))

    (picture,) = labelled(tmp_path)

    assert picture.name == "a.png"
    assert picture.data == (tmp_path / "a.png").read_bytes()
    assert picture.truth == Truth(
        (Line("合计", ((0, 0), (9, 0), (9, 5), (0, 5))), Line("", None, ignore=True)), (((0, 0), (1, 0), (1, 1)),), True
    )


def test_a_folder_without_a_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"manifest\.jsonl"):
        labelled(tmp_path)


def test_a_choice_of_pictures_comes_from_all_parts_of_the_list() -> None:
    pictures = [Picture(str(number), b"", Truth(())) for number in range(10)]
    assert [picture.name for picture in spread(pictures, 5)] == ["1", "3", "5", "7", "9"]
    assert spread(pictures, 10) == pictures
    assert [picture.name for picture in cycled(pictures[:2], 3)] == ["0", "1", "0"]
    with pytest.raises(BenchmarkError, match="11 pictures are wanted"):
        spread(pictures, 11)


def test_rendered_pages_are_the_same_each_time_and_no_two_are_alike() -> None:
    first, second = rendered(10), rendered(10)
    assert first == second
    assert len({picture.data for picture in first}) == len({picture.name for picture in first}) == 10


def test_a_rendered_line_lies_where_its_quad_says() -> None:
    for picture in rendered(2):
        dark = decoded(picture.data).min(axis=2) < 128
        for line in picture.truth.lines:
            assert line.quad
            (left, top), _, (right, bottom), _ = ((round(x), round(y)) for x, y in line.quad)
            assert dark[top:bottom, left:right].any()
            dark[top - 1 : bottom + 1, left - 1 : right + 2] = False
        assert not dark.any()


def test_a_grid_has_as_many_lines_as_it_was_asked_for_or_says_that_they_do_not_fit() -> None:
    for lines in (1, 7, 1000):
        page = grid(lines, 1600, 1500)
        assert len(page.truth.lines) == len({line.text for line in page.truth.lines}) == lines
        assert decoded(page.data).shape == (1500, 1600, 3)
    with pytest.raises(BenchmarkError, match="1000 lines do not fit"):
        grid(1000, 300, 300)


def test_a_page_is_scaled_to_megapixels() -> None:
    height, width, _ = decoded(scaled(rendered(1)[0], 0.5).data).shape
    assert height * width == pytest.approx(500_000, rel=0.01)


def test_a_pdf_has_as_many_pages_as_it_was_asked_for() -> None:
    document = pymupdf.open(stream=pdf(3))
    texts = [document[number].get_text() for number in range(document.page_count)]
    assert len(set(texts)) == 3
    assert all(len(text.splitlines()) == 12 for text in texts)
