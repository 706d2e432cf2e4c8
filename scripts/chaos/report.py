"""Tables for people, in Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from scripts.chaos.account import Outcome
from scripts.chaos.fuzz import Fuzz
from scripts.chaos.soak import Soak
from scripts.chaos.trials import Result

_MIB = 1 << 20
# Characters of what went wrong; what a server has printed can be pages.
_LINE = 240


def table(results: Iterable[Result]) -> str:
    """A row for each trial."""
    names = ("fault", "sent", *(outcome.value for outcome in Outcome), "slowest", "back after", "")
    return "\n".join([*_head(names), *map(trial, results)])


def trial(result: Result) -> str:
    """The row of one trial."""
    recovered = "–" if result.recovered is None else f"{result.recovered:.1f} s" if result.recovered else "never away"
    remark = "; ".join([*map(_broken, result.problems), *([_line(result.note)] if result.note else [])])
    counts = [result.tally.counts[outcome] for outcome in Outcome]
    return _row([result.title, result.tally.sent, *counts, f"{result.tally.slowest:.1f} s", recovered, remark])


def soak(result: Soak) -> str:
    """A row for each process, and what is to be said of all."""
    names = ("process", "MiB after a sixth", "MiB at the end", "growth", "most MiB", "files open", "at the end")
    rows = [
        _row(
            [
                name,
                f"{before / _MIB:.1f}",
                f"{result.late.memory.get(name, 0) / _MIB:.1f}",
                f"{result.late.memory.get(name, 0) / before - 1:+.1%}",
                f"{result.most.get(name, 0) / _MIB:.1f}",
                result.early.descriptors[name],
                result.late.descriptors.get(name, 0),
            ]
        )
        for name, before in result.early.memory.items()
    ]
    counts = ", ".join(f"{count} {outcome.value}" for outcome, count in result.tally.counts.items())
    lines = [
        f"{result.minutes:g} minutes, {result.tally.sent} requests: {counts}; the slowest took "
        f"{result.tally.slowest:.1f} s.",
        f"Regions of shared memory: {result.early.regions} after a sixth, {result.late.regions} at the end. "
        f"Temporary files at the end: {len(result.late.files)}. Left behind: {len(result.left)}.",
        *map(_broken, result.problems),
        *(f"{count}x {_line(what)}" for what, count in result.failures.items()),
    ]
    return "\n".join([*_head(names), *rows, "", *lines])


def fuzz(result: Fuzz) -> str:
    """What was sent, what came back, and each file that was not dealt with as it should be."""
    statuses = ", ".join(f"{count}x {status}" for status, count in result.statuses.items())
    grown = ", ".join(f"{name} {size / _MIB:+.0f}" for name, size in result.growth.items())
    return "\n".join(
        [
            f"{result.minutes:g} minutes, {result.sent} files, seed {result.seed}: {statuses}; the slowest answer took "
            f"{result.slowest:.1f} s. Memory in MiB: {grown}.",
            *(_broken(f"{find.call} {find.file}: {find.what}") for find in result.finds),
        ]
    )


def _broken(problem: str) -> str:
    return f"NOT AS PROMISED: {_line(problem)}"


def _line(text: str) -> str:
    """On one line, and no longer than that of a table can be."""
    return textwrap.shorten(text, _LINE, placeholder=" …")


def _head(names: Sequence[str]) -> list[str]:
    return [_row(names), _row(["---", *["---:"] * (len(names) - 2), "---"])]


def _row(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"
