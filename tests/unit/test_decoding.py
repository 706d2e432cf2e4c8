"""Every kind of picture comes to the model upright, in RGB, on white; and what cannot is refused by name."""

import asyncio
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from adapter.decoding import Decoder, Resize, Shown
from adapter.errors import InvalidRequestError, TooLargeError, UnreadableImageError

RED, BLUE = (255, 0, 0), (0, 0, 255)


def picture(mode: str = "RGB", size: tuple[int, int] = (60, 40)) -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", size, BLUE)
    image.paste(RED, (0, 0, size[0] // 2, size[1]))
    return image.convert(mode)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def show(data: bytes, resize: Resize | None = None, max_pixels: int = 100_000) -> Shown:
    decoder = Decoder(max_pixels)

    async def scenario() -> Shown:
        return await (decoder.show(data, "image", resize) if resize else decoder.show(data, "image"))

    try:
        return asyncio.run(scenario())
    finally:
        decoder.close()


def pixels(shown: Shown) -> np.ndarray:
    image = Image.open(io.BytesIO(shown.encoded))
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


def near(pixel: np.ndarray, colour: tuple[int, int, int], tolerance: int = 12) -> bool:
    return bool(np.abs(pixel - np.array(colour)).max() <= tolerance)


@pytest.mark.parametrize("data", [encoded(picture()), encoded(picture(), "JPEG"), encoded(picture("L"))])
def test_what_needs_nothing_done_keeps_its_bytes(data: bytes) -> None:
    assert show(data) == Shown(data, 60, 40)


@pytest.mark.parametrize(
    "data",
    [
        encoded(picture("RGBA")),
        encoded(picture("P")),
        encoded(picture(), "BMP"),
        encoded(picture(), "TIFF"),
        encoded(picture(), "GIF"),
        encoded(picture(), "WEBP", lossless=True),
        encoded(picture("CMYK"), "JPEG", quality=95),
        encoded(picture("CMYK"), "TIFF"),
        encoded(picture(), "PNG", save_all=True, append_images=[picture("RGB", (60, 40)).rotate(180)]),
    ],
)
def test_every_kind_of_file_becomes_a_plain_picture(data: bytes) -> None:
    shown = pixels(show(data))
    assert near(shown[20, 5], RED)
    assert near(shown[20, 55], BLUE)


def test_transparency_is_laid_on_white() -> None:
    image = picture("RGBA")
    image.putalpha(Image.new("L", image.size, 0))
    assert near(pixels(show(encoded(image)))[20, 5], (255, 255, 255), 0)


def test_sixteen_bits_become_eight() -> None:
    grey = Image.fromarray(np.full((40, 60), 0x8000, np.uint16))
    assert near(pixels(show(encoded(grey)))[0, 0], (128, 128, 128), 0)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_picture_is_turned_upright_and_so_is_its_size(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    shown = show(encoded(picture(), "PNG", exif=exif))
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(encoded(picture(), "PNG", exif=exif)))))
    assert (pixels(shown) == upright).all()
    assert (shown.height, shown.width) == upright.shape[:2]


def test_broken_metadata_do_not_spoil_a_picture() -> None:
    assert show(encoded(picture(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\1\2")).width == 60


def test_of_several_pictures_the_first_is_shown_and_that_is_said() -> None:
    shown = show(encoded(picture(), "TIFF", save_all=True, append_images=[picture().rotate(180)]))
    assert shown.more_frames
    assert near(pixels(shown)[20, 5], RED)
    assert not show(encoded(picture(), "TIFF")).more_frames


def test_a_picture_is_shown_at_the_wanted_size_and_known_at_its_own() -> None:
    shown = show(encoded(picture()), lambda width, height: (width * 2, height // 2))
    assert (shown.width, shown.height) == (60, 40)
    assert pixels(shown).shape == (20, 120, 3)


def test_a_size_that_is_refused_is_the_callers_fault() -> None:
    def refuse(width: int, height: int) -> tuple[int, int]:
        raise InvalidRequestError(f"{width}x{height}")

    with pytest.raises(InvalidRequestError, match="60x40"):
        show(encoded(picture()), refuse)


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(TooLargeError, match=r"image: .* 60x40 .* 2399 pixels \(OCR_VLM_MAX_PIXELS\)"):
        show(encoded(picture()), max_pixels=2399)
    assert show(encoded(picture()), max_pixels=2400)


@pytest.mark.parametrize(
    "data", [b"", b"GIF89a", encoded(picture())[:-30], b"%PDF-1.7", encoded(picture(), "JPEG")[:700]]
)
def test_what_cannot_be_decoded_is_said_to_be_unreadable(data: bytes) -> None:
    with pytest.raises(UnreadableImageError, match="image: "):
        show(data)
