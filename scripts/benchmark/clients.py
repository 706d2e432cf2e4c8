"""Many clients at a time: whether throughput holds, whether each answer takes its share of the queue, and what a short
page waits for behind a long one."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable

from scripts.benchmark import load, report, turns
from scripts.benchmark.contest import Contestant, hold
from scripts.benchmark.errors import BenchmarkError, TooFewRoundsError
from scripts.benchmark.ours import Configuration, OurServer, serving
from scripts.benchmark.pictures import Picture
from scripts.benchmark.rendered import grid
from scripts.benchmark.samples import Series, percentile, ratio, shares
from scripts.benchmark.section import Section
from scripts.benchmark.triton_metrics import between
from scripts.benchmark.turns import Material

FEW, MANY = 8, 64

_SHORT, _LONG = 5, 500  # lines
# Parts of the long page's own time after which the short one is sent.
_MOMENTS = (0.1, 0.3, 0.5, 0.7, 0.9)


def measure(configuration: Configuration, profile: str, rounds: int, material: Material) -> Section:
    """Raises BenchmarkError where the server does not start or answer."""
    # One and the same page: what differs then is the waiting.
    alike = Material([material.pictures[0]] * FEW, material.copies, material.warm_up)
    with serving(configuration) as server:
        precision = server.precision(profile)
        contestants = {
            clients: Contestant(turns.named(turns.NAME, configuration), profile, precision, turns.way(clients))
            for clients in (FEW, MANY)
        }
        endpoint = server.endpoint(profile)
        contest = [turns.over_http(who, endpoint, alike, clients) for clients, who in contestants.items()]
        results = hold(contest, rounds)
        if len(results.series) < len(contestants):
            raise BenchmarkError("; ".join(reason for reasons in results.failures.values() for reason in reasons))
        few, many = (results.series[contestants[clients]] for clients in (FEW, MANY))
        held, batch = _held_up(server, profile, material, rounds)
    rows = [
        ("clients", "pages/s", "± %", "p50 s", "p99 s", "time / share, p50", "p99", "greatest"),
        *(_row(clients, series) for clients, series in ((FEW, few), (MANY, many))),
    ]
    text = "\n".join(
        [
            report.table(rows),
            "",
            _change(many, few),
            "",
            f"A page of {_SHORT} lines beside one of {_LONG} takes {1000 * statistics.median(held):.0f} ms longer than "
            f"alone in the median, {1000 * max(held):.0f} ms at most, in {len(held)} trials. The longest batch of the "
            f"long page takes {1000 * batch:.0f} ms.",
        ]
    )
    data = {
        "profile": profile,
        "precision": precision,
        "throughput": {str(FEW): few.throughput, str(MANY): many.throughput},
        "shares": {str(clients): _shares(series) for clients, series in ((FEW, few), (MANY, many))},
        "held_up_seconds": held,
        "batch_seconds": batch,
    }
    return Section(f"Many clients: {profile}, {precision}, {configuration}", text, data)


def _row(clients: int, series: Series) -> tuple[str, ...]:
    share = _shares(series)
    return (
        str(clients),
        f"{series.throughput:.2f}",
        f"{50 * series.spread:.0f}",
        *(f"{series.latency(percent):.2f}" for percent in (50, 99)),
        *(f"{percentile(share, percent):.2f}" for percent in (50, 99, 100)),
    )


def _shares(series: Series) -> list[float]:
    return [share for sample in series.samples.values() for share in shares(sample)]


def _change(many: Series, few: Series) -> str:
    try:
        found = ratio(many, few)
    except TooFewRoundsError as error:
        return f"From {FEW} to {MANY} clients: no ratio, for {error}."
    return (
        f"From {FEW} to {MANY} clients throughput changes by {100 * (found.median - 1):+.1f} % "
        f"({100 * (found.least - 1):+.1f} to {100 * (found.greatest - 1):+.1f})."
    )


def _held_up(server: OurServer, profile: str, material: Material, rounds: int) -> tuple[list[float], float]:
    """Seconds by which a short page is later beside a long one than alone, for each trial; and those of the long page's
    longest batch, by Triton's count: its detection, or its batches of lines in the mean."""
    short, long = grid(_SHORT, 1000, 800), grid(_LONG, 1600, 1500)
    endpoint = server.endpoint(profile)

    def seconds(picture: Picture) -> float:
        return load.read(endpoint, material.copies.of([picture]), clients=1).seconds

    seconds(short)  # the first of its size
    alone = statistics.median(seconds(short) for _ in range(rounds))
    seconds(long)
    before = server.statistics()
    long_alone = seconds(long)
    done = between(before, server.statistics())
    batch = max(model.compute_seconds / model.runs for name, model in done.items() if name.endswith("_onnx"))
    return [_seconds_beside(seconds, short, long, moment * long_alone) - alone for moment in _MOMENTS * rounds], batch


def _seconds_beside(seconds: Callable[[Picture], float], short: Picture, long: Picture, delay: float) -> float:
    """What the short page takes when it is sent so much later than the long one."""
    other = threading.Thread(target=seconds, args=(long,))
    other.start()
    time.sleep(delay)
    try:
        return seconds(short)
    finally:
        other.join()
