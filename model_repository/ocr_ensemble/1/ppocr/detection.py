"""Text detection around the DB network: picture → network input, and probability map → quads.

DB: Liao et al., "Real-time Scene Text Detection with Differentiable Binarization", AAAI 2020 (arXiv:1911.08947).
Quads are float32 [4, 2], pixels, clockwise from the text's top-left corner.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pyclipper

from . import MAX_SIDE

Quad = npt.NDArray[np.float32]
Corners = npt.NDArray[np.floating[Any]]

STRIDE = 32  # the network halves its input five times
MAX_CANDIDATES = 1000  # contours looked at in one map; PP-OCR's own bound
_MIN_SIDE = 3.0  # map pixels: shorter contours are noise
_MIN_SIDE_UNCLIPPED = 5.0  # map pixels, after unclipping
_MIN_SIDE_PICTURE = 3  # picture pixels, after clipping
_ROW_TOLERANCE = 10  # picture pixels: tops nearer than this stand in one row

LINE_SIDE = 96  # pixels: a picture with a shorter side no longer than this may be one line, cut out by its sender
LEAST_SIDE = 8  # pixels: a picture with a shorter side holds no text
_THIN = 30  # pixels: a picture with a shorter side is enlarged to it
_BANNER = 8  # width / height above which a picture is set between black bars
_LONG = 2000  # pixels: bars grow no further with a banner's width


@dataclass(frozen=True)
class DetectionRules:
    """How text is looked for.

    The network's input has at most `max_pixels` pixels and no side over `max_side`, where one is given. Within that a
    shorter side under `min_side` pixels is enlarged to it, but at most by `max_enlargement`: letters that are much
    larger than those of a page are not found. `thresh` binarises the probability map, `box_thresh` is a box's least
    mean probability, `unclip_ratio` is DB's r' (offset = area × r' / perimeter), `dilate` closes gaps with a 2×2
    kernel.
    """

    min_side: int
    max_enlargement: float
    max_pixels: int
    thresh: float
    box_thresh: float
    unclip_ratio: float
    dilate: bool
    max_side: int | None = None


@dataclass(frozen=True)
class Frame:
    """The picture as text is looked for in it and cut out of it: thin ones enlarged, banners between black bars of
    `bar` rows. `scale` (x, y) takes frame pixels, without the bars, to the picture's."""

    pixels: npt.NDArray[np.uint8]
    scale: tuple[float, float] = (1.0, 1.0)
    bar: int = 0

    def to_picture(self, points: npt.NDArray[np.float32], width: int, height: int) -> npt.NDArray[np.float32]:
        """Points [..., 2] of the frame, in pixels of the picture of that size, and inside it."""
        moved = (points - np.array([0, self.bar], np.float32)) * np.array(self.scale, np.float32)
        return np.clip(moved, 0, [width, height]).astype(np.float32)


def frame(picture: npt.NDArray[np.uint8]) -> Frame:
    """The frame of a picture UINT8 [H, W, 3]; most are their own."""
    height, width = picture.shape[:2]
    pixels, scale = picture, (1.0, 1.0)
    factor = min(_THIN / min(height, width), MAX_SIDE / max(height, width))
    if factor > 1:
        size = (_multiple(width * factor), _multiple(height * factor))
        pixels, scale = cv2.resize(picture, size), (width / size[0], height / size[1])
        height, width = pixels.shape[:2]
    if height > _THIN and width / height <= _BANNER:
        return Frame(pixels, scale)
    bar = max(0, max(min(width, _LONG) // _BANNER, _THIN) * 2 - height) // 2
    return Frame(cv2.copyMakeBorder(pixels, bar, bar, 0, 0, cv2.BORDER_CONSTANT), scale, bar)


def input_size(height: int, width: int, rules: DetectionRules) -> tuple[int, int]:
    """Height and width of the network's input for a frame of that size: multiples of 32."""
    factor = min(max(1.0, rules.min_side / min(height, width)), rules.max_enlargement)
    factor = min(factor, math.sqrt(rules.max_pixels / (height * width)))
    if rules.max_side is not None:
        factor = min(factor, rules.max_side / max(height, width))
    return _multiple(height * factor), _multiple(width * factor)


def _multiple(side: float) -> int:
    return max(STRIDE, round(int(side) / STRIDE) * STRIDE)


@dataclass(frozen=True)
class Box:
    """A detected line: its quad in picture pixels and its mean probability."""

    quad: Quad
    score: float


def boxes_of_map(probability: npt.NDArray[np.float32], width: int, height: int, rules: DetectionRules) -> list[Box]:
    """Boxes of a probability map.

    `probability` is FP32 [H, W]; `width` and `height` are the picture's that it covers. Corners are rounded to whole
    picture pixels, as the reference implementations do, since crops (and so texts) depend on them.
    """
    map_height, map_width = probability.shape
    mask = (probability > rules.thresh).astype(np.uint8)
    if rules.dilate:
        mask = cv2.dilate(mask, np.ones((2, 2), np.uint8))
    contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    scale = np.array([width / map_width, height / map_height])
    boxes = []
    for contour in contours[:MAX_CANDIDATES]:
        corners, side = _min_area_quad(contour)
        if side < _MIN_SIDE:
            continue
        score = _mean_inside(probability, corners)
        if score < rules.box_thresh:
            continue
        corners, side = _min_area_quad(_unclip(corners, rules.unclip_ratio))
        if side < _MIN_SIDE_UNCLIPPED:
            continue
        quad = _clockwise(np.clip(np.round(corners * scale), 0, [width, height]))
        quad = np.clip(np.trunc(quad), 0, [width - 1, height - 1])
        if min(_length(quad[0], quad[1]), _length(quad[0], quad[3])) > _MIN_SIDE_PICTURE:
            boxes.append(Box(quad.astype(np.float32), score))
    return boxes


def in_rows(boxes: list[Box]) -> list[Box]:
    """Boxes from top to bottom and, where their top-left corners differ by less than ten pixels in height, from left
    to right. One insertion pass, as PP-OCR does it: a box moves left past neighbours of its row only."""
    ordered = sorted(boxes, key=lambda box: (box.quad[0, 1], box.quad[0, 0]))
    for last in range(1, len(ordered)):
        place = last
        while place and _before_in_row(ordered[place].quad[0], ordered[place - 1].quad[0]):
            ordered[place - 1], ordered[place] = ordered[place], ordered[place - 1]
            place -= 1
    return ordered


def _before_in_row(a: Quad, b: Quad) -> bool:
    return bool(abs(a[1] - b[1]) < _ROW_TOLERANCE and a[0] < b[0])


def _length(a: Corners, b: Corners) -> int:
    return int(np.linalg.norm(a - b))


def _min_area_quad(points: npt.NDArray[np.generic]) -> tuple[npt.NDArray[np.float32], float]:
    """Corners [4, 2] (top-left, top-right, bottom-right, bottom-left) and short side of the least rectangle."""
    rectangle = cv2.minAreaRect(points)
    corners = cv2.boxPoints(rectangle)
    corners = corners[np.argsort(corners[:, 0], kind="stable")]
    top_left, bottom_left = corners[:2] if corners[1, 1] > corners[0, 1] else corners[1::-1]
    top_right, bottom_right = corners[2:] if corners[3, 1] > corners[2, 1] else corners[:1:-1]
    return np.stack([top_left, top_right, bottom_right, bottom_left]), min(rectangle[1])


def _clockwise(points: Corners) -> Corners:
    """The two leftmost corners first told apart by height, then the two rightmost."""
    points = points[np.argsort(points[:, 0], kind="stable")]
    left = points[:2][np.argsort(points[:2, 1], kind="stable")]
    right = points[2:][np.argsort(points[2:, 1], kind="stable")]
    return np.stack([left[0], right[0], right[1], left[1]])


def _mean_inside(probability: npt.NDArray[np.float32], quad: npt.NDArray[np.float32]) -> float:
    """Mean of the map inside the quad (PP-OCR's "fast" score)."""
    height, width = probability.shape
    x0, y0 = np.clip(np.floor(quad.min(0)).astype(int), 0, [width - 1, height - 1])
    x1, y1 = np.clip(np.ceil(quad.max(0)).astype(int), 0, [width - 1, height - 1])
    inside = np.zeros((y1 - y0 + 1, x1 - x0 + 1), np.uint8)
    cv2.fillPoly(inside, [(quad - np.array([x0, y0], np.float32)).astype(np.int32)], 1)
    return float(cv2.mean(probability[y0 : y1 + 1, x0 : x1 + 1], inside)[0])


def _unclip(quad: npt.NDArray[np.float32], ratio: float) -> npt.NDArray[np.int32]:
    """The quad offset outwards by area × ratio / perimeter, with round joins; int32 [N, 1, 2]."""
    distance = cv2.contourArea(quad) * ratio / cv2.arcLength(quad, True)
    offset = pyclipper.PyclipperOffset()
    offset.AddPath(quad, pyclipper.JT_ROUND, pyclipper.ET_CLOSEDPOLYGON)
    return np.concatenate([np.asarray(path, np.int32) for path in offset.Execute(distance)])[:, None]
