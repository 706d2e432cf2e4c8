"""Encoded picture → upright RGB pixels."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from .errors import TooLargeError, UnreadableImageError

MAX_PIXELS = 100_000_000

_FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "JPEG2000", "PPM")
_WHITE = (255, 255, 255)


def decode(data: bytes) -> Image.Image:
    """The first frame of an encoded picture, RGB, its EXIF orientation applied, transparency laid on white.

    Raises UnreadableImageError (not a picture, damaged, of an unknown format) and TooLargeError (over MAX_PIXELS).
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the bound on pixels is ours
            image = Image.open(io.BytesIO(data), formats=_FORMATS)
            if image.width * image.height > MAX_PIXELS:
                raise TooLargeError(f"a picture of {image.width}x{image.height} pixels has more than {MAX_PIXELS}")
            return _rgb(ImageOps.exif_transpose(image))
    except (UnreadableImageError, TooLargeError):
        raise
    except Image.DecompressionBombError as error:
        raise TooLargeError(str(error)) from error
    except UnidentifiedImageError as error:
        raise UnreadableImageError(f"not a picture that is read here ({', '.join(_FORMATS)})") from error
    except Exception as error:  # Pillow's decoders raise whatever a damaged file provokes
        raise UnreadableImageError(f"the picture is damaged: {error}") from error


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F"):
        raise UnreadableImageError("pictures with 32-bit samples are not read")
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if not image.has_transparency_data:
        return image.convert("RGB")
    transparent = image.convert("RGBA")
    opaque = Image.new("RGB", transparent.size, _WHITE)
    opaque.paste(transparent, mask=transparent.getchannel("A"))
    return opaque
