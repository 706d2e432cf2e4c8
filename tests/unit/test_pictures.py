"""The size of a picture is known from its header, and nothing is decoded to know it."""

import io
import struct
import time
import zlib

import pytest
from PIL import Image

from adapter.errors import TooLargeError, UnreadableImageError
from adapter.pictures import PictureSize, SizeLimit, picture_size


def encoded(format: str, size: tuple[int, int] = (64, 48)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, "white").save(buffer, format)
    return buffer.getvalue()


def png(width: int, height: int) -> bytes:
    """A PNG that says so of itself, and holds next to nothing."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\0")
    chunks = (
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in (header, data)
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "JPEG2000", "PPM"])
def test_every_format_that_is_read_is_known(format: str) -> None:
    assert picture_size(encoded(format), "image") == PictureSize(64, 48, format)


@pytest.mark.parametrize("side", [20_000, 100_000, 2**31 - 1])
def test_a_picture_of_any_size_is_measured_at_once(side: int) -> None:
    before = time.perf_counter()
    try:
        assert picture_size(png(side, side), "image").width == side
    except TooLargeError as error:
        assert error.message.startswith("image: ")
    assert time.perf_counter() - before < 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text",
        b"%PDF-1.7",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        encoded("PNG")[:20],
        encoded("JPEG")[:30],
        b"\x89PNG\r\n\x1a\n" + b"\xff" * 30,
        b"II*\x00\xff\xff\xff\xff",
    ],
)
def test_what_is_no_picture_is_named(data: bytes) -> None:
    with pytest.raises(UnreadableImageError, match="image: "):
        picture_size(data, "image")


def test_a_side_over_its_limit_is_refused_with_the_settings_name() -> None:
    limit = SizeLimit(4096, 2048)
    limit.check(PictureSize(4096, 2048, "PNG"), "image")
    with pytest.raises(TooLargeError, match=r"image: .* 4097x10 .* 4096 \(OCR_MAX_IMAGE_WIDTH\)"):
        limit.check(PictureSize(4097, 10, "PNG"), "image")
    with pytest.raises(TooLargeError, match=r"image: .* 10x2049 .* 2048 \(OCR_MAX_IMAGE_HEIGHT\)"):
        limit.check(PictureSize(10, 2049, "PNG"), "image")
