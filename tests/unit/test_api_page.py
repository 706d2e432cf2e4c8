"""The form of the page's own API: pages as they are read, searchable PDFs, and what is refused."""

import base64
import io
import json
from dataclasses import replace
from typing import Any

import httpx
import pymupdf
import pytest
from PIL import Image

from adapter.errors import TritonUnavailableError
from tests.pages import blank
from tests.pdfs import typeset
from tests.unit.standin import PAGE, QUAD, StandIn, client, page_image

READ = [{"page": 1, "width": 640, "height": 480, "lines": [{"text": "文字", "bbox": QUAD, "confidence": 0.8}]}]


def read(standin: StandIn, file: bytes, **form: Any) -> httpx.Response:
    return client(standin).post("/page/read", files={"file": file}, data=form)


def lines(response: httpx.Response) -> list[dict[str, Any]]:
    assert (response.status_code, response.headers["Content-Type"]) == (200, "application/x-ndjson")
    return [json.loads(line) for line in response.text.splitlines()]


def test_a_picture_is_one_page() -> None:
    start, page = lines(read(StandIn(), blank().data))
    assert start == {"type": "image", "pages": 1}
    assert page == {
        "page": 1,
        "width": 640,
        "height": 480,
        "lines": [{"text": "文字", "confidence": 0.8, "bbox": [list(point) for point in QUAD]}],
        "profile": "PP-OCRv4_mobile",
        "seconds": 0.3,
    }


def test_the_options_reach_the_reading() -> None:
    standin = StandIn()
    lines(read(standin, blank().data, profile="P", use_cls="false", text_score="0.25", unclip_ratio="2"))
    (seen,) = standin.seen
    assert (seen.profile, seen.use_cls, seen.text_score, seen.unclip_ratio) == ("P", False, 0.25, 2.0)


def test_turned_pages_and_the_order_of_reading_are_told_where_they_are_asked_for() -> None:
    standin = StandIn(page=replace(PAGE, angle=90, text="文字"))
    plain = lines(read(standin, blank().data))[1]
    assert not {"page_angle", "text"} & plain.keys()
    asked = lines(read(standin, blank().data, use_doc_orientation_classify="true", reading_order="true"))[1]
    assert (asked["page_angle"], asked["text"]) == (90, "文字")
    assert (standin.seen[1].use_doc_orientation_classify, standin.seen[1].reading_order) == (True, True)


def test_further_frames_are_told_of() -> None:
    assert lines(read(StandIn(page=replace(PAGE, more_frames=True)), blank().data))[1]["more_frames"] is True


def test_the_pages_of_a_pdf_come_with_their_pictures() -> None:
    standin = StandIn(pictures=[page_image(1), page_image(2)])
    start, *pages = lines(read(standin, typeset([], [])))
    assert start == {"type": "pdf", "pages": 2}
    assert [page["page"] for page in pages] == [1, 2]
    for page in pages:
        assert Image.open(io.BytesIO(base64.b64decode(page["picture"]))).format == "JPEG"
    bare = lines(read(standin, typeset([], []), pictures="false"))
    assert not any("picture" in page for page in bare)


@pytest.mark.parametrize(("kind", "comes_along"), [("TIFF", True), ("JPEG2000", True), ("PPM", True), ("WEBP", False)])
def test_what_a_browser_cannot_show_comes_along(kind: str, comes_along: bool) -> None:
    file = io.BytesIO()
    Image.new("RGB", (64, 48), "white").save(file, kind)
    assert ("picture" in lines(read(StandIn(), file.getvalue()))[1]) is comes_along


def test_a_failure_before_the_first_line_has_its_status_and_a_later_one_is_the_last_line() -> None:
    answer = read(StandIn(), b"neither")
    assert answer.status_code == 400
    assert answer.json() == {"error": "file: not a picture of a known format, or a broken one"}
    *_, last = lines(read(StandIn(error=TritonUnavailableError("away")), blank().data))
    assert last == {"error": "away"}


def test_what_was_read_becomes_a_pdf_that_can_be_searched() -> None:
    files = {"file": blank().data, "pages": json.dumps(READ).encode()}
    answer = client(StandIn()).post("/page/searchable_pdf", files=files)
    assert answer.headers["Content-Type"] == "application/pdf"
    assert pymupdf.open(stream=answer.content)[0].get_text().strip() == "文字"


@pytest.mark.parametrize(
    ("pages", "named"),
    [
        ("{", "pages"),
        ('[{"page": 0, "width": 1, "height": 1, "lines": []}]', "pages.0.page"),
        ('[{"page": 1, "width": 0, "height": 1, "lines": []}]', "pages.0.width"),
        ('[{"page": 1, "width": 9, "height": 9, "lines": [{"text": "a", "bbox": [[0, 0]]}]}]', "pages.0.lines.0.bbox"),
        ('[{"page": 2, "width": 1, "height": 1, "lines": []}]', "pages: a picture has one page"),
    ],
)
def test_what_cannot_have_been_read_is_refused(pages: str, named: str) -> None:
    answer = client(StandIn()).post("/page/searchable_pdf", files={"file": blank().data, "pages": pages.encode()})
    assert answer.status_code == 400
    assert named in answer.json()["error"]
