"""One fault, one server, and what its clients saw of it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scripts.chaos.account import Outcome, Tally, in_hand, recovery
from scripts.chaos.calls import Answer, Case
from scripts.chaos.faults import Broken, Fault, Scene
from scripts.chaos.load import Load
from scripts.launched import launched

CLIENTS = 8

# Seconds.
_BEFORE = 4.0
_AFTER = 3.0
_MOST = 90.0


@dataclass(frozen=True)
class Result:
    """What came of a trial.

    Attributes:
        fault: its name.
        title: for people.
        tally: of all requests, before, while and after it happened.
        in_hand: requests that were sent and not answered when it happened.
        recovered: seconds from its end until clients were served again; 0 where they always were, None where they
            never were.
        note: what there is to say besides.
        problems: what was not as promised.
        failures: what the clients got that was neither right nor a clear error, each with how often.
    """

    fault: str
    title: str
    tally: Tally
    in_hand: int
    recovered: float | None
    note: str
    problems: list[str]
    failures: dict[str, int]


async def tried(fault: Fault, answers: Mapping[Case, Answer], folder: Path) -> Result:
    """Start a server, keep load on it, let the fault happen, and wait until it has recovered."""
    with launched(folder / f"{fault.name}.log", within=fault.within, **fault.settings) as server:
        await asyncio.to_thread(server.wait_loaded)
        asked = {case: answer for case, answer in answers.items() if not fault.asked or case.call.name in fault.asked}
        load = Load(server.adapter_url, asked, CLIENTS)
        problems, note = [], ""
        async with load.running():
            await asyncio.sleep(_BEFORE)
            began = time.monotonic()
            try:
                note = await fault.happen(Scene(server, load))
            except Broken as broken:
                problems.append(str(broken))
            over = time.monotonic()
            if not fault.ends:
                await _served_again(load, over)
    records = load.records
    tally = Tally.of(records)
    recovered = None if fault.ends else recovery(records, over)
    open_then = in_hand(records, began)
    problems += _problems(fault, tally, open_then, recovered)
    unexpected = (Outcome.UNCLEAR, Outcome.LOST, Outcome.WRONG)
    failures = Counter(record.what for record in records if record.outcome in unexpected)
    return Result(fault.name, fault.title, tally, open_then, recovered, note, problems, dict(failures.most_common(5)))


async def _served_again(load: Load, over: float) -> None:
    """Wait until nothing has failed for a while."""
    while time.monotonic() - over < _MOST:
        await asyncio.sleep(_AFTER)
        recovered = recovery(load.records, over)
        failed = [record.ended for record in load.records if record.outcome is not Outcome.RIGHT]
        if recovered is not None and time.monotonic() - max(failed, default=0.0) > _AFTER:
            return


def _problems(fault: Fault, tally: Tally, open_then: int, recovered: float | None) -> list[str]:
    counts = tally.counts
    problems = []
    if counts[Outcome.WRONG]:
        problems.append("wrong answers")
    if counts[Outcome.UNCLEAR]:
        problems.append("errors that say nothing")
    if counts[Outcome.LOST] > (open_then if fault.cuts else 0):
        problems.append("requests lost")
    if not fault.ends:
        if counts[Outcome.REFUSED]:
            problems.append("connections refused")
        if recovered is None or recovered > fault.back:
            problems.append(f"not back within {fault.back:g} s")
    return problems
