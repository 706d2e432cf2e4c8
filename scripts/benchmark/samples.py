"""What was measured, and what may be concluded from it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from scripts.benchmark.errors import TooFewRoundsError
from scripts.benchmark.pictures import Line
from scripts.benchmark.triton_metrics import ModelStatistics

LEAST_ROUNDS = 5


@dataclass(frozen=True)
class Sample:
    """One round of one contestant.

    Attributes:
        pages: how many were read.
        seconds: how long that took, from the first sent to the last answered.
        latencies: seconds of each page.
        readings: what was read, by the name of the picture.
        sent: when each page was sent, in seconds of one clock.
        models: what Triton's models did for it.
    """

    pages: int
    seconds: float
    latencies: tuple[float, ...] = ()
    readings: Mapping[str, Sequence[Line]] = field(default_factory=dict, repr=False)
    sent: tuple[float, ...] = ()
    models: Mapping[str, ModelStatistics] = field(default_factory=dict)

    @property
    def throughput(self) -> float:
        """Pages a second."""
        return self.pages / self.seconds


@dataclass(frozen=True)
class Ratio:
    """Of two throughputs of the same rounds: the median of the rounds' ratios, the least and the greatest."""

    median: float
    least: float
    greatest: float


@dataclass(frozen=True)
class Series:
    """All rounds of one contestant, by the number of the round."""

    samples: Mapping[int, Sample]

    @property
    def throughput(self) -> float:
        """Pages a second: the median of the rounds."""
        return statistics.median(sample.throughput for sample in self.samples.values())

    @property
    def spread(self) -> float:
        """How noisy the rounds were: (greatest - least) / median of their throughputs."""
        throughputs = [sample.throughput for sample in self.samples.values()]
        return (max(throughputs) - min(throughputs)) / statistics.median(throughputs)

    def latency(self, percent: float) -> float:
        """That percentile of the seconds of all pages of all rounds."""
        return percentile([seconds for sample in self.samples.values() for seconds in sample.latencies], percent)

    @property
    def readings(self) -> dict[str, Sequence[Line]]:
        """What was read, by the name of the picture."""
        return {name: lines for sample in self.samples.values() for name, lines in sample.readings.items()}

    @property
    def models(self) -> dict[str, ModelStatistics]:
        """What Triton's models did in all rounds."""
        found: dict[str, ModelStatistics] = {}
        for sample in self.samples.values():
            for model, done in sample.models.items():
                found[model] = found[model] + done if model in found else done
        return found


def percentile(values: Sequence[float], percent: float) -> float:
    """The least value that at least so many percent of the values do not exceed (nearest rank)."""
    return sorted(values)[max(0, math.ceil(percent / 100 * len(values)) - 1)]


def ratio(one: Series, other: Series) -> Ratio:
    """How many times as fast `one` is, round by round.

    Raises:
        TooFewRoundsError: they have fewer than five rounds in common.
    """
    common = sorted(one.samples.keys() & other.samples.keys())
    if len(common) < LEAST_ROUNDS:
        raise TooFewRoundsError(f"a ratio takes {LEAST_ROUNDS} interleaved rounds; there are {len(common)}")
    ratios = [one.samples[number].throughput / other.samples[number].throughput for number in common]
    return Ratio(statistics.median(ratios), min(ratios), max(ratios))


def shares(sample: Sample) -> list[float]:
    """Of each page the time that its answer took, relative to its share of the queue.

    That is what it and the pages that were under way when it was sent take at the sample's throughput.
    """
    answered = [sent + latency for sent, latency in zip(sample.sent, sample.latencies, strict=True)]
    before = [
        sum(other <= sent < end for other, end in zip(sample.sent, answered, strict=True)) for sent in sample.sent
    ]
    return [latency * sample.throughput / pages for latency, pages in zip(sample.latencies, before, strict=True)]
