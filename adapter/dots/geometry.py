"""The size at which dots.ocr is shown a picture, and boxes between that size and the picture's own.

The model sees the picture in cells of 28x28 pixels and gives its boxes in pixels of what it was shown.
"""

import math
from dataclasses import dataclass

from adapter.errors import InvalidRequestError

Box = tuple[int, int, int, int]
"""x1, y1, x2, y2 in pixels; x1 < x2 and y1 < y2."""

CELL = 28
# The bounds that the model was trained within (preprocessor_config.json of rednote-hilab/dots.ocr).
MIN_PIXELS = 3136
MAX_PIXELS = 11_289_600
MAX_ASPECT = 200


@dataclass(frozen=True)
class Size:
    """In pixels."""

    width: int
    height: int


def smart_resize(size: Size) -> Size:
    """The size to show a picture at: whole cells, MIN_PIXELS to MAX_PIXELS, the aspect kept as far as cells allow.

    The rule of Qwen2-VL's image processor, which dots.ocr uses; applied to its own result it changes nothing, so that
    the processor does not resize again. Raises `InvalidRequestError` where one side is over MAX_ASPECT times the other.
    """
    short, long = sorted((size.width, size.height))
    if long > MAX_ASPECT * short:
        raise InvalidRequestError(
            f"image: a picture of {size.width}x{size.height} pixels is too long and thin: one side may be at most "
            f"{MAX_ASPECT} times the other"
        )
    # round() takes halves to even numbers, in the original too.
    fed = Size(*(max(CELL, round(side / CELL) * CELL) for side in (size.width, size.height)))
    area = size.width * size.height
    if fed.width * fed.height > MAX_PIXELS:
        scale = math.sqrt(area / MAX_PIXELS)
        return Size(*(max(CELL, math.floor(side / scale / CELL) * CELL) for side in (size.width, size.height)))
    if fed.width * fed.height < MIN_PIXELS:
        scale = math.sqrt(MIN_PIXELS / area)
        return Size(*(math.ceil(side * scale / CELL) * CELL for side in (size.width, size.height)))
    return fed


@dataclass(frozen=True)
class Scale:
    """Between a picture's own pixels and those it is fed at."""

    original: Size
    fed: Size

    def to_fed(self, box: tuple[float, float, float, float]) -> Box:
        """A box of the original, in pixels of the picture as it is fed."""
        return _scaled(box, self.original, self.fed)

    def to_original(self, box: tuple[float, float, float, float]) -> Box:
        """A box that the model gave, in pixels of the original.

        Rounded to whole pixels, at least one wide and high. What reaches over the picture's edge ends there.
        """
        return _scaled(box, self.fed, self.original)


def _scaled(box: tuple[float, float, float, float], source: Size, target: Size) -> Box:
    x1, x2 = _interval(box[0], box[2], source.width, target.width)
    y1, y2 = _interval(box[1], box[3], source.height, target.height)
    return x1, y1, x2, y2


def _interval(start: float, end: float, source: int, target: int) -> tuple[int, int]:
    first, last = (min(max(round(at * target / source), 0), target) for at in (start, end))
    if first < last:
        return first, last
    return (first, first + 1) if first < target else (target - 1, target)
