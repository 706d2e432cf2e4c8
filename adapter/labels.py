"""Where on a picture a text stands."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Label:
    """A text, and the four corners of the quad that it was read in, clockwise from its upper left, in pixels."""

    text: str
    quad: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class TextLayer:
    """What was read off one picture: a page of a document, or a part of it.

    `page` counts from 1. `width` and `height` are the picture's, in pixels. `bbox` is where it lies on the page: x, y,
    width, height in points from the upper left corner of the page as it is shown; None: it is the whole page.
    """

    page: int
    width: float
    height: float
    labels: Sequence[Label]
    bbox: tuple[float, float, float, float] | None = None
