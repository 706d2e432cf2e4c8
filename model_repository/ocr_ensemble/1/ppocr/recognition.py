"""Line recognition around a CTC network: crops → batches of like width, and best paths → text."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import cv2
import numpy as np
import numpy.typing as npt

from .crops import Image

HEIGHT = 48  # rows of the network's input
_OVERLAP = 2 * HEIGHT  # columns that neighbouring windows share: two wide characters


@dataclass(frozen=True)
class RecognitionRules:
    """How lines become network input, in columns at height 48.

    Widths are rounded up to a multiple of `step`, at least `least`: the ladder that bounds how many shapes the
    runtime meets. With `by_page`, `batch` lines of like ratio share the widest one's width, as PP-OCR does it;
    otherwise a line's width is its own. A line wider than `most` is read in overlapping windows.

    At most `batch` lines are read in one call.
    """

    least: int
    step: int
    most: int
    by_page: bool
    batch: int = 6


@dataclass(frozen=True)
class Line:
    """A read line; `centres` are the places of its characters along the crop, in crop pixels."""

    characters: tuple[str, ...]
    probabilities: npt.NDArray[np.float32]
    centres: npt.NDArray[np.float64]

    @property
    def text(self) -> str:
        return "".join(self.characters)

    @property
    def score(self) -> float:
        """Mean probability of the characters; 0 where there are none."""
        return float(self.probabilities.mean()) if len(self.probabilities) else 0.0


@dataclass(frozen=True)
class Window:
    """The part of line number `line` between two columns of its crop: the whole of it, unless it is very long.
    Of what is read in it, only characters between `keep_from` and `keep_to` count; the neighbours read the rest."""

    line: int
    start: int
    end: int
    keep_from: float = -math.inf
    keep_to: float = math.inf


@dataclass(frozen=True)
class Batch:
    """Windows read in one call: `image` UINT8 [n, 48, W, 3], `width` INT32 [n, 1], the columns that hold picture."""

    windows: list[Window]
    image: Image
    width: npt.NDArray[np.int32]

    def lines(
        self, index: npt.NDArray[np.int32], probability: npt.NDArray[np.float32], characters: list[str]
    ) -> list[tuple[Window, Line]]:
        """What the network read: `index` and `probability` are [n, T]."""
        columns_per_step = self.image.shape[2] / index.shape[1]
        read = []
        for row, window in enumerate(self.windows):
            pixels_per_column = (window.end - window.start) / self.width[row, 0]
            steps = best_path(index[row])
            centres = window.start + (steps + 0.5) * columns_per_step * pixels_per_column
            kept = (centres >= window.keep_from) & (centres < window.keep_to)
            steps = steps[kept]
            text = tuple(characters[i] for i in index[row, steps])
            read.append((window, Line(text, probability[row, steps], centres[kept])))
        return read


def best_path(index: npt.NDArray[np.int32]) -> npt.NDArray[np.intp]:
    """The time steps of a CTC best path [T] that stand for characters: the first of each run that is not blank (0).

    Graves et al., "Connectionist Temporal Classification", ICML 2006, section 3.
    """
    first_of_run = np.ones(len(index), bool)
    np.not_equal(index[1:], index[:-1], out=first_of_run[1:])
    return np.flatnonzero(first_of_run & (index != 0))


def joined(parts: list[Line]) -> Line:
    """One line out of its windows', from left to right."""
    return Line(
        tuple(character for part in parts for character in part.characters),
        np.concatenate([part.probabilities for part in parts]),
        np.concatenate([part.centres for part in parts]),
    )


def batches(crops: list[Image], rules: RecognitionRules, most: int, instances: int) -> Iterator[Batch]:
    """The crops of one page as network input, at most so many in one batch, for so many networks at work. Each batch is
    made when it is asked for.

    Wide lines come first, and a batch takes no more than a network's share of what is left: short work comes last, so
    that all end together (Polychronopoulos and Kuck, "Guided self-scheduling", IEEE ToC 1987).

    What a line is padded with depends on its own page alone, never on what other callers send: its answer is the same
    under load.
    """
    windows = [window for line, crop in enumerate(crops) for window in _windows(line, crop, rules)]
    ratios = [(window.end - window.start) / crops[window.line].shape[0] for window in windows]
    order: list[int] = np.argsort(ratios).tolist()
    if rules.by_page:
        same_width = [order[first : first + rules.batch] for first in range(0, len(order), rules.batch)]
    else:  # in order of width, so that equal rungs are neighbours
        same_width = [list(group) for _, group in groupby(order, lambda place: _rung(ratios[place], rules))]
    left = len(order)
    for some in reversed(same_width):
        width = _rung(ratios[some[-1]], rules)
        first = 0
        while first < len(some):
            taken = some[first : first + min(most, rules.batch, math.ceil(left / instances))]
            yield _batch(crops, [windows[place] for place in taken], width)
            first += len(taken)
            left -= len(taken)


def _rung(ratio: float, rules: RecognitionRules) -> int:
    """The least width on the ladder for lines up to that ratio of width to height."""
    return max(rules.least, math.ceil(int(HEIGHT * ratio) / rules.step) * rules.step)


def _batch(crops: list[Image], windows: list[Window], width: int) -> Batch:
    image = np.zeros((len(windows), HEIGHT, width, 3), np.uint8)
    columns = np.empty((len(windows), 1), np.int32)
    for row, window in enumerate(windows):
        part = crops[window.line][:, window.start : window.end]
        columns[row] = used = min(width, math.ceil(HEIGHT * (part.shape[1] / part.shape[0])))
        image[row, :, :used] = cv2.resize(part, (used, HEIGHT))
    return Batch(windows, image, columns)


def _windows(line: int, crop: Image, rules: RecognitionRules) -> list[Window]:
    """The whole line, or windows of at most `rules.most` columns that share two characters' width. Where one hands
    over to the next is the quietest column of what they share, so that no character is cut in two."""
    height, width = crop.shape[:2]
    scale = height / HEIGHT
    if width <= rules.most * scale:
        return [Window(line, 0, width)]
    count = math.ceil((width / scale - _OVERLAP) / (rules.most - _OVERLAP))
    stride = (width - _OVERLAP * scale) / count
    starts = [round(i * stride) for i in range(count)]
    ends = [min(width, round(i * stride + stride + _OVERLAP * scale)) for i in range(count)]
    ends[-1] = width
    seams = [_quietest(crop, starts[i + 1], ends[i]) for i in range(count - 1)]
    return [
        Window(line, start, end, keep_from, keep_to)
        for start, end, keep_from, keep_to in zip(starts, ends, [-math.inf, *seams], [*seams, math.inf])
    ]


def _quietest(crop: Image, start: int, end: int) -> float:
    """The column between two others across which grey varies least, seen over a quarter of the line's height."""
    margin = (end - start) // 4  # a character at the rim of its window is read badly
    variation = cv2.cvtColor(crop[:, start + margin : end - margin], cv2.COLOR_BGR2GRAY).astype(np.float32).std(0)
    smooth = cv2.blur(variation[None], (max(1, crop.shape[0] // 4), 1))
    return start + margin + float(smooth.argmin()) + 0.5
