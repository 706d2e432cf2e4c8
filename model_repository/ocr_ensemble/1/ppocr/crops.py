"""Lines cut out of a picture, upright, and the way back from a crop's pixels to the picture's."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from .detection import Quad

Image = npt.NDArray[np.uint8]

_UPRIGHT_RATIO = 1.5  # a crop this much higher than wide is a line that runs downwards


@dataclass(frozen=True)
class Crop:
    """A line: `image` UINT8 [h, w, 3] BGR as it is read, and how it lies in the picture.

    `quad` is float32 [4, 2] in the picture; `quarter_turns` is how often the rectified quad was turned by 90°
    counter-clockwise to become `image` (1 where the line runs downwards, plus 2 where it stood on its head).
    """

    image: Image
    quad: Quad
    quarter_turns: int

    def turned_over(self) -> Crop:
        """The same line, turned by 180°."""
        return Crop(cv2.rotate(self.image, cv2.ROTATE_180), self.quad, self.quarter_turns + 2)

    def to_picture(self, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
        """Points [N, 2] of `image`, in picture pixels; float32 [N, 2]."""
        height, width = self.image.shape[:2]
        for _ in range(self.quarter_turns % 4):  # undo one counter-clockwise turn
            points = np.stack([height - points[:, 1], points[:, 0]], axis=1)
            height, width = width, height
        matrix = cv2.getPerspectiveTransform(_rectangle(width, height), self.quad)
        return cv2.perspectiveTransform(points[None].astype(np.float32), matrix)[0]


def cut(picture: Image, quad: Quad) -> Crop:
    """The line inside a quad, rectified (cubic, border replicated) at the picture's own scale."""
    width = max(1, int(max(np.linalg.norm(quad[0] - quad[1]), np.linalg.norm(quad[2] - quad[3]))))
    height = max(1, int(max(np.linalg.norm(quad[0] - quad[3]), np.linalg.norm(quad[1] - quad[2]))))
    if _is_level(quad):  # most lines: every pixel would be taken as it is, in 0.3 ms
        left, top = map(int, quad[0])
        line = picture[top : top + height, left : left + width]
    else:
        matrix = cv2.getPerspectiveTransform(quad, _rectangle(width, height))
        line = cv2.warpPerspective(
            picture, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
        )
    if height / width >= _UPRIGHT_RATIO:
        return Crop(cv2.rotate(line, cv2.ROTATE_90_COUNTERCLOCKWISE), quad, 1)
    return Crop(line, quad, 0)


def whole(picture: Image) -> Crop:
    """The whole picture as one line, as it stands."""
    height, width = picture.shape[:2]
    return Crop(picture, _rectangle(width, height), 0)


def _is_level(quad: Quad) -> bool:
    """Whether its sides lie along whole rows and columns of pixels, and it is one pixel wide and high at least."""
    (left, top), (right, bottom) = quad[0], quad[2]
    level = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    return bool(left < right and top < bottom and np.array_equal(quad, level) and np.array_equal(quad, np.trunc(quad)))


def _rectangle(width: int, height: int) -> Quad:
    return np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
