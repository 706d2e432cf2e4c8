"""Lines that stand on their heads, told line by line and by the page."""

import numpy as np
import pytest
from ppocr.orientation import classifier_input, upside_down


def turned(*probabilities: float, downwards: list[bool] | None = None) -> list[bool]:
    both = np.array([[1 - p, p] for p in probabilities], np.float32)
    return upside_down(both, downwards or [False] * len(probabilities))


def test_a_line_of_which_the_classifier_is_sure_goes_by_itself():
    assert turned(0.95, 0.02, 0.01) == [True, False, False]
    assert turned(0.95, 0.97, 0.01) == [True, True, False]


def test_an_unsure_line_goes_with_most_of_the_page():
    assert turned(0.95, 0.97, 0.3) == [True, True, True]
    assert turned(0.02, 0.01, 0.89) == [False, False, False]


def test_an_unsure_line_alone_is_left():
    assert turned(0.89) == [False]


def test_lines_that_run_downwards_do_not_decide_for_level_ones():
    assert turned(0.95, 0.97, 0.3, downwards=[True, True, False]) == [True, True, False]


def test_no_lines_are_no_error():
    assert upside_down(np.empty((0, 2), np.float32), []) == []


@pytest.mark.parametrize(("width", "columns"), [(96, 96), (192, 192), (900, 192)])
def test_a_line_is_padded_or_squeezed_to_the_classifiers_width(width, columns):
    image, filled = classifier_input([np.full((48, width, 3), 255, np.uint8)])
    assert image.shape == (1, 48, 192, 3)
    assert filled.tolist() == [[columns]]
    assert image[0, :, :columns].min() == 255 and not image[0, :, columns:].any()
