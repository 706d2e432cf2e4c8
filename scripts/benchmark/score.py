"""How well a picture was read: F1 of characters, tolerant of lines that were split or merged (F1_sm).

Texts are compared without blanks, in the normal form NFKC. Lines are paired one to one: where both have quads, those
that overlap with an intersection over union of 0.5 or more, else those with the most characters in common (Dice
coefficient 0.3 or more), best first. Of a pair as many characters are matched as their longest common subsequence has.
What is then left over may be a part of a line that was cut in two, or the whole of which the truth has the parts: a
line without a partner may claim characters that are still uncovered in one line of the other side. It does where it
lies in that line (half its area) and half its characters are there, or, where quads are missing, 80 % of them.

Recall is matched characters ÷ characters of the truth, precision matched ÷ read, over all pictures together; F1 is
their harmonic mean.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from rapidfuzz.distance import LCSseq

from scripts.benchmark.pictures import Line, Point, Truth

_BLANKS = re.compile(r"\s+")
_OVERLAP = 0.5  # intersection over union of two lines that are one
_ALIKE = 0.3  # Dice coefficient of two texts that may be one
_INSIDE = 0.5  # share of a quad's area in another that it lies in
_CLAIM_INSIDE, _CLAIM = 0.5, 0.8  # share of its characters that a claim has to find


@dataclass(frozen=True)
class Counts:
    """Characters: matched, of the truth, and read."""

    matched: int = 0
    true: int = 0
    read: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.matched + other.matched, self.true + other.true, self.read + other.read)

    @property
    def f1(self) -> float:
        """0 to 1; 0 where nothing was matched."""
        if not self.matched:
            return 0.0
        recall, precision = min(1.0, self.matched / self.true), min(1.0, self.matched / self.read)
        return 2 * recall * precision / (recall + precision)


def total(counts: Iterable[Counts]) -> Counts:
    """Those of all pictures together."""
    return sum(counts, Counts())


def score(truth: Truth, lines: Sequence[Line]) -> Counts:
    """Compare what was read with what stands there."""
    ignored = [*truth.ignored, *(line.quad for line in truth.lines if line.ignore and line.quad)]
    true = _normal([line for line in truth.lines if not line.ignore], truth.fold_case)
    read = _normal([line for line in lines if not _lies_in_any(line, ignored)], truth.fold_case)
    pairs = _pairs(true, read)
    matched = sum(LCSseq.similarity(true[t].text, read[r].text) for t, r in pairs.items())
    covered_true = {t: _common(true[t].text, read[r].text) for t, r in pairs.items()}
    covered_read = {r: _common(read[r].text, true[t].text) for t, r in pairs.items()}
    partners = set(pairs.values())
    matched += _claims([line for r, line in enumerate(read) if r not in partners], true, covered_true)
    matched += _claims([line for t, line in enumerate(true) if not covered_true.get(t)], read, covered_read)
    return Counts(matched, sum(len(line.text) for line in true), sum(len(line.text) for line in read))


def _normal(lines: Sequence[Line], fold_case: bool) -> list[Line]:
    """The lines that have characters, as they are compared."""
    normal = []
    for line in lines:
        text = _BLANKS.sub("", unicodedata.normalize("NFKC", line.text))
        if text:
            normal.append(Line(text.casefold() if fold_case else text, line.quad))
    return normal


def _lies_in_any(line: Line, regions: Sequence[tuple[Point, ...]]) -> bool:
    return line.quad is not None and any(_share(line.quad, region) >= _INSIDE for region in regions)


def _pairs(true: Sequence[Line], read: Sequence[Line]) -> dict[int, int]:
    """Places of lines that are the same one, those of the truth first."""
    candidates = [
        (likeness, t, r)
        for t, truth in enumerate(true)
        for r, line in enumerate(read)
        if (likeness := _likeness(truth, line, abs(t / len(true) - r / len(read)))) is not None
    ]
    pairs: dict[int, int] = {}
    taken = set()
    for _, t, r in sorted(candidates, reverse=True):
        if t not in pairs and r not in taken:
            pairs[t] = r
            taken.add(r)
    return pairs


def _likeness(true: Line, read: Line, distance: float) -> float | None:
    """None where they cannot be the same. Among equals, the same text, a long one, and a near one (`distance`, of
    their places on the page, 0 to 1) go first."""
    if true.quad and read.quad:
        overlap = _intersection_over_union(true.quad, read.quad)
        return overlap + 1e-3 * (true.text == read.text) if overlap >= _OVERLAP else None
    dice = 2 * LCSseq.similarity(true.text, read.text) / (len(true.text) + len(read.text))
    return dice + 1e-3 * min(len(true.text), 50) - 1e-4 * distance if dice >= _ALIKE else None


def _claims(claimants: Sequence[Line], lines: Sequence[Line], covered: dict[int, set[int]]) -> int:
    """Characters that lines without a partner find in lines of the other side; `covered`, the places of the characters
    that are taken, grows. The longest goes first."""
    gained = 0
    for claimant in sorted(claimants, key=lambda line: -len(line.text)):
        best, place, characters = 0, -1, set[int]()
        for candidate, line in enumerate(lines):
            inside = _share(claimant.quad, line.quad) >= _INSIDE if claimant.quad and line.quad else None
            if inside is False:
                continue
            free = [i for i in range(len(line.text)) if i not in covered.get(candidate, ())]
            rest = "".join(line.text[i] for i in free)
            found = LCSseq.similarity(claimant.text, rest)
            if found > best and found >= (_CLAIM_INSIDE if inside else _CLAIM) * len(claimant.text):
                best, place = found, candidate
                characters = {free[i] for i in _common(rest, claimant.text)}
        if best:
            gained += best
            covered.setdefault(place, set()).update(characters)
    return gained


def _common(text: str, other: str) -> set[int]:
    """Places in `text` of a longest common subsequence."""
    return {
        place
        for operation in LCSseq.opcodes(text, other)
        if operation.tag == "equal"
        for place in range(operation.src_start, operation.src_end)
    }


def _share(inner: Sequence[Point], outer: Sequence[Point]) -> float:
    """Of the area of `inner`, the part in `outer`."""
    area = _area(inner)
    return _intersection(inner, outer) / area if area else 0.0


def _intersection_over_union(one: Sequence[Point], other: Sequence[Point]) -> float:
    intersection = _intersection(one, other)
    return intersection / (_area(one) + _area(other) - intersection) if intersection else 0.0


def _intersection(one: Sequence[Point], other: Sequence[Point]) -> float:
    a, b = np.array(one, np.float32), np.array(other, np.float32)
    if (a.max(0) < b.min(0)).any() or (b.max(0) < a.min(0)).any():
        return 0.0
    return float(cv2.intersectConvexConvex(a, b)[0])


def _area(quad: Sequence[Point]) -> float:
    return float(cv2.contourArea(np.array(quad, np.float32)))
