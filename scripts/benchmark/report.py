"""The results as a table for people, and as JSON for programs."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from scripts.benchmark.contest import Contestant, Results
from scripts.benchmark.errors import TooFewRoundsError
from scripts.benchmark.pictures import Picture
from scripts.benchmark.samples import Series, ratio
from scripts.benchmark.score import score, total

_NONE = "-"


@dataclass(frozen=True)
class Comparison:
    """How many times as fast `one` is to be compared with `other`."""

    one: Contestant
    other: Contestant


def accuracy(series: Series, pictures: Sequence[Picture]) -> float | None:
    """F1_sm over the pictures that were read, all of them; None where readings were not kept."""
    readings = series.readings
    if not readings or any(picture.name not in readings for picture in pictures):
        return None
    return total(score(picture.truth, readings[picture.name]) for picture in pictures).f1


def table(rows: Sequence[Sequence[str]]) -> str:
    """Markdown; the first row is the head, and what begins with a digit, a sign or a dash stands on the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    right = [all(row[column][:1] in "0123456789+-±" for row in rows[1:]) for column in range(len(rows[0]))]

    def line(cells: Sequence[str]) -> str:
        padded = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cells, widths, right, strict=True))
        return f"| {' | '.join(padded)} |"

    rule = [f"{'-' * (w - 1)}{':' if r else '-'}" for w, r in zip(widths, right, strict=True)]
    return "\n".join([line(rows[0]), line(rule), *map(line, rows[1:])])


def speeds(results: Results, accuracies: Mapping[Contestant, float | None]) -> str:
    """A row for each contestant; below, who failed and who is not there."""
    head = (
        "profile",
        "contestant",
        "precision",
        "asked",
        "pages/s",
        "± %",
        "p50 s",
        "p95 s",
        "p99 s",
        "F1_sm",
        "rounds",
    )
    rows = [head, *(_speed(contestant, results, accuracies[contestant]) for contestant in _sorted(results.series))]
    return "\n".join([table(rows), *_failures(results)])


def _speed(contestant: Contestant, results: Results, f1: float | None) -> tuple[str, ...]:
    series = results.series[contestant]
    timed = any(sample.latencies for sample in series.samples.values())
    return (
        contestant.profile,
        contestant.name,
        contestant.precision,
        contestant.way,
        f"{series.throughput:.2f}",
        f"{50 * series.spread:.0f}",
        *(f"{series.latency(percent):.2f}" if timed else _NONE for percent in (50, 95, 99)),
        _NONE if f1 is None else f"{f1:.4f}",
        str(len(series.samples)),
    )


def _sorted(contestants: Mapping[Contestant, Any]) -> list[Contestant]:
    """By profile; within one in the order in which they were met."""
    profiles = list(dict.fromkeys(contestant.profile for contestant in contestants))
    return sorted(contestants, key=lambda contestant: profiles.index(contestant.profile))


def _failures(results: Results) -> Iterator[str]:
    for contestant, reasons in results.failures.items():
        yield f"\nFailed: {contestant}"
        yield from (f"  {line}" for line in "\n".join(reasons).splitlines())
    for contestant, reason in results.absent.items():
        yield f"\nNot there: {contestant}: {reason}"


def ratios(results: Results, comparisons: Sequence[Comparison]) -> str:
    """A row for each comparison that can be made; why the others cannot, below."""
    rows = [("profile", "this server", "against", "times as fast", "rounds' range")]
    refused = []
    for comparison in comparisons:
        one, other = comparison.one, comparison.other
        if one not in results.series or other not in results.series:
            continue  # stands among the failures
        try:
            found = ratio(results.series[one], results.series[other])
        except TooFewRoundsError as error:
            refused.append(str(error))
            continue
        ours, peer = f"{one.precision}, {one.way}", f"{other.name}, {other.precision}, {other.way}"
        rows.append((one.profile, ours, peer, f"{found.median:.2f}", f"{found.least:.2f} to {found.greatest:.2f}"))
    reasons = [f"No ratio for {refused.count(reason)} comparisons: {reason}." for reason in dict.fromkeys(refused)]
    return "\n".join([table(rows)] * (len(rows) > 1) + reasons)


def models(results: Results) -> str:
    """What Triton's models did, of the contestants for which that is known; empty where there are none."""
    head = ("asked", "precision", "model", "requests a page", "rows a run", "requests a run", "queue ms", "model ms")
    rows = [head]
    for contestant, series in results.series.items():
        pages = sum(sample.pages for sample in series.samples.values())
        for model, done in series.models.items():
            rows.append(
                (
                    f"{contestant.profile}, {contestant.way}",
                    contestant.precision,
                    model,
                    f"{done.requests / pages:.1f}",
                    f"{done.rows / done.runs:.1f}",
                    f"{done.requests / done.runs:.2f}",
                    f"{1000 * done.queue_seconds / done.requests:.1f}",
                    f"{1000 * done.compute_seconds / done.requests:.1f}",
                )
            )
    return table(rows) if len(rows) > 1 else ""


def noise(results: Results) -> str:
    """One sentence."""
    spreads = [series.spread for series in results.series.values()]
    if not spreads:
        return "Nothing was measured."
    if results.rounds == 1:
        return "One round: how noisy it was cannot be told."
    return (
        f"{results.rounds} interleaved rounds. Between a contestant's rounds, pages/s differed by ±"
        f"{50 * statistics.median(spreads):.0f} % in the median, by ±{50 * max(spreads):.0f} % at most "
        "((greatest - least) / median / 2)."
    )


def as_json(
    results: Results, accuracies: Mapping[Contestant, float | None], comparisons: Sequence[Comparison]
) -> dict[str, Any]:
    """Everything that the tables show, and the rounds behind it."""
    return {
        "rounds": results.rounds,
        "contestants": [
            {
                **asdict(contestant),
                "pages_per_second": series.throughput,
                "spread": series.spread,
                "f1_sm": accuracies[contestant],
                "models": {model: asdict(done) for model, done in series.models.items()},
                "rounds": {
                    number: {"pages": sample.pages, "seconds": sample.seconds, "latencies": sample.latencies}
                    for number, sample in series.samples.items()
                },
            }
            for contestant, series in results.series.items()
        ],
        "ratios": list(_ratios_json(results, comparisons)),
        "failures": [{**asdict(contestant), "reasons": reasons} for contestant, reasons in results.failures.items()],
        "absent": [{**asdict(contestant), "reason": reason} for contestant, reason in results.absent.items()],
    }


def _ratios_json(results: Results, comparisons: Sequence[Comparison]) -> Iterator[dict[str, Any]]:
    for comparison in comparisons:
        try:
            found = ratio(results.series[comparison.one], results.series[comparison.other])
        except (KeyError, TooFewRoundsError):
            continue
        yield {"one": asdict(comparison.one), "other": asdict(comparison.other), **asdict(found)}
