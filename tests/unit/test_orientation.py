"""Lines that stand on their heads, told line by line and by the page."""

import numpy as np
import pytest
from ppocr.orientation import Stance, classifier_input, stances


def stand(*probabilities: float, downwards: list[bool] | None = None) -> list[Stance]:
    both = np.array([[1 - p, p] for p in probabilities], np.float32)
    return stances(both, downwards or [False] * len(probabilities))


UPRIGHT, TURNED = Stance(False, False), Stance(True, False)


def test_a_sure_line_that_goes_against_its_page_is_contested():
    assert stand(0.95, 0.02, 0.01) == [Stance(True, True), UPRIGHT, UPRIGHT]
    assert stand(0.95, 0.97, 0.99, 0.98, 0.01) == [*[TURNED] * 4, Stance(False, True)]


def test_an_unsure_line_goes_with_most_of_the_page():
    assert stand(0.95, 0.97, 0.99, 0.3) == [TURNED] * 4
    assert stand(0.02, 0.01, 0.89) == [UPRIGHT] * 3


def test_a_few_turned_lines_are_turned_with_a_doubt():
    assert stand(0.95) == [Stance(True, True)]
    assert stand(0.95, 0.99, 0.3) == [Stance(True, True), Stance(True, True), Stance(False, True)]
    assert stand(0.89) == [UPRIGHT]


def test_an_even_page_leaves_each_sure_line_to_itself():
    assert stand(0.95, 0.02, 0.6) == [Stance(True, True), UPRIGHT, UPRIGHT]


def test_lines_that_run_downwards_do_not_decide_for_level_ones():
    page = stand(0.95, 0.97, 0.99, 0.3, downwards=[True, True, True, False])
    assert page == [TURNED, TURNED, TURNED, UPRIGHT]


def test_no_lines_are_no_error():
    assert stances(np.empty((0, 2), np.float32), []) == []


@pytest.mark.parametrize(("width", "columns"), [(96, 96), (192, 192), (900, 192)])
def test_a_line_is_padded_or_squeezed_to_the_classifiers_width(width, columns):
    image, filled = classifier_input([np.full((48, width, 3), 255, np.uint8)])
    assert image.shape == (1, 48, 192, 3)
    assert filled.tolist() == [[columns]]
    assert image[0, :, :columns].min() == 255 and not image[0, :, columns:].any()


def test_a_very_long_line_is_judged_by_its_middle_and_not_squeezed():
    line = np.zeros((24, 2400, 3), np.uint8)
    line[:, 1152:1248] = 200  # as wide, for its height, as the classifier's input
    image, filled = classifier_input([line])
    assert filled.tolist() == [[192]]
    assert (image == 200).all()
