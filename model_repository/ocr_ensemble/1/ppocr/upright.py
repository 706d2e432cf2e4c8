"""Which way up a page stands, by PP-OCR's document orientation classifier, and the way back from the page set upright.

Turns are counted in quarters: a page that is turned by 1 was turned clockwise by 90° and is set upright by a
counter-clockwise turn of as much. That is the classifier's own numbering of its classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from .crops import Image

SIDE = 224  # pixels: the classifier's input
_SHORTER = 256  # pixels of the shorter side, of which the middle is looked at; PP-OCR's own
_SURE = 0.6  # probability from which a page is turned; what is no page is told by less
_QUARTERS = (None, cv2.ROTATE_90_COUNTERCLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_CLOCKWISE)


@dataclass(frozen=True)
class Upright:
    """A picture set upright: `pixels` UINT8 [h, w, 3] as they are read, and by how many quarters it was turned."""

    pixels: Image
    turns: int = 0

    def to_picture(self, points: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Points [..., 2] of the upright pixels, in pixels of the picture as it came."""
        height, width = self.pixels.shape[:2]
        x, y = points[..., 0], points[..., 1]
        ways = ((x, y), (height - y, x), (width - x, height - y), (y, width - x))
        return np.stack(ways[self.turns], axis=-1).astype(np.float32)


def upright(picture: Image, turns: int) -> Upright:
    """A picture that is turned by so many quarters, set upright."""
    rotation = _QUARTERS[turns]
    return Upright(picture if rotation is None else cv2.rotate(picture, rotation), turns)


def classifier_input(picture: Image) -> Image:
    """The middle of a picture UINT8 [H, W, 3], turned counter-clockwise by 0, 1, 2 and 3 quarters: [4, 224, 224, 3]."""
    height, width = picture.shape[:2]
    factor = _SHORTER / min(height, width)
    # Only the middle is looked at: what lies beyond it need not be resized.
    rows, columns = (min(side, round(SIDE / factor)) for side in (height, width))
    top, left = (height - rows) // 2, (width - columns) // 2
    middle = picture[top : top + max(1, rows), left : left + max(1, columns)]
    small = cv2.resize(middle, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return np.stack([np.rot90(small, quarters) for quarters in range(4)])


def turns(probability: npt.NDArray[np.float32]) -> int:
    """By how many quarters a page is turned, 0 where that is in doubt; `probability` is FP32 [4, 4], of what
    `classifier_input` gives.

    The four looks at a page are asked about the page as it came, and their probabilities multiplied (their geometric
    mean). Thus a page is judged alike however it comes to lie. On 98 pictures in four orientations one look errs 10
    times, the four together never where they are sure.
    """
    # A page that is turned by q quarters more, counter-clockwise, is turned by q less, clockwise.
    asked = np.stack([np.roll(of_look, quarters) for quarters, of_look in enumerate(probability)])
    together = np.exp(np.log(np.maximum(asked, 1e-6)).mean(axis=0))
    best = int(together.argmax())
    return best if together[best] >= _SURE * together.sum() else 0
