"""Which way up a line stands, by PP-OCR's text line classifier."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from .crops import Image

HEIGHT, WIDTH = 48, 192  # the classifier's input
_SURE = 0.9  # probability above which the classifier is believed; PP-OCR's own bound


def classifier_input(crops: list[Image]) -> tuple[Image, npt.NDArray[np.int32]]:
    """Lines at height 48, squeezed or padded to the classifier's width: UINT8 [n, 48, 192, 3], and the columns that
    hold picture, INT32 [n, 1]."""
    image = np.zeros((len(crops), HEIGHT, WIDTH, 3), np.uint8)
    width = np.empty((len(crops), 1), np.int32)
    for row, crop in enumerate(crops):
        width[row] = columns = min(WIDTH, math.ceil(HEIGHT * (crop.shape[1] / crop.shape[0])))
        image[row, :, :columns] = cv2.resize(crop, (columns, HEIGHT))
    return image, width


def upside_down(probability: npt.NDArray[np.float32], downwards: list[bool]) -> list[bool]:
    """Which lines of a page stand on their heads; `probability` is FP32 [n, 2], of 0° and of 180°.

    A line of which the classifier is sure goes by itself. One of which it is not goes with most of the sure ones that
    lie as it does, level or `downwards`: pages are turned as a whole.
    """
    turned = probability[:, 1]
    lie = np.array(downwards, bool)
    decided = turned > _SURE
    for way in (False, True):
        same = lie == way
        if np.count_nonzero(same & decided) > np.count_nonzero(same & (turned < 1 - _SURE)):
            decided |= same & (turned >= 1 - _SURE)
    return [bool(one) for one in decided]
