"""A server at saturation for a long time, and whether anything of it grows or is left behind."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from scripts.chaos import processes
from scripts.chaos.account import Outcome, Tally
from scripts.chaos.calls import Call, Case
from scripts.chaos.load import Load, undisturbed
from scripts.chaos.material import Material
from scripts.launched import Launched, launched

# More than the adapter gives Triton at a time: there is always one waiting.
CLIENTS = 24
# How much more memory a process may hold in the end than after a sixth of the time.
GROWTH = 0.05

# Seconds until connections that were kept open are closed, and what was in hand is put away.
_REST = 8.0
_INTERVAL = 5.0
# Of all ways to send each file, one in so many is taken.
_THINNED = 3


@dataclass(frozen=True)
class Holdings:
    """What the server's processes hold while they have nothing to do.

    Attributes:
        pids: by name.
        memory: bytes by the process's name.
        descriptors: how many are open, by the process's name.
        regions: how many regions of shared memory there are.
        files: in the folder for temporary files.
    """

    pids: dict[str, int]
    memory: dict[str, int]
    descriptors: dict[str, int]
    regions: int
    files: list[str]


@dataclass(frozen=True)
class Soak:
    """What came of it.

    Attributes:
        minutes: under load.
        tally: of all requests.
        early: after a sixth of the time.
        late: at the end.
        most: bytes of memory that each process was seen to hold while it worked.
        left: files and regions of shared memory that were there when the server had been stopped.
        problems: what was not as promised.
        failures: what clients got that was not right, each with how often.
    """

    minutes: float
    tally: Tally
    early: Holdings
    late: Holdings
    most: dict[str, int]
    left: list[str]
    problems: list[str]
    failures: dict[str, int]


def mixed(materials: Sequence[Material], calls: Sequence[Call]) -> list[Case]:
    """Every file and every call, in some of their combinations."""
    return [
        Case(call, material)
        for number, material in enumerate(materials)
        for place, call in enumerate(call for call in calls if call.documents == material.is_pdf)
        if (number + place) % _THINNED == 0
    ]


async def soaked(minutes: float, cases: Sequence[Case], folder: Path) -> Soak:
    """Keep a server at saturation for so long."""
    temporary = folder / "tmp"
    temporary.mkdir()
    with launched(folder / "soak.log", TMPDIR=str(temporary)) as server:
        await asyncio.to_thread(server.wait_loaded)
        server.shared_memory()  # what its names begin with can be told only while it runs
        load = Load(server.adapter_url, await undisturbed(server.adapter_url, cases), CLIENTS)
        most: dict[str, int] = {}
        began = time.monotonic()
        # What a process keeps depends on the largest that it was given: when first looked at, each has been given all.
        instances = sum(name.startswith("ocr_ensemble ") for name in processes.named(server))
        await load.each_at_once(instances)
        await _saturated(load, server, max(0, began + minutes * 60 / 6 - time.monotonic()), most)
        early = _holdings(server, temporary)
        await _saturated(load, server, minutes * 60 * 5 / 6, most)
        late = _holdings(server, temporary)
    left = [*_names(temporary), *(path.name for path in server.shared_memory())]
    records = load.records
    tally = Tally.of(records)
    failures = Counter(record.what for record in records if record.outcome is not Outcome.RIGHT)
    return Soak(
        minutes,
        tally,
        early,
        late,
        most,
        left,
        problems(tally, early, late, left),
        dict(failures.most_common(5)),
    )


def problems(tally: Tally, early: Holdings, late: Holdings, left: Sequence[str]) -> list[str]:
    """What is not as promised."""
    found = [f"{count} {outcome.value}" for outcome, count in tally.counts.items() if count and outcome in _BAD]
    if early.pids != late.pids:
        found.append("processes were started anew")
    for name, before in early.memory.items():
        after = late.memory.get(name, 0)
        if after > before * (1 + GROWTH):
            found.append(f"{name} has grown by {after / before - 1:.1%}")
        if late.descriptors.get(name, 0) > early.descriptors[name]:
            found.append(f"{name} has {late.descriptors[name] - early.descriptors[name]} more files open")
    if late.regions > early.regions:
        found.append("there is more shared memory")
    found += [f"left in the folder for temporary files: {name}" for name in late.files]
    return found + [f"left behind: {name}" for name in left]


_BAD = (Outcome.UNCLEAR, Outcome.REFUSED, Outcome.LOST, Outcome.WRONG)


async def _saturated(load: Load, server: Launched, seconds: float, most: dict[str, int]) -> None:
    end = time.monotonic() + seconds
    async with load.running():
        while time.monotonic() < end:
            await asyncio.sleep(min(_INTERVAL, max(end - time.monotonic(), 0)))
            with suppress(FileNotFoundError, LookupError, StopIteration):  # one has just died: it shows in the end
                for name, size in _memory(processes.named(server)).items():
                    most[name] = max(size, most.get(name, 0))
    await asyncio.sleep(_REST)


def _memory(pids: Mapping[str, int]) -> dict[str, int]:
    return {name: processes.memory(pid) for name, pid in pids.items()}


def _holdings(server: Launched, temporary: Path) -> Holdings:
    pids = processes.named(server)
    return Holdings(
        pids=pids,
        memory=_memory(pids),
        descriptors={name: len(processes.descriptors(pid)) for name, pid in pids.items()},
        regions=len(server.shared_memory()),
        files=_names(temporary),
    )


def _names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
