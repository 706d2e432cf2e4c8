"""`python -m scripts.launch.tune`: tries layouts on this machine, and keeps the best for each mode.

From the usual layout on, one part after the other is given every value that makes sense, and the best one stays. Each
try is a server of its own, on free ports, asked by one client for a mode of latency, by many for one of throughput.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from scripts.client import UploadError, upload
from scripts.launch.layout import Instances, Layout, Machine, Mode, SettingError, Wanted, save, usual, wish
from scripts.launch.ports import Listeners, PortError
from scripts.launch.server import ROOT, TUNED, Server, running_server
from scripts.launch.signals import until_signal
from scripts.launch.supervisor import GaveUp
from scripts.launch.triton import TritonError

_CLIENTS = {Mode.LATENCY: 1, Mode.THROUGHPUT: 8}
# Rounds over the pictures; the first one, in which the networks meet the pictures' shapes, does not count.
_ROUNDS = 4
# What a layout must gain to take the place of the one before: less may be chance.
_LEAST_GAIN = 0.02


def main() -> int:
    """Return the exit status: 0 when layouts were found and kept."""
    parser = argparse.ArgumentParser(prog="scripts/tune", description="Find the best layout for this machine.")
    parser.add_argument("pictures", nargs="*", type=Path, metavar="PICTURE", help="what to read (default: the example)")
    pictures = parser.parse_args().pictures or [ROOT / "docs" / "example.png"]
    try:
        asyncio.run(until_signal(_tune(pictures, wish(os.environ, TUNED))))
    except (OSError, PortError, SettingError, TritonError, GaveUp, UploadError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


async def _tune(pictures: Sequence[Path], wanted: Wanted) -> None:
    machine = Machine.here()
    _say(f"{machine.cpus} CPUs ({machine.processor}), {wanted.precision.value}, {len(pictures)} pictures")
    found = {}
    for mode in Mode:
        found[mode] = await _best(mode, machine.cpus, pictures, wanted)
    save(TUNED, machine, found)
    _say(f"Kept in {TUNED.relative_to(ROOT)}.")


async def _best(mode: Mode, cpus: int, pictures: Sequence[Path], wanted: Wanted) -> Layout:
    best = usual(mode, cpus)
    fastest = await _pages_per_second(best, mode, pictures, wanted)
    for part in ("recognition", "detection", "lines"):
        for layout in _others(best, part, cpus):
            speed = await _pages_per_second(layout, mode, pictures, wanted)
            if speed > fastest * (1 + _LEAST_GAIN):
                best, fastest = layout, speed
    _say(f"{mode.value}: {fastest:.2f} pages/s with {_in_words(best)}")
    return best


def _others(layout: Layout, part: str, cpus: int) -> Iterator[Layout]:
    """The layouts that differ in that part alone."""
    splits = {Instances(count, cpus // count) for count in (1, 2, cpus // 2, cpus) if 0 < count <= min(cpus, 16)}
    values: dict[str, set[Any]] = {
        "recognition": {*splits},
        "detection": {*splits, Instances(1, 1)},
        "lines": {1, 2, 6},
    }
    for value in sorted(values[part], key=str):
        if value != getattr(layout, part):
            yield replace(layout, **{part: value})


async def _pages_per_second(layout: Layout, mode: Mode, pictures: Sequence[Path], wanted: Wanted) -> float:
    async with running_server(Listeners.free(), lambda line: None, wanted=replace(wanted, layout=layout)) as server:
        rounds = [await _round(server, pictures, _CLIENTS[mode]) for _ in range(_ROUNDS)][1:]
    speed = statistics.median(rounds)
    _say(f"  {mode.value}: {speed:.2f} pages/s with {_in_words(layout)}")
    return speed


async def _round(server: Server, pictures: Sequence[Path], clients: int) -> float:
    """Every picture once for each client."""
    began = time.monotonic()

    async def read_all(first: int) -> None:
        for place in range(len(pictures)):
            await asyncio.to_thread(upload, server.url, pictures[(first + place) % len(pictures)])

    await asyncio.gather(*(read_all(client) for client in range(clients)))
    return clients * len(pictures) / (time.monotonic() - began)


def _in_words(layout: Layout) -> str:
    parts = {"det_onnx": layout.detection, "rec_onnx": layout.recognition}
    words = [f"{name} {part.count}x{part.threads}" for name, part in parts.items()]
    return ", ".join([*words, f"{layout.lines} lines a call"])


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
