"""The order in which a person reads the lines of a page, and the page's text in that order.

A recursive cut, after the XY-cut of Nagy and Seth ("Hierarchical Representation of Optically Scanned Documents", ICPR
1984), led by the white between columns as in Breuel ("High Performance Document Layout Analysis", SDIUT 2003). It works
on quads alone, in four steps:

1. The page is set level: the way most of the text runs (rightwards, or downwards as in vertical Chinese, whose columns
   follow each other from the right) becomes the x axis, the median slope of the lines is taken away. Runs of lines
   that go across that way, such as a vertical title on a level page, are ordered by themselves and stay together.
2. A gutter is looked for: an upright strip of white with lines on both sides, between two boxes that cross it. White
   runs down through tables and receipts, too; so it is a gutter only where it parts columns of running text: their
   lines stand close and mostly fill the column.
3. The tallest gutter parts the region into what is above it, its left side, its right side, and what is below it, each
   of which is looked at likewise.
4. Where there is no gutter, boxes that stand side by side are one row, and rows are read from the top.

O(n²) at worst, in NumPy: 1000 lines take some 30 ms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .words import is_ideograph

_Floats = npt.NDArray[np.float64]
_Places = npt.NDArray[np.intp]
Row = tuple[int, ...]
Block = tuple[Row, ...]

# Lengths are in heights of a line, as detected; that is some 1.4 times its font size.
_LEAST_GUTTER = 0.2
_SAME_ROW = 0.35  # between the middles of two lines of a row, where they come nearest
_HALF_OFF = 0.75  # between the middles of rows that are one, since one of its cells has two lines
_OVERLAP = 0.8  # by which boxes that stand beside each other overlap at most: they are detected with a margin
_SAME_SIZE = 2.5  # ratio of heights up to which two lines can be a row
_WORD_GAP = 0.6  # up to it, pieces of a row are of one column
_COLUMN = 6.0  # the least width of a column of running text
_FULL = 0.8  # of the way to what is on its right: a line that fills its column
_MOSTLY = 0.55  # of the lines of running text fill their column; the others end paragraphs
_LEADING = 2.5  # the most from line to line of running text
_FEW = 4  # fewer lines than these are no column
_ALIGNED = 0.25  # between the beginnings of two lines that begin alike
_FIRST_LINE = 0.6  # from the top of a high box to where the middle of its first line would be, at most
_APART = 2.5  # between the middles of a running header and of the text below
_MOST_CANDIDATES = 48


@dataclass(frozen=True)
class Layout:
    """Blocks of rows of lines, by the lines' numbers; every line is in it once."""

    blocks: tuple[Block, ...]

    @property
    def order(self) -> list[int]:
        """The lines' numbers as they are read."""
        return [line for block in self.blocks for row in block for line in row]

    def text(self, texts: Sequence[str]) -> str:
        """The page's text: a row to a line, an empty line between blocks. Lines of a row are joined by a space, but
        for scripts that are written without."""
        blocks = []
        for block in self.blocks:
            rows = [_joined([texts[line].strip() for line in row]) for row in block]
            blocks.append("\n".join(row for row in rows if row))
        return "\n\n".join(block for block in blocks if block)


def layout(quads: npt.NDArray[np.floating[Any]], turns: Sequence[int]) -> Layout:
    """The layout of a page.

    `quads` is [n, 4, 2], pixels, clockwise; `turns` says of each where its text begins: by how many quarters the quad
    has to be turned counter-clockwise to be read (`Crop.quarter_turns`).
    """
    if not len(quads):
        return Layout(())
    return Layout(tuple(_blocks(np.asarray(quads, np.float64), np.asarray(turns))))


def _joined(pieces: Sequence[str]) -> str:
    text = ""
    for piece in pieces:
        if text and piece and not (_is_unspaced(text[-1]) and _is_unspaced(piece[0])):
            text += " "
        text += piece
    return text


def _is_unspaced(character: str) -> bool:
    """Whether a character is of a script that sets no spaces: Korean does."""
    return is_ideograph(character) and not "\uac00" <= character <= "\ud7af"


def _blocks(quads: _Floats, turns: _Places) -> list[Block]:
    begin, end = _ends(quads, turns)
    way = end - begin
    length = np.maximum(np.linalg.norm(way, axis=1), 1e-6)
    height = np.maximum(_areas(quads) / length, 1.0)
    angle = np.degrees(np.arctan2(way[:, 1], way[:, 0]))
    quarter = np.round(angle / 90).astype(int) % 4  # rightwards, downwards, leftwards, upwards

    characters = np.bincount(quarter, length / height, minlength=4)
    axis = int(characters[1] + characters[3] > characters[0] + characters[2])
    along = quarter % 2 == axis
    weight = (length / height)[along] ** 2  # a short line's slope is guesswork
    slope = _weighted_median((angle[along] - 90 * axis + 90) % 180 - 90, weight)
    turned = _rotation(90 * (axis + 2 * int(characters[axis + 2] > characters[axis])) + slope)
    quads, begin, end = quads @ turned, begin @ turned, end @ turned

    lines = np.flatnonzero(along)
    backwards = (begin[:, 0] > end[:, 0])[:, None]  # a line that the classifier took for turned
    begin, end = np.where(backwards, end, begin), np.where(backwards, begin, end)
    boxes = [_Box.of_line(begin[line], end[line], height[line], ((int(line),),)) for line in lines]
    for run in _runs(quads, np.flatnonzero(~along), height):
        rows = [tuple(int(run[line]) for line in row) for block in _blocks(quads[run], turns[run]) for row in block]
        boxes.append(_Box.around(quads[run], tuple(rows)))
    return _Page(boxes).blocks()


def _ends(quads: _Floats, turns: _Places) -> tuple[_Floats, _Floats]:
    """Where texts begin and end, [n, 2] each: the middles of two sides of their quads."""
    middles = (quads + np.roll(quads, -1, axis=1)) / 2  # of the top, the right, the bottom and the left
    every = np.arange(len(quads))
    return middles[every, (turns + 3) % 4], middles[every, (turns + 1) % 4]


def _areas(quads: _Floats) -> _Floats:
    one, other = quads[:, 2] - quads[:, 0], quads[:, 3] - quads[:, 1]
    return np.abs(one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]) / 2


def _weighted_median(values: _Floats, weights: _Floats) -> float:
    order = np.argsort(values)
    return float(values[order][np.searchsorted(np.cumsum(weights[order]), weights.sum() / 2)])


def _rotation(degrees: float) -> _Floats:
    """Times a point, as a row, on its right: what runs `degrees` clockwise from level runs rightwards."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[cosine, -sine], [sine, cosine]])


def _runs(quads: _Floats, lines: _Places, height: _Floats) -> list[_Places]:
    """The lines in groups of neighbours, no farther from each other than a line is high."""
    low, high = quads[lines].min(axis=1), quads[lines].max(axis=1)
    reach = height[lines]
    near = np.ones((len(lines), len(lines)), bool)
    for side in (0, 1):
        gap = np.maximum(low[:, None, side], low[None, :, side]) - np.minimum(high[:, None, side], high[None, :, side])
        near &= gap < np.minimum(reach[:, None], reach[None, :])
    runs, left = [], np.ones(len(lines), bool)
    for line in range(len(lines)):
        if left[line]:
            run, front = np.zeros(len(lines), bool), near[line]
            while front.any():
                run |= front
                front = near[front].any(axis=0) & ~run
            left &= ~run
            runs.append(lines[run])
    return runs


@dataclass(frozen=True)
class _Box:
    """A line, or a run of lines that stay together, on a level page: from where to where it reaches, how high it is,
    and where the middle of its height is at its beginning and its end."""

    left: float
    right: float
    height: float
    first: float
    last: float
    rows: tuple[Row, ...]

    @classmethod
    def of_line(cls, begin: _Floats, end: _Floats, height: float, rows: tuple[Row, ...]) -> _Box:
        return cls(begin[0], end[0], height, begin[1], end[1], rows)

    @classmethod
    def around(cls, quads: _Floats, rows: tuple[Row, ...]) -> _Box:
        low, high = quads.min(axis=(0, 1)), quads.max(axis=(0, 1))
        middle = (low[1] + high[1]) / 2
        return cls(low[0], high[0], high[1] - low[1], middle, middle, rows)


class _Page:
    """The boxes of a level page. A region of it is an array of their numbers."""

    def __init__(self, boxes: list[_Box]) -> None:
        self._rows = [box.rows for box in boxes]
        self._left, self._right, self._height, self._first, self._last = (
            np.array([getattr(box, name) for box in boxes]) for name in ("left", "right", "height", "first", "last")
        )
        self._middle = (self._first + self._last) / 2
        least = np.minimum.outer(self._height, self._height)
        off = np.abs(self._last[:, None] - self._first[None, :])
        follows = (self._left[None, :] >= self._right[:, None] - _OVERLAP * least) & ~np.eye(len(boxes), dtype=bool)
        follows &= self._left[None, :] > self._left[:, None]
        same_size = np.maximum.outer(self._height, self._height) <= _SAME_SIZE * least
        # Its neighbour in the row, if that has it for a neighbour, too; and the nearest of all that stand beside it.
        self._after = self._mutual(follows & same_size & (off < _SAME_ROW * least))
        touching = np.abs(self._middle[:, None] - self._middle[None, :]) < np.add.outer(self._height, self._height) / 2
        self._beside = self._nearest(follows & touching)
        self._before = np.full(len(boxes), -1)
        some = self._after >= 0
        self._before[self._after[some]] = np.flatnonzero(some)

    def blocks(self) -> list[Block]:
        return [block for block in self._cut(np.arange(len(self._left))) if block]

    def _nearest(self, candidates: npt.NDArray[np.bool_]) -> _Places:
        """The leftmost candidate of each row of the matrix, -1 where there is none."""
        place = np.where(candidates, self._left[None, :], np.inf).argmin(axis=1)
        return np.where(candidates.any(axis=1), place, -1)

    def _mutual(self, candidates: npt.NDArray[np.bool_]) -> _Places:
        after = self._nearest(candidates)
        before = np.where(candidates, self._right[:, None], -np.inf).argmax(axis=0)
        agreed = (after >= 0) & (before[after] == np.arange(len(after)))
        return np.where(agreed, after, -1)

    def _cut(self, region: _Places) -> list[Block]:
        if not len(region):
            return []
        parts = self._gutter(region)
        return [self._leaf(region)] if parts is None else [block for part in parts for block in self._cut(part)]

    def _leaf(self, region: _Places) -> Block:
        """The rows of a region, from the top."""
        rows: list[Row] = []
        for band in self._bands(self._chains(region, np.inf)):
            if len(band) == 1:  # a run of lines that goes across
                rows += self._rows[band[0]]
            else:
                rows.append(tuple(line for box in band for row in self._rows[box] for line in row))
        return tuple(rows)

    def _bands(self, chains: list[_Places]) -> list[_Places]:
        """Chains of boxes that are one row, from left to right: cells of which one has two lines stand half a line off
        each other. The lines of a cell follow each other."""
        # What is much higher than its neighbours is read with the first of them.
        em = np.median(self._height[np.concatenate(chains)])
        line = np.minimum(self._middle, self._middle - self._height / 2 + _FIRST_LINE * em)
        chains = sorted(chains, key=lambda chain: float(line[chain].mean()))
        bands: list[list[_Places]] = []
        for chain in chains:
            if bands and self._one_row(bands[-1][-1], chain):
                bands[-1].append(chain)
            else:
                bands.append([chain])
        return [band[0] if len(band) == 1 else self._by_cells(np.concatenate(band)) for band in bands]

    def _one_row(self, upper: _Places, lower: _Places) -> bool:
        least = min(self._height[upper].min(), self._height[lower].min())
        apart = np.abs(self._middle[upper].mean() - self._middle[lower].mean())
        overlap = np.minimum.outer(self._right[upper], self._right[lower]) - np.maximum.outer(
            self._left[upper], self._left[lower]
        )
        return bool(apart < _HALF_OFF * least and overlap.max() < _OVERLAP * least)

    def _by_cells(self, boxes: _Places) -> _Places:
        boxes = boxes[np.argsort(self._left[boxes], kind="stable")]
        reach = np.maximum.accumulate(self._right[boxes] - _OVERLAP * self._height[boxes])
        cell = np.concatenate([[0], np.cumsum(self._left[boxes[1:]] >= reach[:-1])])
        return boxes[np.lexsort((self._middle[boxes], cell))]

    def _mask(self, region: _Places) -> npt.NDArray[np.bool_]:
        """Of every box whether it is in a region; what comes last is of -1, no box."""
        mask = np.zeros(len(self._left) + 1, bool)
        mask[region] = True
        return mask

    def _chains(self, region: _Places, most_gap: float) -> list[_Places]:
        """The boxes of a region that follow each other in a row, with gaps up to so many heights."""
        mask, after = self._mask(region), self._after
        inside = mask[:-1]
        linked = inside & mask[after]
        linked &= self._left[after] - self._right <= most_gap * np.minimum(self._height, self._height[after])
        heads = mask.copy()
        heads[after[linked]] = False
        chains = []
        for head in np.flatnonzero(heads):
            chain = [head]
            while linked[chain[-1]]:
                chain.append(after[chain[-1]])
            chains.append(np.array(chain))
        return chains

    def _gutter(self, region: _Places) -> tuple[_Places, _Places, _Places, _Places] | None:
        """What is above, left of, right of and below the tallest gutter; None where there is none."""
        em = float(np.median(self._height[region]))
        beside = self._beside[region]
        paired = self._mask(region)[beside]
        ends, starts = self._right[region[paired]], self._left[beside[paired]]
        wide = starts - ends > _LEAST_GUTTER * em
        ends, starts = ends[wide], starts[wide]
        found = [parts for x in self._candidates(ends, starts, em) for parts in self._strips(region, x, em)]
        for parts in sorted(found, key=lambda parts: -len(parts[1]) - len(parts[2])):
            if self._parts_columns(parts[1], parts[2], em):
                return self._without_margins(parts, em)
        return None

    def _without_margins(
        self, parts: tuple[_Places, _Places, _Places, _Places], em: float
    ) -> tuple[_Places, _Places, _Places, _Places]:
        """Lines that stand apart at the ends of a gutter, on both sides of it, are no part of the columns: a page's
        header, or its footer."""
        above, west, east, below = parts
        both = np.concatenate([west, east])
        both = both[np.argsort(self._middle[both], kind="stable")]
        steps = np.flatnonzero(np.diff(self._middle[both]) > _APART * em) + 1
        margins = (
            [
                part if np.isin(part, west).sum() == 1 and np.isin(part, east).sum() == 1 else part[:0]
                for part in (both[: steps[0]], both[steps[-1] :])
            ]
            if len(steps)
            else [both[:0], both[:0]]
        )
        aside = np.concatenate(margins)
        return (
            np.concatenate([above, margins[0]]),
            west[~np.isin(west, aside)],
            east[~np.isin(east, aside)],
            np.concatenate([margins[1], below]),
        )

    def _candidates(self, ends: _Floats, starts: _Floats, em: float) -> list[float]:
        """Where gutters may be, by the gaps between boxes, the likeliest first: beside what many lines begin or end at,
        and in the middle of gaps."""
        half = _LEAST_GUTTER * em / 2
        found: list[tuple[int, float]] = []
        for places, pick, shift in ((starts, min, -half), (ends, max, half), ((starts + ends) / 2, np.median, 0.0)):
            level = np.sort(places)
            groups = np.split(level, np.flatnonzero(np.diff(level) > _ALIGNED * em) + 1)
            found += [(len(group), float(pick(group)) + shift) for group in groups if len(group)]
        found.sort(key=lambda candidate: -candidate[0])
        return [x for _, x in found[:_MOST_CANDIDATES]]

    def _strips(self, region: _Places, x: float, em: float) -> list[tuple[_Places, _Places, _Places, _Places]]:
        """The regions around each white strip at x that runs between two boxes that cross it."""
        half = _LEAST_GUTTER * em / 2
        left, right, middle = self._left[region], self._right[region], self._middle[region]
        crosses = (left < x + half) & (right > x - half)
        bounds = np.sort(middle[crosses])
        strip = np.searchsorted(bounds, middle)
        strips = []
        for number in np.unique(strip[~crosses]):
            within = (strip == number) & ~crosses
            west, east = within & (right <= x), within & (left >= x)
            if west.sum() >= 2 and east.sum() >= 2:
                above = ~within & (strip <= number) & (middle < middle[within].min())
                below = ~within & ~above
                strips.append((region[above], region[west], region[east], region[below]))
        return strips

    def _parts_columns(self, west: _Places, east: _Places, em: float) -> bool:
        """Whether a strip parts columns of text, and not the cells of a table or a receipt."""
        in_west, in_east = self._mask(west), self._mask(east)
        last = [chain for chain in self._chains(west, _WORD_GAP) if not in_west[self._after[chain[-1]]]]
        first = [chain for chain in self._chains(east, _WORD_GAP) if not in_east[self._before[chain[0]]]]
        return self._is_running(last, em) and self._is_running(first, em)

    def _is_running(self, chains: list[_Places], em: float) -> bool:
        """Whether lines, made of pieces of rows, stand close and mostly reach to what is on their right."""
        if len(chains) < _FEW:
            return False
        heads, tails = (np.array([chain[end] for chain in chains]) for end in (0, -1))
        width = self._right[tails] - self._left[heads]
        ends = self._right[tails]
        beside = np.where(self._beside[tails] >= 0, self._left[self._beside[tails]], np.inf)
        reach = np.minimum(beside, np.maximum(ends, np.quantile(ends, 0.8)))
        full = width >= _FULL * (reach - self._left[heads])
        leading = np.ptp(self._middle[heads]) / (len(chains) - 1)
        return bool(np.median(width) >= _COLUMN * em and leading <= _LEADING * em and full.mean() >= _MOSTLY)
