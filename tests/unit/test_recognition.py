"""Widths, batches, windows of long lines and CTC best paths."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ppocr.recognition import HEIGHT, Batch, Line, RecognitionRules, Window, batches, best_path, joined

BY_LINE = RecognitionRules(least=160, step=32, most=1600, by_page=False)
BY_PAGE = RecognitionRules(least=320, step=1, most=4800, by_page=True)
CHARACTERS = ["", *"abcdef "]


def blank(width: int, height: int = 48) -> np.ndarray:
    return np.full((height, width, 3), 255, np.uint8)


def widths(crops: list[np.ndarray], rules: RecognitionRules) -> set[int]:
    return {batch.image.shape[2] for batch in batches(crops, rules, most=6, instances=1)}


def plain_ctc(index: list[int]) -> list[int]:
    """The places of the characters, as the definition of CTC's mapping says: merge repeats, then drop blanks."""
    places, last = [], 0
    for place, label in enumerate(index):
        if label not in (0, last):
            places.append(place)
        last = label
    return places


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60))
def test_a_best_path_merges_repeats_and_then_drops_blanks(index):
    assert best_path(np.array(index, np.int32)).tolist() == plain_ctc(index)


def read_whole(index: list[int], probability: list[float]) -> Line:
    batch = Batch([Window(0, 0, 80)], np.zeros((1, HEIGHT, 8 * len(index), 3), np.uint8), np.array([[80]], np.int32))
    ((_, line),) = batch.lines(np.array([index], np.int32), np.array([probability], np.float32), CHARACTERS)
    return line


def test_a_lines_score_is_the_mean_probability_of_its_characters():
    line = read_whole([0, 1, 1, 0, 2], [1.0, 0.8, 0.1, 1.0, 0.6])
    assert line.text == "ab"
    assert line.score == pytest.approx(0.7)


def test_a_line_in_which_nothing_is_read_scores_0():
    line = read_whole([0, 0, 0], [1.0, 1.0, 1.0])
    assert (line.text, line.score) == ("", 0.0)


def test_characters_stand_in_the_middle_of_their_steps_in_pixels_of_the_crop():
    batch = Batch([Window(0, 0, 200)], np.zeros((1, HEIGHT, 160, 3), np.uint8), np.array([[100]], np.int32))
    index = np.array([[0] * 10 + [1] + [0] * 9], np.int32)
    ((_, line),) = batch.lines(index, np.ones((1, 20), np.float32), CHARACTERS)
    assert line.centres.tolist() == [10.5 * 8 * 2]


def test_every_line_is_in_one_batch_and_batches_hold_so_many_at_most():
    crops = [blank(width) for width in range(60, 1500, 7)]
    made = list(batches(crops, BY_LINE, most=6, instances=1))
    assert sorted(window.line for batch in made for window in batch.windows) == list(range(len(crops)))
    assert max(len(batch.windows) for batch in made) == 6


def test_a_lines_width_does_not_depend_on_its_neighbours():
    (alone,) = widths([blank(500)], BY_LINE)
    for neighbour in (80, 490, 1500):
        made = batches([blank(neighbour), blank(500)], BY_LINE, most=6, instances=1)
        (width,) = {batch.image.shape[2] for batch in made for window in batch.windows if window.line == 1}
        assert width == alone == 512


def test_batches_become_smaller_so_that_those_who_share_them_end_together():
    made = list(batches([blank(300)] * 20, BY_LINE, most=4, instances=3))
    assert [len(batch.windows) for batch in made] == [4, 4, 4, 3, 2, 1, 1, 1]


def test_the_size_of_batches_can_be_chosen():
    crops = [blank(200)] * 5
    assert [len(batch.windows) for batch in batches(crops, replace(BY_LINE, batch=2), most=6, instances=1)] == [2, 2, 1]


def test_by_page_six_lines_of_like_ratio_share_the_widest_ones_width():
    crops = [blank(width) for width in (900, 100, 340, 333, 120, 110, 331, 400)]
    made = list(batches(crops, BY_PAGE, most=6, instances=1))
    assert [(len(batch.windows), batch.image.shape[2]) for batch in made] == [(2, 900), (6, 340)]
    # However many are read in one call.
    made = list(batches(crops, BY_PAGE, most=4, instances=1))
    assert [(len(batch.windows), batch.image.shape[2]) for batch in made] == [(2, 900), (4, 340), (2, 340)]


def test_the_ladder_bounds_the_shapes_that_a_runtime_meets():
    crops = [blank(width, height) for width in range(1, 3000, 13) for height in (20, 48, 70)]
    assert all(width % 32 == 0 and 160 <= width <= 1600 for width in widths(crops, BY_LINE))


def test_padding_is_told_by_the_width_of_the_picture():
    (batch,) = batches([blank(100)], BY_LINE, most=6, instances=1)
    assert batch.width.tolist() == [[100]]
    assert batch.image[0, :, :100].min() == 255 and batch.image[0, :, 100:].max() == 0


@given(width=st.integers(1601, 12_000))
def test_windows_of_a_long_line_overlap_and_each_place_is_kept_by_one(width):
    windows = sorted(
        (w for b in batches([blank(width)], BY_LINE, most=6, instances=1) for w in b.windows), key=lambda w: w.start
    )
    assert windows[0].start == 0 and windows[-1].end == width
    assert all(window.end - window.start <= 1600 + 2 for window in windows)
    for left, right in pairwise(windows):
        assert left.keep_to == right.keep_from
        assert right.start < left.keep_to < left.end


def test_windows_hand_over_between_characters():
    line = np.full((48, 3000, 3), 255, np.uint8)
    for x in range(0, 3000, 40):
        line[8:40:2, x : x + 30] = 0  # characters of 30 columns, gaps of 10
    made = batches([line], BY_LINE, most=6, instances=1)
    windows = sorted((window for batch in made for window in batch.windows), key=lambda window: window.start)
    assert len(windows) == 2
    assert windows[0].keep_to % 40 > 29


def test_a_characters_on_both_sides_of_a_seam_are_read_once():
    left, right = Window(0, 0, 160, keep_to=100), Window(0, 64, 224, keep_from=100)
    batch = Batch([left, right], np.zeros((2, HEIGHT, 160, 3), np.uint8), np.array([[160], [160]], np.int32))
    index = np.zeros((2, 20), np.int32)
    index[0, [3, 11, 14]] = 1, 2, 3  # at 28, 92 and 116
    index[1, [3, 6, 12]] = 2, 3, 4  # at 92, 116 and 164
    parts = batch.lines(index, np.ones((2, 20), np.float32), CHARACTERS)
    assert joined([line for _, line in parts]).text == "abcd"
