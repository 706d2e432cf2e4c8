"""PDFs become pictures, upright and at the right size; a hostile one costs its own reader only."""

import asyncio
import os
import signal
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pymupdf
import pytest

from adapter.documents import Document, Documents, Layout, PageImage, kind
from adapter.errors import (
    EncryptedDocumentError,
    InvalidRequestError,
    ServiceError,
    TooLargeError,
    UnreadableDocumentError,
)
from adapter.labels import Label, TextLayer
from adapter.settings import Settings

AES_256 = 5
# How far two decoders of JPEG may be apart.
JPEG = 4

# Of JPEG: colours as fine as lightness, since decoders differ in how they make them so.
_PARAMETERS = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]

Pixels = npt.NDArray[np.uint8]


def settings(**changes: float) -> Settings:
    return Settings(**{"pdf_page_timeout": 20.0, **changes})  # type: ignore[arg-type]


@asynccontextmanager
async def documents(**changes: float) -> AsyncIterator[Documents]:
    made = Documents(settings(**changes))
    try:
        yield made
    finally:
        await made.close()


def pages(data: bytes, layout: Layout = Layout.WHOLE, **changes: float) -> list[PageImage]:
    async def scenario() -> list[PageImage]:
        async with documents(**changes) as made, made.open(data, "file") as document:
            return [page async for page in document.pages(layout)]

    return asyncio.run(scenario())


def failure(data: bytes, layout: Layout = Layout.WHOLE, **changes: float) -> ServiceError:
    with pytest.raises(ServiceError, match=r"^file: ") as caught:
        pages(data, layout, **changes)
    assert 400 <= caught.value.status < 500
    return caught.value


def decoded(file: bytes, flags: int = cv2.IMREAD_COLOR) -> Pixels:
    return np.asarray(cv2.imdecode(np.frombuffer(file, np.uint8), flags), np.uint8)


def pixels(image: PageImage, flags: int = cv2.IMREAD_COLOR) -> Pixels:
    found = decoded(image.encoded, flags)
    assert found.shape[:2] == (image.height, image.width)
    return found


# A picture whose four corners and middle tell how it lies: 60 x 40 pixels, BGR.
def marked(width: int = 60, height: int = 40) -> Pixels:
    picture = np.full((height, width, 3), 255, np.uint8)
    picture[: height // 2, : width // 2] = (0, 0, 255)
    picture[: height // 2, width // 2 :] = (0, 255, 0)
    picture[height // 2 :, : width // 2] = (255, 0, 0)
    return picture


def encoded(picture: Pixels, extension: str = ".png") -> bytes:
    return bytes(cv2.imencode(extension, picture, _PARAMETERS)[1])


def same(a: Pixels, b: Pixels, tolerance: int = 0) -> bool:
    return a.shape == b.shape and int(np.abs(a.astype(int) - b.astype(int)).max()) <= tolerance


def made(paint: Callable[[pymupdf.Document], None], **options: object) -> bytes:
    document = pymupdf.open()
    paint(document)
    return bytes(document.tobytes(**options))


def paint_nothing(document: pymupdf.Document) -> None:
    document.new_page()


def picture_page(
    file: bytes, rect: tuple[float, float, float, float], page: tuple[float, float] = (300, 200), **options: object
) -> bytes:
    def paint(document: pymupdf.Document) -> None:
        document.new_page(width=page[0], height=page[1]).insert_image(
            rect, stream=file, keep_proportion=False, **options
        )

    return made(paint)


def text_pages(count: int, width: float = 300, height: float = 200) -> bytes:
    def paint(document: pymupdf.Document) -> None:
        for number in range(1, count + 1):
            document.new_page(width=width, height=height).insert_text((20, 50), f"Page {number}", fontsize=30)

    return made(paint)


def placed(matrix: str, file: bytes | None = None, before: str = "", after: str = "", page: str = "") -> bytes:
    """A page of 300 x 200 points that paints a picture by the operators given; `page`: further entries of the page."""
    document = pymupdf.open()
    sheet = document.new_page(width=300, height=200)
    sheet.insert_image((0, 0, 10, 10), stream=file or encoded(marked()))
    name = sheet.get_images()[0][7]
    content = f"q {before} {matrix} cm /{name} Do Q {after}".encode()
    document.update_stream(sheet.get_contents()[-1], content)
    for number in sheet.get_contents()[:-1]:
        document.update_stream(number, b" ")
    for entry in page.split(";") if page else ():
        key, _, value = entry.partition("=")
        document.xref_set_key(sheet.xref, key, value)
    return bytes(document.tobytes())


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"%PDF-1.7\n", "pdf"),
        (b"\xef\xbb\xbf junk \n%PDF-1.4", "pdf"),
        (b" " * 1024 + b"%PDF-1.4", "image"),
        (encoded(marked()), "image"),
        (b"", "image"),
    ],
)
def test_a_pdf_is_known_by_its_content(data: bytes, expected: str) -> None:
    assert kind(data) == expected


def test_every_page_comes_in_order_as_one_picture_at_200_dpi() -> None:
    found = pages(text_pages(5))
    assert [(page.page, page.index) for page in found] == [(number, 0) for number in range(1, 6)]
    for page in found:
        assert (page.width, page.height, page.dpi) == (833, 555, 200)
        assert page.bbox == (0, 0, 300, 200)
        assert pixels(page).min() < 50 < pixels(page).max()
    assert len({page.encoded for page in found}) == 5


def test_the_resolution_is_a_setting() -> None:
    (page,) = pages(text_pages(1), pdf_dpi=144)
    assert (page.width, page.height, page.dpi) == (600, 400, 144)


def test_colours_and_grays_come_as_they_are() -> None:
    def paint(document: pymupdf.Document) -> None:
        for colour in ((0, 0, 1), (0.5, 0.5, 0.5)):
            document.new_page(width=100, height=100).draw_rect((0, 0, 100, 100), color=colour, fill=colour)

    blue, gray = pages(made(paint))
    assert pixels(blue, cv2.IMREAD_UNCHANGED)[50, 50].tolist() == [255, 0, 0]
    assert pixels(gray, cv2.IMREAD_UNCHANGED).shape == (277, 277)
    assert abs(int(pixels(gray)[50, 50, 0]) - 128) <= 1


def test_a_page_too_large_for_its_resolution_is_rendered_at_what_fits() -> None:
    (page,) = pages(text_pages(1, 7200, 3600), pdf_max_pixels=10_000_000)
    assert page.width * page.height <= 10_000_000
    assert page.dpi == pytest.approx(44.7, abs=0.1)
    assert page.width == int(7200 * page.dpi / 72)
    assert page.bbox == (0, 0, 7200, 3600)


def test_a_page_that_would_be_unreadable_then_is_refused() -> None:
    error = failure(text_pages(1, 14400, 14400), pdf_max_pixels=10_000_000)
    assert isinstance(error, TooLargeError)
    assert "OCR_PDF_MAX_PIXELS" in error.message


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("layout", list(Layout))
def test_a_turned_page_comes_as_it_is_seen(rotation: int, layout: Layout) -> None:
    def paint(document: pymupdf.Document) -> None:
        page = document.new_page(width=300, height=200)
        page.insert_image((0, 0, 300, 200), stream=encoded(marked()))
        page.set_rotation(rotation)

    (page,) = pages(made(paint), layout, pdf_dpi=72)
    turned = np.rot90(marked(), -rotation // 90)
    seen = pixels(page)
    height, width = turned.shape[:2]
    if layout is Layout.PICTURES:
        assert same(seen, np.asarray(turned, np.uint8))
    else:
        assert same(cv2.resize(seen, (width, height), interpolation=cv2.INTER_NEAREST), np.asarray(turned, np.uint8))
    assert page.bbox == ((0, 0, 300, 200) if rotation % 180 == 0 else (0, 0, 200, 300))


@pytest.mark.parametrize(
    ("matrix", "turn"),
    [
        ("150 0 0 100 30 40", lambda picture: picture),
        ("-150 0 0 100 180 40", lambda picture: picture[:, ::-1]),
        ("150 0 0 -100 30 140", lambda picture: picture[::-1]),
        ("-150 0 0 -100 180 140", lambda picture: picture[::-1, ::-1]),
        ("0 150 -100 0 130 40", lambda picture: np.rot90(picture, 1)),
        ("0 -150 100 0 30 190", lambda picture: np.rot90(picture, -1)),
    ],
)
@pytest.mark.parametrize("extension", [".png", ".jpg"])
def test_a_turned_or_mirrored_picture_comes_as_it_is_seen(
    matrix: str, turn: Callable[[Pixels], Pixels], extension: str
) -> None:
    file = encoded(marked(), extension)
    (picture,) = pages(placed(matrix, file), Layout.PICTURES)
    assert same(
        pixels(picture), np.ascontiguousarray(turn(decoded(file))), tolerance=JPEG if extension == ".jpg" else 0
    )
    x, y, width, height = picture.bbox
    lying = picture.width < picture.height
    assert (width, height) == ((100, 150) if lying else (150, 100))
    assert (x, y) == (30, 200 - 40 - height)
    assert picture.dpi == pytest.approx(60 / 150 * 72, abs=0.1)


def test_the_pictures_of_a_page_come_each_for_itself_from_top_to_bottom() -> None:
    lower, upper = encoded(marked(60, 40)), encoded(marked(90, 30))

    def paint(document: pymupdf.Document) -> None:
        page = document.new_page(width=300, height=200)
        page.insert_image((10, 110, 130, 190), stream=lower)
        page.insert_image((100, 10, 280, 70), stream=upper)
        document.new_page().insert_text((50, 50), "text")

    first, second, last = pages(made(paint), Layout.PICTURES)
    assert [(page.page, page.index) for page in (first, second, last)] == [(1, 0), (1, 1), (2, 0)]
    assert (first.bbox, first.width, first.height) == ((100, 10, 180, 60), 90, 30)
    assert (second.bbox, second.width, second.height) == ((10, 110, 120, 80), 60, 40)
    assert same(pixels(first), marked(90, 30))
    assert (last.width, last.dpi) == (1652, 200)


def test_a_jpeg_is_handed_on_as_it_is() -> None:
    file = encoded(marked(), ".jpg")
    (picture,) = pages(picture_page(file, (0, 0, 300, 200)), Layout.PICTURES)
    assert picture.encoded == file


def test_a_jpeg_behind_a_clip_around_it_is_handed_on_too() -> None:
    file = encoded(marked(), ".jpg")
    (picture,) = pages(placed("300 0 0 200 0 0", file, before="0 0 300 200 re W n"), Layout.PICTURES)
    assert picture.encoded == file


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    # TIFF 6.0: one directory, one entry: tag 0x112, a SHORT.
    tiff = b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00" + bytes([orientation]) + bytes(6)
    exif = b"Exif\x00\x00" + tiff
    return jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]


def test_a_jpeg_is_not_turned_by_its_own_orientation_which_a_pdf_does_not_know() -> None:
    file = with_orientation(encoded(marked(), ".jpg"), 6)
    assert decoded(file).shape[:2] == (60, 40)
    upright = encoded(marked(), ".jpg")
    data = placed("300 0 0 200 0 0", upright)
    document = pymupdf.open(stream=data)
    number = document[0].get_images()[0][0]
    document.update_stream(number, file, compress=False)
    document.xref_set_key(number, "Filter", "/DCTDecode")
    (picture,) = pages(bytes(document.tobytes()), Layout.PICTURES)
    assert same(pixels(picture), decoded(upright), tolerance=JPEG)


def test_a_clipped_picture_shows_what_is_seen_of_it() -> None:
    file = encoded(marked(), ".jpg")
    (picture,) = pages(placed("300 0 0 200 0 0", file, before="0 0 150 200 re W n"), Layout.PICTURES)
    seen = pixels(picture)
    assert same(seen[:, :28], decoded(file)[:, :28], tolerance=JPEG)
    assert seen[:, 32:].min() == 255


def test_a_picture_that_reaches_over_the_edge_is_cut_there() -> None:
    (picture,) = pages(placed("300 0 0 200 150 0"), Layout.PICTURES)
    assert picture.bbox == (150, 0, 150, 200)
    assert same(pixels(picture), marked()[:, :30])


def test_a_cmyk_jpeg_comes_in_its_colours() -> None:
    cmyk = pymupdf.Pixmap(pymupdf.csCMYK, pymupdf.Pixmap(encoded(marked())))
    data = picture_page(cmyk.tobytes("jpeg", jpg_quality=98), (0, 0, 300, 200))
    (picture,) = pages(data, Layout.PICTURES)
    (page,) = pages(data, Layout.WHOLE, pdf_dpi=72)
    assert (picture.width, picture.height) == (60, 40)
    assert same(pixels(picture)[5::10, 5::10], pixels(page)[27::50, 27::50], tolerance=12)


def test_a_transparent_picture_lies_on_white() -> None:
    picture = np.dstack([marked(), np.full((40, 60), 255, np.uint8)])
    picture[:, :30, 3] = 0
    (found,) = pages(picture_page(encoded(picture), (0, 0, 300, 200)), Layout.PICTURES)
    assert pixels(found)[:, :29].min() == 255
    assert same(pixels(found)[:, 31:], marked()[:, 31:])


def test_a_picture_of_oblong_pixels_is_made_square_ones() -> None:
    """A fax has 204 x 98 pixels per inch; as stored it would look squeezed."""
    (picture,) = pages(picture_page(encoded(marked(204, 98)), (0, 0, 72, 72), (72, 72)), Layout.PICTURES)
    assert (picture.width, picture.height, picture.dpi) == (204, 204, 204)


def test_a_scan_with_an_invisible_text_layer_is_a_picture_alone() -> None:
    hidden = "BT 3 Tr /F 12 Tf 10 10 Td (hidden) Tj ET"
    (picture,) = pages(placed("300 0 0 200 0 0", after=hidden), Layout.PICTURES)
    assert (picture.width, picture.height) == (60, 40)


@pytest.mark.parametrize(
    "data",
    [
        placed("300 0 0 200 0 0", after="0 0 1 rg 100 100 50 20 re f"),
        placed("300 0 0 200 0 0", after="0 0 m 300 200 l S"),
        placed("200 50 -50 150 60 0"),
        placed("10 0 0 10 100 100"),
        placed("300 0 0 200 400 400"),
        placed("200 0 0 150 0 0", after="q 200 0 0 150 50 50 cm BI /W 1 /H 1 /IM true ID \x00 EI Q"),
        text_pages(1),
    ],
    ids=["a box on it", "a line on it", "at an angle", "tiny", "off the page", "a mask on it", "text"],
)
def test_a_page_that_is_more_than_pictures_is_rendered(data: bytes) -> None:
    (page,) = pages(data, Layout.PICTURES)
    assert (page.width, page.height, page.bbox) == (833, 555, (0, 0, 300, 200))


def test_strips_of_one_picture_are_rendered_together() -> None:
    def paint(document: pymupdf.Document) -> None:
        page = document.new_page(width=300, height=200)
        for strip in range(4):
            page.insert_image((0, strip * 50, 300, strip * 50 + 50), stream=encoded(marked()), keep_proportion=False)

    (page,) = pages(made(paint), Layout.PICTURES)
    assert (page.width, page.height) == (833, 555)


def test_a_picture_over_the_limit_of_pixels_is_rendered_at_the_pages_resolution() -> None:
    (page,) = pages(picture_page(encoded(marked(3000, 2000)), (0, 0, 300, 200)), Layout.PICTURES, pdf_max_pixels=10**6)
    assert (page.width, page.height) == (833, 555)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", UnreadableDocumentError),
        (b"%PDF-1.7", UnreadableDocumentError),
        (b"%PDF-1.7\n" + bytes(range(256)) * 20, UnreadableDocumentError),
        (b"PK\x03\x04" + bytes(100), UnreadableDocumentError),
        (encoded(marked()), UnreadableDocumentError),
        (b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", UnreadableDocumentError),
        (
            made(
                paint_nothing,
                encryption=AES_256,
                user_pw="secret",
                owner_pw="s",
            ),
            EncryptedDocumentError,
        ),
    ],
    ids=["empty", "head", "garbage", "zip", "picture", "svg", "encrypted"],
)
def test_what_cannot_be_opened_is_a_fault_of_the_request(data: bytes, kind: type[ServiceError]) -> None:
    assert isinstance(failure(data), kind)


def test_a_password_of_the_owner_alone_keeps_nobody_from_reading() -> None:
    def paint(document: pymupdf.Document) -> None:
        document.new_page(width=300, height=200).insert_text((20, 50), "Page")

    data = made(paint, encryption=AES_256, owner_pw="secret")
    assert len(pages(data)) == 1


def test_a_page_tree_that_loops_is_broken() -> None:
    data = (
        b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"
        b"2 0 obj<</Type/Pages/Count 1/Kids[2 0 R]>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF"
    )
    assert isinstance(failure(data), UnreadableDocumentError)


def test_more_pages_than_allowed_are_refused_before_the_first() -> None:
    error = failure(text_pages(4), pdf_max_pages=3)
    assert isinstance(error, TooLargeError)
    assert "4 pages" in error.message
    assert "3 (OCR_PDF_MAX_PAGES)" in error.message


def bomb() -> bytes:
    """A page whose content takes a processor for hours: patterns within patterns would do it, many strokes suffice."""
    document = pymupdf.open()
    page = document.new_page()
    page.draw_rect((0, 0, 10, 10))
    stroke = b"[.01 .01] 0 d 0 0 m 600 800 l 0 800 l 600 0 l S\n"
    document.update_stream(page.get_contents()[-1], stroke * 20_000)
    return bytes(document.tobytes(deflate=True))


def test_a_page_that_never_ends_is_ended() -> None:
    before = time.monotonic()
    error = failure(bomb(), pdf_page_timeout=0.5)
    assert isinstance(error, TooLargeError)
    assert "OCR_PDF_PAGE_TIMEOUT" in error.message
    assert time.monotonic() - before < 10


def zeros(count: int) -> bytes:
    """A zlib stream of so many millions of zero bytes, made without going through them all."""
    squeeze = zlib.compressobj(9)
    head = squeeze.compress(bytes(10**6)) + squeeze.flush(zlib.Z_FULL_FLUSH)
    # After a full flush a block does not depend on those before it.
    block = squeeze.compress(bytes(10**6)) + squeeze.flush(zlib.Z_FULL_FLUSH)
    # The end of an empty block, and the Adler-32 of nothing but zeros.
    tail = b"\x03\x00" + ((count * 10**6 % 65521 << 16) + 1).to_bytes(4, "big")
    return head + block * (count - 1) + tail


def black(side: int) -> bytes:
    """A page with a black picture of so many thousand pixels a side, of some kilobytes."""
    document = pymupdf.open()
    page = document.new_page(width=200, height=200)
    page.insert_image((0, 0, 200, 200), stream=encoded(marked()), keep_proportion=False)
    number = page.get_images()[0][0]
    document.update_stream(number, zlib.compress(zeros(side * side * 3)), compress=False)
    for key, value in {"Width": side * 1000, "Height": side * 1000, "Filter": "[/FlateDecode/FlateDecode]"}.items():
        document.xref_set_key(number, key, str(value))
    return bytes(document.tobytes())


def peak_memory(pid: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def reader_of(document: Document) -> int:
    """Process id of the reader behind an open document."""
    info = Path(f"/proc/self/fdinfo/{document._reader._process}").read_text()
    return int(next(line for line in info.splitlines() if line.startswith("Pid:")).split()[1])


def test_the_memory_of_a_reader_is_bounded() -> None:
    limit = 256 << 20

    async def scenario() -> None:
        async with documents(pdf_memory=limit, pdf_max_pixels=10**8) as made, made.open(black(8), "file") as document:
            reader = reader_of(document)
            with pytest.raises(TooLargeError, match="OCR_PDF_MEMORY"):
                async for _ in document.pages(Layout.PICTURES):
                    pass
            assert peak_memory(reader) < limit + (100 << 20)

    asyncio.run(scenario())


def test_a_picture_that_is_much_larger_than_it_is_seen_does_not_take_its_size() -> None:
    (page,) = pages(black(10), Layout.PICTURES, pdf_memory=256 << 20)
    assert (page.width, page.height) == (555, 555)
    assert pixels(page).max() == 0


def test_a_reader_that_is_killed_is_a_fault_of_its_document_only() -> None:
    async def scenario() -> None:
        async with documents() as made:
            async with made.open(text_pages(3), "file") as document:
                os.kill(reader_of(document), signal.SIGSEGV)
                with pytest.raises(UnreadableDocumentError, match="file: "):
                    async for _ in document.pages(Layout.WHOLE):
                        pass
            async with made.open(text_pages(3), "file") as document:
                assert len([page async for page in document.pages(Layout.WHOLE)]) == 3

    asyncio.run(scenario())


def test_the_process_that_makes_readers_is_started_again_when_it_dies() -> None:
    async def scenario() -> None:
        async with documents() as made:
            made._worker._process.kill()
            made._worker._process.wait()
            async with made.open(text_pages(1), "file") as document:
                assert document.page_count == 1

    asyncio.run(scenario())


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


async def eventually(condition: Callable[[], bool]) -> bool:
    for _ in range(200):
        if condition():
            return True
        await asyncio.sleep(0.02)
    return False


def test_who_leaves_takes_the_reader_along_even_from_within_a_page() -> None:
    async def scenario() -> None:
        async with documents() as made:
            opened: list[int] = []

            async def read() -> None:
                async with made.open(bomb(), "file") as document:
                    opened.append(reader_of(document))
                    async for _ in document.pages(Layout.WHOLE):
                        pass

            task = asyncio.create_task(read())
            assert await eventually(lambda: bool(opened))
            await asyncio.sleep(0.1)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            assert await eventually(lambda: gone(opened[0]))

    asyncio.run(scenario())


def test_nothing_is_left_when_the_server_goes() -> None:
    async def scenario() -> list[int]:
        async with documents() as made, made.open(text_pages(1), "file") as document:
            return [made._worker._process.pid, reader_of(document)]

    pids = asyncio.run(scenario())
    # The kernel takes a moment to end what is killed.
    assert asyncio.run(eventually(lambda: all(map(gone, pids))))


def test_pages_are_painted_as_they_are_taken() -> None:
    """However long the document, its reader is never more than the socket's buffers ahead."""

    async def scenario() -> None:
        async with documents(pdf_dpi=300) as made, made.open(noise(60), "file") as document:
            reader = reader_of(document)
            found = document.pages(Layout.WHOLE)
            await anext(found)
            await asyncio.sleep(0.5)
            used = processor_seconds(reader)
            await asyncio.sleep(0.5)
            assert processor_seconds(reader) == used
            assert len([page async for page in found]) == 59

    asyncio.run(scenario())


def noise(count: int) -> bytes:
    """Pages that do not compress."""
    rough = encoded(np.random.default_rng(0).integers(0, 255, (700, 500, 3), np.uint8).astype(np.uint8))

    def paint(document: pymupdf.Document) -> None:
        for _ in range(count):
            page = document.new_page(width=120, height=168)
            page.insert_image((0, 0, 120, 168), stream=rough)
            page.insert_text((10, 10), "text")

    return made(paint)


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_no_more_documents_are_open_than_allowed_and_the_next_one_waits() -> None:
    async def scenario() -> None:
        async with documents(pdf_max_open=1) as made:
            async with made.open(text_pages(1), "file"):
                second = asyncio.create_task(opened(made))
                await asyncio.sleep(0.1)
                assert not second.done()
            assert await asyncio.wait_for(second, 5) == 1

    async def opened(made: Documents) -> int:
        async with made.open(text_pages(1), "file") as document:
            return document.page_count

    asyncio.run(scenario())


def test_many_documents_at_a_time_get_each_their_own_pages() -> None:
    async def scenario() -> None:
        async with documents() as made:

            async def read(count: int) -> int:
                async with made.open(text_pages(count), "file") as document:
                    return len([page async for page in document.pages(Layout.WHOLE)])

            assert await asyncio.gather(*map(read, range(1, 13))) == list(range(1, 13))

    asyncio.run(scenario())


@pytest.fixture(autouse=True)
def _no_reader_is_left() -> Iterator[None]:
    yield
    left = [process for process in Path("/proc").glob("[0-9]*") if _is_ours(process) and not gone(int(process.name))]
    assert not left


def _is_ours(process: Path) -> bool:
    with suppress(OSError):
        command = (process / "cmdline").read_bytes()
        parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
        return b"adapter.pdf_worker" in command and parent == os.getpid()
    return False


def test_a_document_comes_back_with_text_over_its_pages() -> None:
    quad = [(20, 150), (120, 150), (120, 170), (20, 170)]
    layers = [TextLayer(number, 300, 200, [Label(f"页 {number}", quad)]) for number in (1, 3)]
    searchable = pymupdf.open(stream=with_text(text_pages(3), layers))
    assert [f"页 {number}" in page.get_text() for number, page in enumerate(searchable.pages(), 1)] == [
        True,
        False,
        True,
    ]


def test_text_for_a_page_that_is_not_there_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="page 4 is not among the 3 of the document"):
        with_text(text_pages(3), [TextLayer(4, 300, 200, [])])


def with_text(data: bytes, layers: list[TextLayer]) -> bytes:
    async def scenario() -> bytes:
        async with documents() as made, made.open(data, "file") as document:
            return await document.searchable(layers)

    return asyncio.run(scenario())
