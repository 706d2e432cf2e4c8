"""The start: how long until the server is ready, and whether its first answer is as fast as the others."""

from __future__ import annotations

import statistics

from scripts.benchmark import load, report
from scripts.benchmark.ours import Configuration, serving
from scripts.benchmark.section import Section
from scripts.benchmark.turns import Material
from scripts.launch.layout import PROFILE_SETTING

_LATER = 10  # requests, whose median the first one is compared with


def measure(configuration: Configuration, profile: str, rounds: int, material: Material) -> Section:
    """Raises BenchmarkError where the server does not start or answer."""
    page = material.pictures[0]
    starts = []
    for _ in range(rounds):
        with serving(configuration, {PROFILE_SETTING: profile}, warm=False) as server:
            precision = server.precision(profile)
            sample = load.read(server.endpoint(profile), material.copies.of([page] * (1 + _LATER)), clients=1)
            first, *later = sample.latencies
            starts.append((server.start_seconds, first, statistics.median(later)))
    rows = [
        ("start", "ready after s", "first answer s", "median of the next s", "first / median"),
        *(
            (str(number), f"{ready:.1f}", f"{first:.2f}", f"{median:.2f}", f"{first / median:.2f}")
            for number, (ready, first, median) in enumerate(starts, 1)
        ),
    ]
    data = {
        "profile": profile,
        "precision": precision,
        "starts": [{"ready": ready, "first": first, "median": median} for ready, first, median in starts],
    }
    return Section(f"Start: {profile}, {precision}, {configuration}", report.table(rows), data)
