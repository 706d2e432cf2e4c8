"""Contestants, and rounds in which each of them has its turn."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from scripts.benchmark.errors import BenchmarkError
from scripts.benchmark.samples import Sample, Series


@dataclass(frozen=True)
class Contestant:
    """A row of the table.

    Attributes:
        name: the software.
        profile: the weights that it reads with.
        precision: what its networks compute in.
        way: how it is asked.
    """

    name: str
    profile: str
    precision: str
    way: str

    def __str__(self) -> str:
        return f"{self.name}, {self.profile}, {self.precision}, {self.way}"


@dataclass(frozen=True)
class Turn:
    """What is measured in one go: `measure` gives a sample for each of the contestants."""

    contestants: Sequence[Contestant]
    measure: Callable[[], Sequence[Sample]]


@dataclass(frozen=True)
class Results:
    """What came of the rounds.

    Attributes:
        rounds: how many there were.
        series: the samples of each contestant that has some.
        failures: for each that failed, why, once for each time.
        absent: for each that could not take part by its nature, or this machine's, why.
    """

    rounds: int
    series: dict[Contestant, Series]
    failures: dict[Contestant, list[str]] = field(default_factory=dict)
    absent: dict[Contestant, str] = field(default_factory=dict)


def hold(turns: Sequence[Turn], rounds: int) -> Results:
    """Let each have its turn in every round, in an order that is turned from round to round.

    A turn that fails does not touch the others, and has another chance in the next round.
    """
    samples: dict[Contestant, dict[int, Sample]] = {}
    failures: dict[Contestant, list[str]] = {}
    for number in range(rounds):
        first = number * len(turns) // rounds
        for turn in (*turns[first:], *turns[:first]):
            began = time.perf_counter()
            try:
                measured = turn.measure()
            except Exception as error:  # whatever it is that other people's software does
                reason = str(error) if isinstance(error, BenchmarkError) else repr(error)
                for contestant in turn.contestants:
                    failures.setdefault(contestant, []).append(f"round {number + 1}: {reason}")
                    _say(f"round {number + 1} of {rounds}: {contestant}: failed: {reason}")
                continue
            for contestant, sample in zip(turn.contestants, measured, strict=True):
                samples.setdefault(contestant, {})[number] = sample
                _say(f"round {number + 1} of {rounds}: {contestant}: {sample.throughput:.2f} pages/s")
            _say(f"    ({time.perf_counter() - began:.1f} s)")
    return Results(rounds, {contestant: Series(found) for contestant, found in samples.items()}, failures)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
