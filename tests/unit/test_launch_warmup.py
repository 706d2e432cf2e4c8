"""Which widths are shown to the recogniser before a caller brings them."""

from __future__ import annotations

import numpy as np
import pytest
from ppocr.profiles import load_profiles
from ppocr.recognition import batches

from scripts.launch.layout import Mode, Precision, Wanted, usual
from scripts.launch.server import ROOT
from scripts.launch.warmup import ladders

REPOSITORY = ROOT / "model_repository"


@pytest.mark.parametrize("precision", Precision)
def test_every_width_that_a_line_is_padded_to_is_on_its_profiles_ladder(precision: Precision) -> None:
    found = ladders(REPOSITORY, Wanted(precision, usual(Mode.LATENCY, 2)))
    lines = [np.zeros((height, width, 3), np.uint8) for width in range(1, 4000, 17) for height in (9, 48, 70)]
    for name, profile in load_profiles(REPOSITORY / "ocr_ensemble" / "1", precision.value).items():
        if profile.recognition.by_page:
            assert set(found[name]) == {profile.recognition.least}
        else:
            widths = {batch.image.shape[2] for batch in batches(lines, profile.recognition, most=1, instances=1)}
            assert widths <= set(found[name])


def test_the_default_profile_comes_first() -> None:
    assert next(iter(ladders(REPOSITORY, Wanted(Precision.EXACT, usual(Mode.LATENCY, 2))))) == "PP-OCRv6_small"
