"""What a picture's header says, before anything of it is decoded."""

import io
import warnings
from dataclasses import dataclass

from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from adapter.errors import TooLargeError, UnreadableImageError

# What the models read as well. Named by their modules, which Pillow would else load when the first file comes, together
# with those of all its formats.
_FORMATS = tuple(
    str(file.format)
    for file in (
        JpegImagePlugin.JpegImageFile,
        PngImagePlugin.PngImageFile,
        BmpImagePlugin.BmpImageFile,
        TiffImagePlugin.TiffImageFile,
        WebPImagePlugin.WebPImageFile,
        GifImagePlugin.GifImageFile,
        Jpeg2KImagePlugin.Jpeg2KImageFile,
        PpmImagePlugin.PpmImageFile,
    )
)

# Beyond it Pillow takes a picture for a bomb.
_MAX_PIXELS = 2 * (Image.MAX_IMAGE_PIXELS or 0)


@dataclass(frozen=True)
class PictureSize:
    """As stored, in pixels (an EXIF orientation may yet turn it); `format` is Pillow's name: JPEG, PNG, BMP, TIFF …"""

    width: int
    height: int
    format: str


@dataclass(frozen=True)
class SizeLimit:
    """How wide and high a picture may be, in pixels, and the settings that say so."""

    width: int
    height: int
    width_setting: str = "OCR_MAX_IMAGE_WIDTH"
    height_setting: str = "OCR_MAX_IMAGE_HEIGHT"

    def check(self, size: PictureSize, name: str) -> None:
        """Raise `TooLargeError` when the picture in the field `name` is over the limit."""
        for side, limit, setting in (
            (size.width, self.width, self.width_setting),
            (size.height, self.height, self.height_setting),
        ):
            if side > limit:
                raise TooLargeError(
                    f"{name}: a picture of {size.width}x{size.height} pixels is larger than the limit of {limit} "
                    f"({setting})"
                )


def picture_size(data: bytes, name: str) -> PictureSize:
    """The size and format of the encoded picture in the field `name`, read from its header alone.

    Raises `UnreadableImageError`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of many pixels, and of odd metadata: the bounds are ours
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                width, height = image.size
                return PictureSize(width, height, str(image.format))
    except Image.DecompressionBombError as error:
        raise TooLargeError(f"{name}: a picture of more than {_MAX_PIXELS} pixels is not looked at") from error
    except UnidentifiedImageError as error:
        raise UnreadableImageError(f"{name}: not a picture of a known format, or a broken one") from error
    except Exception as error:
        raise UnreadableImageError(f"{name}: the header of the picture is broken") from error
