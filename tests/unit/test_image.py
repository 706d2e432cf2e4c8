"""Decoding: every format and colour model upright, as 8-bit BGR, and a clear error for the rest."""

import io
import resource
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image
from ppocr.errors import TooLargeError, UnreadableImageError
from ppocr.image import decode

# Four corners of different colours (RGB) tell which way up a picture stands, and in which order its channels are.
CORNERS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255, 255, 255)}


def picture() -> Image.Image:
    image = Image.new("RGB", (60, 40), CORNERS["white"])
    image.paste(CORNERS["red"], (0, 0, 30, 20))
    image.paste(CORNERS["green"], (30, 0, 60, 20))
    image.paste(CORNERS["blue"], (0, 20, 30, 40))
    return image


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def corners_of(pixels: np.ndarray) -> list[tuple[int, ...]]:
    """RGB at the middle of each quarter: top-left, top-right, bottom-left, bottom-right."""
    height, width = pixels.shape[:2]
    return [
        tuple(int(value) for value in pixels[y, x, ::-1])
        for y in (height // 4, 3 * height // 4)
        for x in (width // 4, 3 * width // 4)
    ]


def assert_upright(pixels: np.ndarray, tolerance: int = 30) -> None:
    assert pixels.dtype == np.uint8
    assert pixels.shape == (40, 60, 3)
    assert np.abs(np.array(corners_of(pixels)) - np.array(list(CORNERS.values()))).max() <= tolerance


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("PNG", {}),
        ("JPEG", {"quality": 95, "subsampling": 0}),
        ("JPEG", {"quality": 95, "subsampling": 0, "progressive": True}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WebP", {"lossless": True}),
        ("GIF", {}),
        ("JPEG2000", {}),
        ("PPM", {}),
    ],
)
def test_formats_are_read_as_bgr(format, options):
    assert_upright(decode(encoded(picture(), format, **options)).pixels)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "GIF"])
def test_a_palette_is_resolved(format):
    assert_upright(decode(encoded(picture().quantize(16), format)).pixels)


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk_is_read(format):
    assert_upright(decode(encoded(picture().convert("CMYK"), format)).pixels, tolerance=60)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "JPEG"])
def test_grey_is_read(format):
    pixels = decode(encoded(picture().convert("L"), format)).pixels
    assert pixels.shape == (40, 60, 3)
    assert [corner[0] for corner in corners_of(pixels)] == pytest.approx([76, 150, 29, 255], abs=6)


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_one_bit_is_read_as_black_and_white(format):
    pixels = decode(encoded(picture().convert("L").point(lambda value: value > 100, "1"), format)).pixels
    assert [corner[0] for corner in corners_of(pixels)] == [0, 255, 0, 255]


@pytest.mark.parametrize("format", [".png", ".tiff"])
def test_16_bits_keep_their_brightness(format):
    sixteen = cv2.cvtColor(np.asarray(picture().convert("L")), cv2.COLOR_GRAY2BGR)[..., 0].astype(np.uint16) * 257
    pixels = decode(cv2.imencode(format, sixteen)[1].tobytes()).pixels
    assert [corner[0] for corner in corners_of(pixels)] == pytest.approx([76, 150, 29, 255], abs=1)


@pytest.mark.parametrize("format", ["PNG", "WebP", "TIFF"])
def test_what_is_transparent_becomes_white_whatever_lies_under_it(format):
    image = picture().convert("RGBA")
    image.paste((0, 0, 0, 0), (30, 20, 60, 40))  # black, and invisible, where the picture is white
    assert_upright(decode(encoded(image, format, lossless=True)).pixels)


def test_half_transparent_is_laid_on_white():
    pixels = decode(encoded(Image.new("RGBA", (8, 8), (0, 0, 0, 128)), "PNG")).pixels
    assert pixels[4, 4].tolist() == [127, 127, 127]


def test_grey_with_alpha_is_laid_on_white():
    pixels = decode(encoded(Image.new("LA", (8, 8), (0, 0)), "PNG")).pixels
    assert pixels[4, 4].tolist() == [255, 255, 255]


def test_a_transparent_palette_entry_becomes_white():
    image = Image.new("P", (8, 8), 0)
    image.putpalette([10, 20, 30, 200, 0, 0])
    for format in ("PNG", "GIF"):
        assert decode(encoded(image, format, transparency=0)).pixels[4, 4].tolist() == [255, 255, 255]


# Which turn of the upright picture a camera stores under each orientation.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WebP", "TIFF"])
@pytest.mark.parametrize("orientation", STORED)
def test_the_exif_orientation_is_applied(format, orientation):
    turn = STORED[orientation]
    stored = picture() if turn is None else picture().transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 95, "subsampling": 0}, "WebP": {"lossless": True}}.get(format, {})
    assert_upright(decode(encoded(stored, format, exif=exif, **options)).pixels)


@pytest.mark.parametrize("format", ["GIF", "TIFF"])
def test_of_several_frames_the_first_is_read_and_the_others_are_mentioned(format):
    many = decode(encoded(picture(), format, save_all=True, append_images=[Image.new("RGB", (60, 40))] * 3))
    one = decode(encoded(picture(), format))
    assert_upright(many.pixels)
    assert (many.more_frames, one.more_frames) == (True, False)


def bomb(format: str, size_at: int, size: bytes) -> bytes:
    """A picture whose header promises another size."""
    data = bytearray(encoded(picture(), format))
    data[size_at : size_at + len(size)] = size
    if format == "PNG":
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


@pytest.mark.parametrize(
    "data",
    [
        bomb("PNG", 16, struct.pack(">II", 100_000, 100_000)),
        bomb("BMP", 18, struct.pack("<ii", 60_000, 60_000)),
        bomb("GIF", 6, struct.pack("<HH", 65_000, 65_000)),
    ],
    ids=["png", "bmp", "gif"],
)
def test_a_header_that_promises_too_many_pixels_is_refused_before_decoding(data):
    with pytest.raises(TooLargeError, match=r"\[too_large\].*50000000"):
        decode(data)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "empty"),
        (b"hello", "not a picture"),
        (b"%PDF-1.4\n", "not a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture"),
        (encoded(picture(), "PNG")[:60], "damaged"),
        (encoded(picture(), "JPEG")[:30], "damaged"),
        (encoded(picture(), "GIF")[:20], "damaged"),
        (encoded(picture(), "TIFF")[:20], "damaged"),
        (b"\x89PNG\r\n\x1a\n", "damaged"),
        (b"RIFF\xff\xff\xff\xffWEBP", "damaged"),
    ],
)
def test_what_cannot_be_read_is_named(data, fault):
    with pytest.raises(UnreadableImageError, match=rf"\[unreadable_image\].*{fault}"):
        decode(data)


def jpeg_2000(**header: int) -> bytes:
    """A picture whose header says otherwise: fields of the marker segment SIZ (ISO/IEC 15444-1, A.5.1)."""
    data = encoded(picture(), "JPEG2000")
    start = data.index(b"\xff\x4f\xff\x51") + 4
    names = ("Lsiz", "Rsiz", "Xsiz", "Ysiz", "XOsiz", "YOsiz", "XTsiz", "YTsiz", "XTOsiz", "YTOsiz", "Csiz")
    siz = struct.Struct(">HHIIIIIIIIH")
    fields = dict(zip(names, siz.unpack_from(data, start), strict=True)) | header
    return data[:start] + siz.pack(*fields.values()) + data[start + siz.size :]


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ({"Csiz": 60}, "pictures with 60 components are not read"),
        ({"Csiz": 0}, "pictures with 0 components are not read"),
        ({"Xsiz": 60000, "Ysiz": 40000, "XTsiz": 200, "YTsiz": 200}, "this one has 60000"),
        ({"XTsiz": 0}, "its header cannot be read"),
        ({"XTOsiz": 99}, "its header cannot be read"),
    ],
)
def test_a_jpeg_2000_header_that_would_take_gigabytes_is_refused(header: dict[str, int], said: str):
    with pytest.raises(UnreadableImageError, match=said):
        decode(jpeg_2000(**header))


@pytest.mark.parametrize("boxed", [True, False], ids=["file", "codestream"])
def test_a_jpeg_2000_picture_that_ends_early_is_refused(boxed: bool):
    data = encoded(picture(), "JPEG2000")
    data = data if boxed else data[data.index(b"\xff\x4f\xff\x51") :]
    assert corners_of(decode(data).pixels) == list(CORNERS.values())
    for length in range(12, len(data) - 40, 7):  # OpenCV's decoder does not survive many of them
        with pytest.raises(UnreadableImageError):
            decode(data[:length])


def test_a_png_chunk_longer_than_the_file_is_refused_before_memory_is_taken_for_it():
    data = encoded(picture(), "PNG")
    place = data.index(b"IDAT") - 4
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UnreadableImageError, match="ends early"):
        decode(data[:place] + struct.pack(">I", 0x7FFFFFFF) + data[place + 4 :])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 100_000  # KB
    assert corners_of(decode(data + b"\xff" * 64).pixels) == list(CORNERS.values())  # what follows the end is nothing
