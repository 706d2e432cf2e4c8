"""Which widths are shown to the recogniser before a caller brings them."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ppocr.profiles import load_profiles
from ppocr.recognition import batches

from scripts.launch.layout import Mode, Precision, Wanted, usual
from scripts.launch.server import ROOT
from scripts.launch.warmup import ladders, until_idle

REPOSITORY = ROOT / "model_repository"


@pytest.mark.parametrize("precision", Precision)
def test_every_width_that_a_line_is_padded_to_is_on_its_profiles_ladder(precision: Precision) -> None:
    found = ladders(REPOSITORY, Wanted(precision, usual(Mode.LATENCY, 2)))
    lines = [np.zeros((height, width, 3), np.uint8) for width in range(1, 4000, 17) for height in (9, 48, 70)]
    for name, profile in load_profiles(REPOSITORY / "ocr_ensemble" / "1", precision.value).items():
        if profile.recognition.by_page:
            assert set(found[name].widths) == {profile.recognition.least}
        else:
            widths = {batch.image.shape[2] for batch in batches(lines, profile.recognition, most=1, instances=1)}
            assert widths <= set(found[name].widths)
        assert (found[name].version, found[name].pixels) == (profile.version, profile.detection.max_pixels)


def test_the_default_profile_comes_first() -> None:
    wanted = Wanted(Precision.EXACT, usual(Mode.LATENCY, 2))
    assert next(iter(ladders(REPOSITORY, wanted))) == "PP-OCRv6_small"
    assert next(iter(ladders(REPOSITORY, replace(wanted, profile="PP-OCRv4_mobile")))) == "PP-OCRv4_mobile"


class Processors(type(Path())):  # type: ignore[misc]
    """A /proc/stat on which 100 ticks pass between two looks, so many of them idle."""

    idle = 0
    looks = 0

    def read_text(self, *_: object) -> str:
        self.looks += 1
        return f"cpu  {self.looks * (100 - self.idle)} 0 0 {self.looks * self.idle} 0 0 0 0 0 0\ncpu0 1 2 3\n"


@pytest.mark.parametrize(("idle", "waits"), [(100, False), (60, False), (40, True), (0, True)])
def test_who_is_served_comes_before_the_warm_up_for_a_while(idle: int, waits: bool) -> None:
    stat = Processors("stat")
    stat.idle = idle
    began = time.monotonic()
    asyncio.run(until_idle(0.3, stat))
    assert (time.monotonic() - began >= 0.3) == waits
