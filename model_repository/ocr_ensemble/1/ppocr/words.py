"""Words and characters of a read line, as quads in the picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .crops import Crop
from .detection import Quad
from .recognition import Line

_WIDE_GAP = 2 / 3  # of the line's height between two letters' centres: a new word, though no space was read
# Unicode blocks: CJK radicals to unified ideographs (kana between), Hangul, compatibility ideographs, full-width forms.
_IDEOGRAPHS = (("\u2e80", "\u9fff"), ("\uac00", "\ud7af"), ("\uf900", "\ufaff"), ("\uff00", "\uffef"))
_HALF_WIDTH = 0.5  # of the line's height: no character reaches farther from its centre


@dataclass(frozen=True)
class Span:
    """A piece of a line: its text, its mean probability and its quad in picture pixels."""

    text: str
    score: float
    quad: Quad


@dataclass(frozen=True)
class Word:
    """A word of a script that sets spaces, or one character of Chinese, Japanese or Korean; and its characters."""

    span: Span
    characters: tuple[Span, ...]


def words(line: Line, crop: Crop, to_picture: Callable[[Quad], Quad]) -> list[Word]:
    """The words of a line that was read off a crop, from left to right; `to_picture` takes points of the frame that
    the crop was cut from to the picture's.

    A character reaches half way to its neighbours, but no farther than half the line's height: CTC tells where a
    character stands, not how wide it is.
    """
    height, width = crop.image.shape[:2]
    middles = (line.centres[1:] + line.centres[:-1]) / 2
    reach = _HALF_WIDTH * height
    left = np.clip(np.maximum(np.concatenate([[0], middles]), line.centres - reach), 0, width)
    right = np.clip(np.minimum(np.concatenate([middles, [width]]), line.centres + reach), 0, width)

    def span(first: int, last: int) -> Span:
        text = "".join(line.characters[first : last + 1])
        return Span(
            text, float(line.probabilities[first : last + 1].mean()), to_picture(_quad(crop, left[first], right[last]))
        )

    return [
        Word(span(first, last), tuple(span(place, place) for place in range(first, last + 1)))
        for first, last in _runs(line, _WIDE_GAP * height)
    ]


def _runs(line: Line, wide_gap: float) -> list[tuple[int, int]]:
    """First and last character of each word."""
    runs: list[tuple[int, int]] = []
    for place, character in enumerate(line.characters):
        if character.isspace():
            continue
        follows = (
            bool(runs)
            and runs[-1][1] == place - 1
            and not is_ideograph(character)
            and not is_ideograph(line.characters[place - 1])
            and line.centres[place] - line.centres[place - 1] <= wide_gap
        )
        if follows:
            runs[-1] = (runs[-1][0], place)
        else:
            runs.append((place, place))
    return runs


def is_ideograph(character: str) -> bool:
    """Whether a character stands for itself: CJK ideographs, kana, Hangul, and their full-width punctuation."""
    return any(first <= character <= last for first, last in _IDEOGRAPHS)


def _quad(crop: Crop, left: float, right: float) -> Quad:
    height = crop.image.shape[0]
    corners: npt.NDArray[np.float64] = np.array([[left, 0], [right, 0], [right, height], [left, height]])
    return crop.to_picture(corners)
