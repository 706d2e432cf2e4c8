"""`scripts/bench`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from scripts.benchmark import clients, comparison, machine, plot, report, scaling, start
from scripts.benchmark.errors import BenchmarkError
from scripts.benchmark.ours import Configuration
from scripts.benchmark.peers.environments import CACHE
from scripts.benchmark.pictures import Copies, labelled, spread
from scripts.benchmark.processes import interrupt_on_sigterm
from scripts.benchmark.rendered import rendered
from scripts.benchmark.section import Section
from scripts.benchmark.turns import Material
from scripts.weights.catalogue import PROFILES

DEFAULT_PROFILE = "PP-OCRv6_small"
SECTIONS = {"clients": clients.measure, "scaling": scaling.measure, "start": start.measure}
PARTS = (*comparison.PARTS, *SECTIONS)
DEFAULT_PARTS = (comparison.HTTP, comparison.IN_PROCESS_PART, comparison.BARE)


def main() -> int:
    """Return the exit status: 0 when everything that was asked for was measured, 1 when something could not be, 130
    after Ctrl-C."""
    arguments = _arguments()
    interrupt_on_sigterm()
    try:
        return _run(arguments)
    except BenchmarkError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measure this server against its peers and against the bare inference runtime.",
    )
    default = " ".join(DEFAULT_PARTS)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of {' '.join(PARTS)}; {default} if none")
    names = [profile.name for profile in PROFILES]
    parser.add_argument(
        "--profiles",
        type=_words(names),
        default=[DEFAULT_PROFILE],
        help=f"any of {','.join(names)}; {DEFAULT_PROFILE} if not given",
    )
    parser.add_argument(
        "--precisions",
        type=_words(["exact", "fast"]),
        help="values of OCR_PRECISION; both in the comparison, the server's default elsewhere, if not given",
    )
    parser.add_argument(
        "--modes",
        type=_words(["latency", "throughput"]),
        default=[""],
        help="values of OCR_MODE; the server's default if not given",
    )
    parser.add_argument(
        "--clients", type=_numbers, default=[1, 8], help="numbers of clients over HTTP; 1,8 if not given"
    )
    parser.add_argument(
        "--rounds", type=int, default=5, help="interleaved rounds; 5, the least for a ratio, if not given"
    )
    parser.add_argument("--pictures", type=Path, help="a folder of labelled pictures; pages are rendered if not given")
    parser.add_argument("--count", type=int, default=6, help="pictures of a round; 6 if not given")
    parser.add_argument("--without-peers", action="store_true", help="this server, Triton and the runtime alone")
    parser.add_argument("--server", help="base URL of a running server of ours, for the part http alone")
    parser.add_argument("--into", type=Path, default=CACHE, help="folder for bench.md, bench.json and bench.svg")
    arguments = parser.parse_args()
    arguments.parts = arguments.parts or list(DEFAULT_PARTS)
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if arguments.server and arguments.parts != [comparison.HTTP]:
        parser.error("--server goes with the part http alone: the others start servers of their own")
    if min(arguments.rounds, arguments.count, *arguments.clients) < 1:
        parser.error("--rounds, --count and --clients are at least 1")
    return arguments


def _words(choices: list[str]) -> Callable[[str], list[str]]:
    def words(text: str) -> list[str]:
        found = text.split(",")
        if unknown := set(found) - set(choices):
            raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))} is none of {', '.join(choices)}")
        return found

    return words


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def _run(arguments: argparse.Namespace) -> int:
    began = time.monotonic()
    pictures = rendered(arguments.count)
    if arguments.pictures:
        pictures = spread(labelled(arguments.pictures), arguments.count)
    material = Material(pictures, Copies(), warm_up=rendered(arguments.count + 1)[-1])
    arguments.into.mkdir(parents=True, exist_ok=True)
    texts = [machine.description()]
    data: dict[str, Any] = {"machine": machine.description()}
    failed = False
    if compared := [part for part in arguments.parts if part in comparison.PARTS]:
        results = comparison.compare(_plan(arguments, compared), material)
        failed |= bool(results.failures) or not results.series
        comparisons = comparison.comparisons(results)
        accuracies = {who: report.accuracy(series, pictures) for who, series in results.series.items()}
        source = f"pictures of {arguments.pictures}" if arguments.pictures else "rendered pages"
        texts += [
            f"{len(pictures)} {source}, those with more clients several times. {report.noise(results)}",
            report.speeds(results, accuracies),
            report.ratios(results, comparisons),
            report.models(results),
        ]
        data["comparison"] = report.as_json(results, accuracies, comparisons)
        if results.series:
            (arguments.into / "bench.svg").write_text(plot.svg(results.series), encoding="utf-8")
    for part, section in _sections(arguments, material):
        failed |= isinstance(section, BenchmarkError)
        if isinstance(section, Section):
            texts += [f"## {section.title}", section.text]
            data.setdefault(part, []).append(section.data)
        else:
            texts.append(f"## {part}: failed\n\n{section}")
    texts.append(f"{(time.monotonic() - began) / 60:.0f} minutes.")
    text = "\n\n".join(part for part in texts if part)
    print(text)
    (arguments.into / "bench.md").write_text(text + "\n", encoding="utf-8")
    (arguments.into / "bench.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    return int(failed)


def _plan(arguments: argparse.Namespace, parts: list[str]) -> comparison.Plan:
    return comparison.Plan(
        parts=parts,
        profiles=arguments.profiles,
        configurations=_configurations(arguments, ["exact", "fast"]),
        clients=arguments.clients,
        rounds=arguments.rounds,
        peers=not arguments.without_peers,
        server=arguments.server,
    )


def _configurations(arguments: argparse.Namespace, precisions: list[str]) -> list[Configuration]:
    return [Configuration(p, mode) for p in arguments.precisions or precisions for mode in arguments.modes]


def _sections(arguments: argparse.Namespace, material: Material) -> Iterator[tuple[str, Section | BenchmarkError]]:
    """The parts beside the comparison, one after another; of one that failed, why."""
    for part in (part for part in SECTIONS if part in arguments.parts):
        for configuration in _configurations(arguments, [""]):
            for profile in arguments.profiles:
                print(f"{part}: {profile}, {configuration}", file=sys.stderr, flush=True)
                try:
                    yield part, SECTIONS[part](configuration, profile, arguments.rounds, material)
                except (BenchmarkError, OSError) as error:
                    yield part, BenchmarkError(str(error))


sys.exit(main())
