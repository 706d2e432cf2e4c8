"""A picture's pixels, as a vision-language model is to see them: upright, RGB, nothing transparent."""

import asyncio
import io
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from PIL import ExifTags, Image

from adapter.errors import TooLargeError, UnreadableImageError
from adapter.pictures import picture_size
from adapter.pixels import flat

# Decoding is all CPU, and each takes memory for its pixels.
_AT_ONCE = 2
# The models' own decoders take them as they are.
_PLAIN_FORMATS = ("JPEG", "PNG")
_PLAIN_MODES = ("RGB", "L")
# What sets a picture upright, by its EXIF orientation (tag 0x0112).
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# A JPEG that holds several pictures is opened as any other.
_OPENED_AS = {"MPO": "JPEG"}


@dataclass(frozen=True)
class Shown:
    """A picture as it is handed to a model: `encoded` is PNG or JPEG.

    `width` and `height` are its own, upright, in pixels, whatever size it is shown at.
    """

    encoded: bytes
    width: int
    height: int
    more_frames: bool = False
    """Whether the file holds further pictures, of which only the first is shown."""


Resize = Callable[[int, int], tuple[int, int]]
"""The width and height to show a picture at, by its own."""


def _as_it_is(width: int, height: int) -> tuple[int, int]:
    return width, height


class Decoder:
    """Decodes pictures away from the event loop, a few at a time."""

    def __init__(self, max_pixels: int) -> None:
        """`max_pixels`: how many pixels a picture may have (OCR_VLM_MAX_PIXELS)."""
        self._max_pixels = max_pixels
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="decoder")

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def show(self, data: bytes, name: str, resize: Resize = _as_it_is) -> Shown:
        """The picture in the field `name`, made fit for a model to see.

        The first frame where there are several; turned as its EXIF orientation says, transparency laid on white, and
        scaled to the size that `resize` gives. A picture to which none of this does anything keeps its bytes.
        Raises `UnreadableImageError` (no picture, or a damaged one), `TooLargeError`, and what `resize` raises.
        """
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._show, data, name, resize)

    def _show(self, data: bytes, name: str, resize: Resize) -> Shown:
        size = picture_size(data, name)
        if size.width * size.height > self._max_pixels:
            raise TooLargeError(
                f"{name}: a picture of {size.width}x{size.height} pixels has more than the limit of "
                f"{self._max_pixels} pixels (OCR_VLM_MAX_PIXELS)"
            )
        image = _decoded(data, name, size.format)
        more_frames = getattr(image, "n_frames", 1) > 1
        turn = _TURNS.get(_orientation(image))
        upright = image if turn is None else image.transpose(turn)
        shown_at = resize(*upright.size)
        plain = size.format in _PLAIN_FORMATS and image.mode in _PLAIN_MODES and not image.has_transparency_data
        if plain and turn is None and not more_frames and shown_at == image.size:
            return Shown(data, *image.size)
        pixels = flat(upright)
        if shown_at != pixels.size:
            # The processors of the models scale by bicubic interpolation, too.
            pixels = pixels.resize(shown_at, Image.Resampling.BICUBIC)
        encoded = io.BytesIO()
        # Speed before size: it goes no further than next door.
        pixels.save(encoded, "PNG", compress_level=1)
        return Shown(encoded.getvalue(), *upright.size, more_frames)


def _decoded(data: bytes, name: str, kind: str) -> Image.Image:
    """The first frame, as it is stored."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of many pixels, and of odd metadata: the bounds are ours
            image = Image.open(io.BytesIO(data), formats=[_OPENED_AS.get(kind, kind)])
            image.load()
            if image.mode in ("I", "F"):
                raise UnreadableImageError(f"{name}: pictures with 32-bit samples are not read")
            return image
    except UnreadableImageError:
        raise
    except Image.DecompressionBombError as error:
        raise TooLargeError(f"{name}: {error}") from error
    except Exception as error:  # Pillow's decoders raise whatever a damaged file provokes
        raise UnreadableImageError(f"{name}: the picture is damaged: {error}") from error


def _orientation(image: Image.Image) -> int:
    """EXIF's, 1 where there is none or it cannot be read: that is no reason to refuse a picture."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        return 1
