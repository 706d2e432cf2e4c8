"""A picture as the vision tower is shown it: cut into square tiles, and once more as a whole.

The rules are those of InternVL's training ("dynamic high resolution", arXiv:2404.16821, section 3.2).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

Tiles = npt.NDArray[np.uint8]
"""UINT8 [N, side, side, 3], RGB."""


def grid(width: int, height: int, side: int, most: int) -> tuple[int, int]:
    """Columns and rows of the grid of at most `most` tiles whose aspect ratio is closest to the picture's.

    Of grids that are equally close the larger is taken, as long as the picture fills more than half of its pixels.
    """
    best = (1, 1)
    smallest = float("inf")
    shapes = [(columns, rows) for columns in range(1, most + 1) for rows in range(1, most // columns + 1)]
    for columns, rows in sorted(shapes, key=lambda shape: shape[0] * shape[1]):
        difference = abs(width / height - columns / rows)
        fills = width * height > 0.5 * side * side * columns * rows
        if difference < smallest or (difference == smallest and fills):
            best, smallest = (columns, rows), difference
    return best


def tiles(picture: Image.Image, side: int, most: int) -> Tiles:
    """An RGB picture's tiles of `side` x `side` pixels, row by row; behind more than one, the whole picture as one."""
    columns, rows = grid(*picture.size, side, most)
    canvas = np.array(picture.resize((columns * side, rows * side), Image.Resampling.BICUBIC))
    cut = canvas.reshape(rows, side, columns, side, 3).swapaxes(1, 2).reshape(-1, side, side, 3)
    if len(cut) == 1:
        return cut
    whole = np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC))
    return np.concatenate([cut, whole[None]])
