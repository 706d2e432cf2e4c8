"""Files that were damaged at random, sent to a real server: none may bring it down, hang it, or puzzle it."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from scripts.chaos import processes
from scripts.chaos.calls import Answer, Call, Case
from scripts.chaos.load import Unanswered, ask, new_session
from scripts.chaos.material import Material
from scripts.launched import Launched, launched

CLIENTS = 6
# Seconds that a file may keep the server busy.
SLOW = 30.0
# Bytes that a file may take in the processes that decode it.
MOST_MEMORY = 1 << 30
_DECODING = ("adapter", "ocr_ensemble")

# Numbers that lie at the ends of what a field of a header can hold.
_EXTREMES = (b"\0", b"\x7f", b"\x80", b"\xff", b"\0\0", b"\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\xff" * 4)


@dataclass(frozen=True)
class Find:
    """A file that the server did not deal with as it should."""

    file: str
    call: str
    what: str


@dataclass(frozen=True)
class Fuzz:
    """What came of it.

    Attributes:
        minutes: how long.
        seed: what the damage was chosen by.
        sent: files.
        statuses: how often each was answered.
        slowest: seconds until the slowest answer.
        growth: bytes of memory that each process gained.
        finds: what the server did not deal with as it should.
    """

    minutes: float
    seed: int
    sent: int
    statuses: dict[int, int]
    slowest: float
    growth: dict[str, int]
    finds: list[Find]


def damaged(material: Material, other: Material, dice: random.Random) -> Material:
    """A copy with a few faults: bits turned, bytes set to extremes, pieces cut out, doubled, or taken from `other`."""
    data = bytearray(material.data)
    for _ in range(dice.choice((1, 1, 2, 4, 16))):
        dice.choice(_DAMAGES)(data, other.data, dice)
    return Material(f"{dice.getrandbits(32):08x}-{material.name}", bytes(data))


def _turn_bits(data: bytearray, _: bytes, dice: random.Random) -> None:
    place = _place(data, dice)
    data[place : place + 1] = bytes([data[place] ^ 1 << dice.randrange(8)]) if data else b""


def _set_extreme(data: bytearray, _: bytes, dice: random.Random) -> None:
    place, extreme = _place(data, dice), dice.choice(_EXTREMES)
    data[place : place + len(extreme)] = extreme


def _cut_end(data: bytearray, _: bytes, dice: random.Random) -> None:
    del data[_place(data, dice) :]


def _cut_out(data: bytearray, _: bytes, dice: random.Random) -> None:
    place = _place(data, dice)
    del data[place : place + dice.randrange(1, 256)]


def _double(data: bytearray, _: bytes, dice: random.Random) -> None:
    place = _place(data, dice)
    data[place:place] = data[place : place + dice.randrange(1, 4096)]


def _graft(data: bytearray, other: bytes, dice: random.Random) -> None:
    place, start = _place(data, dice), dice.randrange(len(other))
    length = dice.randrange(1, 2048)
    data[place : place + length] = other[start : start + length]


_DAMAGES: tuple[Callable[[bytearray, bytes, random.Random], None], ...] = (
    _turn_bits,
    _set_extreme,
    _cut_end,
    _cut_out,
    _double,
    _graft,
)


def _place(data: bytearray, dice: random.Random) -> int:
    """Half of them in the first kilobyte: headers are where sizes and offsets are."""
    return dice.randrange(max(min(len(data), 1024) if dice.random() < 0.5 else len(data), 1))


async def fuzzed(minutes: float, seeds: Sequence[Material], calls: Sequence[Call], seed: int, folder: Path) -> Fuzz:
    """Damage the files anew for so long; those that the server does not deal with as it should are kept in `folder`."""
    dice = random.Random(seed)  # noqa: S311 - to be chosen the same way again
    finds: list[Find] = []
    statuses: Counter[int] = Counter()
    slowest = 0.0
    end = time.monotonic() + minutes * 60
    with launched(folder / "fuzz.log") as server:
        await asyncio.to_thread(server.wait_loaded)
        before = processes.named(server)
        memory = {name: processes.memory(pid) for name, pid in before.items()}

        async def client(session: aiohttp.ClientSession) -> None:
            nonlocal slowest
            while time.monotonic() < end:
                material = damaged(dice.choice(seeds), dice.choice(seeds), dice)
                case = Case(dice.choice([call for call in calls if call.documents == material.is_pdf]), material)
                began = time.monotonic()
                try:
                    answer: Answer | None = await ask(session, server.adapter_url, case)
                    what = fault_of(answer, time.monotonic() - began) if answer else None
                except Unanswered as error:
                    answer, what = None, f"no answer: {error}"
                statuses[answer.status if answer else 0] += 1
                slowest = max(slowest, time.monotonic() - began)
                if what:
                    (folder / material.name).write_bytes(material.data)
                    finds.append(Find(material.name, case.call.name, what))

        async with new_session() as shared:
            await asyncio.gather(*(client(shared) for _ in range(CLIENTS)))
        finds += _changed(before, server)
        finds += _swollen(memory, processes.named(server))
        growth = {name: processes.memory(pid) - memory[name] for name, pid in processes.named(server).items()}
    return Fuzz(minutes, seed, sum(statuses.values()), dict(sorted(statuses.items())), slowest, growth, finds)


def fault_of(answer: Answer, seconds: float) -> str | None:
    """What is wrong with an answer to a damaged file: it may be read or refused, at once."""
    if answer.status >= 500:
        return f"{answer.status} {answer.error}"
    if answer.status >= 400 and not answer.is_clear_error:
        return f"{answer.status} without a word"
    return f"{seconds:.0f} s" if seconds > SLOW else None


def _swollen(before: Mapping[str, int], pids: Mapping[str, int]) -> list[Find]:
    peaks = {name: processes.peak(pid) for name, pid in pids.items() if name.startswith(_DECODING)}
    return [
        Find("", "", f"{name} once held {peak >> 20} MiB")
        for name, peak in peaks.items()
        if peak > before.get(name, 0) + MOST_MEMORY
    ]


def _changed(before: dict[str, int], server: Launched) -> list[Find]:
    now = processes.named(server)
    return [Find("", "", f"{name} was started anew") for name, pid in before.items() if now.get(name) != pid]
