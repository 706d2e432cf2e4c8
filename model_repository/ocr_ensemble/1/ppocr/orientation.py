"""Which way up a line stands, by PP-OCR's text line classifier."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from .crops import Crop, Image

HEIGHT, WIDTH = 48, 192  # the classifier's input
_SURE = 0.9  # probability above which a line is turned; PP-OCR's own bound
_GREY = 127  # the nearest byte to what normalisation makes 0 of


def classifier_input(crops: list[Image]) -> Image:
    """UINT8 [n, 48, 192, 3]: each line at height 48, cut off or padded on the right."""
    rows = np.full((len(crops), HEIGHT, WIDTH, 3), _GREY, np.uint8)
    for row, crop in zip(rows, crops):
        columns = min(WIDTH, math.ceil(HEIGHT * (crop.shape[1] / crop.shape[0])))
        row[:, :columns] = cv2.resize(crop, (columns, HEIGHT))
    return rows


def turned_upright(crop: Crop, probability: npt.NDArray[np.float32]) -> tuple[Crop, int]:
    """The line, upright, and the angle in degrees at which it stood; `probability` is FP32 [2], of 0° and of 180°."""
    return (crop.turned_over(), 180) if probability[1] > _SURE else (crop, 0)
