"""Encoded picture → upright 8-bit BGR pixels.

OpenCV decodes what it knows and does not crash on; Pillow the rest (GIF, TIFF, JPEG 2000), loaded only when such a file
comes. The bound on pixels is checked by both before a row is decoded.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from . import MAX_PIXELS, MAX_SIDE, jpeg2000
from .errors import TooLargeError, UnreadableImageError

READABLE = "JPEG, PNG, BMP, TIFF, WebP, GIF, JPEG 2000 or PNM"

_OPENCV = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|BM|RIFF.{4}WEBP|P[1-6]\s", re.DOTALL)
_PILLOW = re.compile(rb"GIF8[79]a|II\*\x00|MM\x00\*|II\+\x00|MM\x00\+")
# Pillow's, too: of damaged files, one in seven brings OpenCV's decoder (4.11) down, and the process with it.
_JPEG_2000 = re.compile(rb"\x00\x00\x00\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51")
_TOO_LARGE = f"the picture has more than {MAX_PIXELS} pixels, or a side of more than {MAX_SIDE}"


@dataclass(frozen=True)
class Picture:
    """`pixels` UINT8 [H, W, 3], BGR, upright; `more_frames` where the file holds more than the one that was read."""

    pixels: npt.NDArray[np.uint8]
    more_frames: bool = False


def decode(data: bytes) -> Picture:
    """The first frame of an encoded picture, its EXIF orientation applied, transparency laid on white.

    Raises UnreadableImageError (not a picture, damaged, of an unknown format) and TooLargeError (over MAX_PIXELS or
    MAX_SIDE).
    """
    if not data:
        raise UnreadableImageError("the picture is empty (0 bytes)")
    if _OPENCV.match(data):
        return Picture(_decode_opencv(data))
    if _PILLOW.match(data):
        return _decode_pillow(data)
    if _JPEG_2000.match(data):
        jpeg2000.check_header(data)
        return _decode_pillow(data)
    raise UnreadableImageError(f"not a picture that is read here ({READABLE}); it begins with {data[:8]!r}")


def _decode_opencv(data: bytes) -> npt.NDArray[np.uint8]:
    jpeg = data.startswith(b"\xff\xd8")
    if data.startswith(b"\x89PNG"):
        _check_png(data)
    # UNCHANGED keeps the alpha channel but forgets the EXIF orientation; a JPEG has no alpha.
    flags = cv2.IMREAD_COLOR if jpeg else cv2.IMREAD_UNCHANGED
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        if "CV_IO_MAX_IMAGE" in str(error):
            raise TooLargeError(_TOO_LARGE) from None
        raise UnreadableImageError("the picture is damaged: its header cannot be read") from None
    if pixels is None:
        raise UnreadableImageError("the picture is damaged: its pixels cannot be decoded")
    pixels = _to_bgr(_to_8_bit(pixels))
    return pixels if jpeg else _upright(pixels, _exif_orientation(data))


def _check_png(data: bytes) -> None:
    """Refuse a chunk that is longer than the file: OpenCV (4.11) takes its length in memory, up to 4 GB, then reads."""
    if any(chunk.length > len(data) for chunk in _chunks(data)):
        raise UnreadableImageError("the picture is damaged: it ends early")


def _decode_pillow(data: bytes) -> Picture:
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError  # noqa: PLC0415 - few pictures need it, and it is slow to load
    except ImportError:
        raise UnreadableImageError("GIF, TIFF and JPEG 2000 need the package 'pillow' in the server's Python") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the bound on pixels is ours
            image = Image.open(io.BytesIO(data))
            if image.width * image.height > MAX_PIXELS or max(image.size) > MAX_SIDE:
                raise TooLargeError(_TOO_LARGE)
            more_frames = bool(getattr(image, "is_animated", False))
            image.seek(0)
            upright = ImageOps.exif_transpose(image)
            if upright.mode in ("I", "F"):
                raise UnreadableImageError("pictures with 32-bit samples are not read")
            if upright.mode.startswith("I;16"):
                return Picture(_to_bgr(_to_8_bit(np.asarray(upright))), more_frames)
            rgba = np.asarray(upright.convert("RGBA" if upright.has_transparency_data else "RGB"))
    except (UnreadableImageError, TooLargeError):
        raise
    except Image.DecompressionBombError:
        raise TooLargeError(_TOO_LARGE) from None
    except UnidentifiedImageError:
        raise UnreadableImageError("the picture is damaged: its header cannot be read") from None
    except Exception as error:  # Pillow's decoders raise whatever a damaged file provokes
        raise UnreadableImageError(f"the picture is damaged: {error}") from None
    channels = [2, 1, 0, 3][: rgba.shape[2]]
    return Picture(_to_bgr(np.ascontiguousarray(rgba[..., channels])), more_frames)


def _to_8_bit(pixels: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.uint16:
        # The upper of the two bytes (of a little-endian machine): a shift would take as much memory again.
        return np.ascontiguousarray(pixels.view(np.uint8)[..., 1::2])
    raise UnreadableImageError(f"pictures with samples of type {pixels.dtype} are not read")


def _to_bgr(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    if pixels.ndim == 2:
        return cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
    if pixels.shape[2] == 3:
        return pixels
    flat = np.empty((*pixels.shape[:2], 3), np.uint8)
    for top in range(0, len(pixels), 256):  # in strips: the products need 16 bits
        strip = pixels[top : top + 256].astype(np.uint16)
        alpha = strip[..., 3:]
        flat[top : top + 256] = (strip[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255
    return flat


# EXIF orientations other than 1, which is upright.
_TURNS: dict[int, Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]] = {
    2: lambda pixels: cv2.flip(pixels, 1),
    3: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_180),
    4: lambda pixels: cv2.flip(pixels, 0),
    5: cv2.transpose,
    6: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE),
    7: lambda pixels: cv2.rotate(cv2.transpose(pixels), cv2.ROTATE_180),
    8: lambda pixels: cv2.rotate(pixels, cv2.ROTATE_90_COUNTERCLOCKWISE),
}


def _upright(pixels: npt.NDArray[np.uint8], orientation: int) -> npt.NDArray[np.uint8]:
    return _TURNS[orientation](pixels) if orientation in _TURNS else pixels


def _exif_orientation(data: bytes) -> int:
    """EXIF tag 0x0112 of a PNG (chunk eXIf) or a WebP (chunk EXIF); 1, upright, where there is none."""
    try:
        for chunk in _chunks(data):
            if chunk.name in (b"eXIf", b"EXIF"):
                return _orientation_of(data[chunk.start : chunk.start + chunk.length].removeprefix(b"Exif\0\0"))
    except struct.error:  # cut short; the pixels were readable all the same
        pass
    return 1


class _Chunk(NamedTuple):
    """`length` bytes from `start` on, as the file says; it may have fewer."""

    name: bytes
    start: int
    length: int


def _chunks(data: bytes) -> Iterator[_Chunk]:
    """The chunks of a PNG (up to its end; what follows is not its own) or a RIFF (WebP) file; none of other formats."""
    at = {b"\x89PNG": 8, b"RIFF": 12}.get(data[:4], len(data))
    while at + 8 <= len(data):
        if data[0] == 0x89:
            length, name = struct.unpack_from(">I4s", data, at)
            following = at + 12 + length  # a checksum follows the body
        else:
            name, length = struct.unpack_from("<4sI", data, at)
            following = at + 8 + length + length % 2
        yield _Chunk(name, at + 8, length)
        at = following if name != b"IEND" else len(data)


def _orientation_of(tiff: bytes) -> int:
    order = "<" if tiff.startswith(b"II") else ">"
    (directory,) = struct.unpack_from(order + "I", tiff, 4)
    (entries,) = struct.unpack_from(order + "H", tiff, directory)
    for entry in range(entries):
        tag, _, _, value = struct.unpack_from(order + "HHIH", tiff, directory + 2 + 12 * entry)
        if tag == 0x0112:
            return int(value)
    return 1
