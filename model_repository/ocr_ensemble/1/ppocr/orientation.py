"""Which way up a line stands, by PP-OCR's text line classifier."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from .crops import Image

HEIGHT, WIDTH = 48, 192  # the classifier's input
# Columns at height 48 up to which a line is squeezed to the classifier's width. Squeezed more, it is surely taken for
# the wrong way up in 1 to 14 % of lines; by a part from its middle, in none of 667 (rendered and scanned documents).
_SQUEEZED = 1000
_SURE = 0.9  # probability above which the classifier is believed; PP-OCR's own bound
_QUORUM = 3  # sure lines that must outnumber the others before a page counts as turned


def classifier_input(crops: list[Image]) -> tuple[Image, npt.NDArray[np.int32]]:
    """Lines at height 48, squeezed or padded to the classifier's width: UINT8 [n, 48, 192, 3], and the columns that
    hold picture, INT32 [n, 1]. Of a very long line it is the middle."""
    image = np.zeros((len(crops), HEIGHT, WIDTH, 3), np.uint8)
    width = np.empty((len(crops), 1), np.int32)
    for row, crop in enumerate(map(_judged, crops)):
        width[row] = columns = min(WIDTH, math.ceil(HEIGHT * (crop.shape[1] / crop.shape[0])))
        image[row, :, :columns] = cv2.resize(crop, (columns, HEIGHT))
    return image, width


def _judged(crop: Image) -> Image:
    """The part of a line that tells how it stands."""
    height, width = crop.shape[:2]
    if HEIGHT * width <= _SQUEEZED * height:
        return crop
    part = WIDTH * height // HEIGHT
    start = (width - part) // 2
    return crop[:, start : start + part]


@dataclass(frozen=True)
class Stance:
    """How a line stands: whether on its head, and whether the rest of its page leaves that in doubt."""

    turned: bool
    contested: bool


def stances(probability: npt.NDArray[np.float32], downwards: list[bool]) -> list[Stance]:
    """How the lines of a page stand; `probability` is FP32 [n, 2], of 0° and of 180°.

    Pages are turned as a whole. Where most sure lines that lie one way, level or `downwards`, are turned, and they are
    no mere few, the unsure ones are turned with them and sure upright ones contested. Elsewhere a line is turned where
    the classifier is sure, and contested all the same.
    """
    turned, lie = probability[:, 1], np.array(downwards, bool)
    sure_turned, sure_upright = turned > _SURE, turned < 1 - _SURE
    found = [Stance(False, False)] * len(downwards)
    for way in (False, True):
        same = lie == way
        votes = np.count_nonzero(same & sure_turned) - np.count_nonzero(same & sure_upright)
        for place in np.flatnonzero(same):
            if votes >= _QUORUM:
                found[place] = Stance(turned=not sure_upright[place], contested=bool(sure_upright[place]))
            else:
                doubt = sure_turned[place] or (votes > 0 and not sure_upright[place])
                found[place] = Stance(turned=bool(sure_turned[place]), contested=bool(doubt))
    return found
