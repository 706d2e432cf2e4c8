"""`scripts/faults`: what the server does when things go wrong, in figures."""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Any

from scripts.chaos import material, report
from scripts.chaos.calls import Answer, Case, calls, cases
from scripts.chaos.faults import Fault, faults
from scripts.chaos.fuzz import Fuzz, fuzzed
from scripts.chaos.load import undisturbed
from scripts.chaos.material import Material
from scripts.chaos.soak import Soak, mixed, soaked
from scripts.chaos.trials import Result, tried
from scripts.launched import launched


def main() -> int:
    """The exit status: 0 when everything was as promised."""
    known = {fault.name: fault for fault in faults()}
    arguments = _parser(list(known)).parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # an exit that stops the servers
    # Two thousand connections want as many descriptors on this side, too.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    pictures = material.of_folder(arguments.pictures) if arguments.pictures else []
    folder = Path(tempfile.mkdtemp(prefix="ocr-faults-"))
    if arguments.soak:
        given = mixed([*material.varied(), *material.broken(), *pictures], list(calls()))
        result: Any = asyncio.run(soaked(arguments.soak, given, folder))
        print(report.soak(result))
        passed = not result.problems
    elif arguments.fuzz:
        seeds = pictures or material.varied()
        result = asyncio.run(fuzzed(arguments.fuzz, seeds, list(calls()), arguments.seed, folder))
        print(report.fuzz(result))
        passed = not result.finds
    else:
        chosen = [known[name] for name in arguments.fault or known]
        result = asyncio.run(_faults(chosen, pictures or material.small(), folder))
        print(report.table(result))
        passed = not any(trial.problems for trial in result)
    print(f"\nLogs of the servers: {folder}")
    if arguments.report:
        arguments.report.write_text(json.dumps(_plain(result), indent=1) + "\n")
    return int(not passed)


def _parser(known: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/faults",
        description="Start real servers, keep load on them, let something happen to each, and count what clients see.",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "fault", nargs="*", default=[], metavar="FAULT", help=f"of {', '.join(known)}; all where none is named"
    )
    what.add_argument("--soak", type=float, metavar="MINUTES", help="keep one server at saturation, and see what grows")
    what.add_argument("--fuzz", type=float, metavar="MINUTES", help="send files that were damaged at random")
    parser.add_argument("--seed", type=int, default=1, help="what the damage is chosen by")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="send the files below it, too")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the figures as JSON as well")
    return parser


async def _faults(chosen: Sequence[Fault], materials: Sequence[Material], folder: Path) -> list[Result]:
    answers = await _answers(materials, folder)
    results = []
    for fault in chosen:
        results.append(await tried(fault, answers, folder))
        print(report.trial(results[-1]), *results[-1].failures.items(), sep="\n   ", flush=True)
    return results


async def _answers(materials: Sequence[Material], folder: Path) -> dict[Case, Answer]:
    with launched(folder / "undisturbed.log") as server:
        await asyncio.to_thread(server.wait_loaded)
        return await undisturbed(server.adapter_url, cases(materials, list(calls())))


def _plain(value: Any) -> Any:
    """As JSON can hold it: outcomes by their names."""
    if isinstance(value, (Result, Soak, Fuzz)):
        return _plain(asdict(value))
    if isinstance(value, dict):
        return {key.value if isinstance(key, Enum) else key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, list) else value


if __name__ == "__main__":
    sys.exit(main())
