"""Which way up a page stands, from the classifier's answers, and the way back to the picture."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from ppocr import upright

PICTURE = np.random.default_rng(0).integers(0, 256, (300, 500, 3), dtype=np.uint8)


@pytest.mark.parametrize("turns", range(4))
def test_points_go_back_to_the_picture(turns: int) -> None:
    page = upright.upright(PICTURE, turns)
    np.testing.assert_array_equal(page.pixels, np.rot90(PICTURE, turns))
    rows, columns = np.array([[3, 40], [250, 20], [100, 290]]).T
    there = page.to_picture(np.stack([columns + 0.5, rows + 0.5], axis=1).astype(np.float32))
    found = PICTURE[there[:, 1].astype(int), there[:, 0].astype(int)]
    np.testing.assert_array_equal(found, page.pixels[rows, columns])


@pytest.mark.parametrize("shape", [(300, 500, 3), (500, 300, 3), (10, 3000, 3), (1, 1, 3), (5000, 40, 3)])
def test_the_classifier_is_shown_the_middle_of_a_picture_in_four_ways(shape: tuple[int, int, int]) -> None:
    looks = upright.classifier_input(np.zeros(shape, np.uint8))
    assert (looks.shape, looks.dtype) == ((4, 224, 224, 3), np.uint8)


def test_each_look_is_a_quarter_further() -> None:
    looks = upright.classifier_input(PICTURE)
    for before, after in pairwise(looks):
        np.testing.assert_array_equal(np.rot90(before), after)


def answers(turns: int, sure: float = 0.9) -> np.ndarray:
    """Of a classifier that sees a page turned by so many quarters as it is, in each of the four looks."""
    probability = np.full((4, 4), (1 - sure) / 3, np.float32)
    for look in range(4):
        probability[look, (turns - look) % 4] = sure
    return probability


@pytest.mark.parametrize("turns", range(4))
def test_a_page_is_set_upright_by_as_much_as_it_is_turned(turns: int) -> None:
    assert upright.turns(answers(turns)) == turns


@pytest.mark.parametrize("turns", range(4))
def test_one_look_that_errs_is_outvoted(turns: int) -> None:
    probability = answers(turns)
    probability[0] = np.roll(probability[0], 2)
    assert upright.turns(probability) == turns


def test_a_picture_of_which_the_classifier_is_unsure_stays_as_it_is() -> None:
    assert upright.turns(answers(1, sure=0.4)) == 0
    assert upright.turns(np.full((4, 4), 0.25, np.float32)) == 0
