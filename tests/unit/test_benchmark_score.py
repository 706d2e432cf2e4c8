from __future__ import annotations

import pytest

from scripts.benchmark.pictures import Line, Truth
from scripts.benchmark.score import Counts, score, total


def box(left: float, top: float, right: float, bottom: float) -> tuple[tuple[float, float], ...]:
    return ((left, top), (right, top), (right, bottom), (left, bottom))


UPPER, LOWER = box(0, 0, 100, 20), box(0, 30, 100, 50)


def test_the_same_lines_match_whatever_their_order_blanks_and_width_of_letters() -> None:
    truth = Truth((Line("Total 12.50", UPPER), Line("谢谢 惠顾", LOWER)))
    assert score(truth, [Line("谢谢惠顾", LOWER), Line("Ｔｏｔａｌ12.50", UPPER)]) == Counts(14, 14, 14)


def test_characters_of_a_pair_count_as_far_as_they_stand_in_the_same_order() -> None:
    counts = score(Truth((Line("abcdef", UPPER),)), [Line("abXdfY", UPPER)])
    assert counts == Counts(4, 6, 6)
    assert counts.f1 == pytest.approx(4 / 6)


def test_nothing_read_is_no_recall_and_something_read_where_nothing_is_is_no_precision() -> None:
    assert score(Truth((Line("abc", UPPER),)), []) == Counts(0, 3, 0)
    assert score(Truth(()), [Line("abc", UPPER)]) == Counts(0, 0, 3)
    assert Counts(0, 3, 0).f1 == Counts(0, 0, 3).f1 == 0


def test_the_same_text_in_another_place_is_not_the_same_line() -> None:
    assert score(Truth((Line("abc", UPPER),)), [Line("abc", LOWER)]).matched == 0


def test_without_quads_the_text_decides_whether_lines_are_one() -> None:
    truth = Truth((Line("BOARDING PASS"), Line("SEAT NO.")))
    assert score(truth, [Line("SEAT NO", UPPER), Line("B0ARDING PASS", LOWER)]) == Counts(17, 19, 18)
    assert score(truth, [Line("unlike", UPPER)]).matched == 0


def test_a_line_that_was_cut_in_two_counts_whole() -> None:
    whole = Truth((Line("hello world", box(0, 0, 110, 20)),))
    parts = [Line("hello", box(0, 0, 50, 20)), Line("world", box(60, 0, 110, 20))]
    assert score(whole, parts) == Counts(10, 10, 10)


def test_two_lines_that_were_read_as_one_count_whole() -> None:
    parts = Truth((Line("hello", box(0, 0, 50, 20)), Line("world", box(60, 0, 110, 20))))
    assert score(parts, [Line("hello world", box(0, 0, 110, 20))]) == Counts(10, 10, 10)


def test_characters_are_claimed_once() -> None:
    truth = Truth((Line("hello", box(0, 0, 100, 20)),))
    assert score(truth, [Line("hello", UPPER), Line("hello", UPPER)]) == Counts(5, 5, 10)


def test_what_lies_in_a_region_to_be_ignored_counts_neither_way() -> None:
    truth = Truth((Line("abc", UPPER), Line("", LOWER, ignore=True)), ignored=(box(200, 0, 300, 20),))
    lines = [Line("abc", UPPER), Line("noise", LOWER), Line("more", box(210, 0, 290, 18))]
    assert score(truth, lines) == Counts(3, 3, 3)


def test_capitals_count_unless_the_truth_does_not_tell_them() -> None:
    lines = [Line("total", UPPER)]
    assert score(Truth((Line("TOTAL", UPPER),)), lines).matched == 0
    assert score(Truth((Line("TOTAL", UPPER),), fold_case=True), lines).matched == 5


def test_pictures_count_by_their_characters() -> None:
    counts = total([Counts(9, 10, 10), Counts(0, 0, 10)])
    assert counts == Counts(9, 10, 20)
    assert counts.f1 == pytest.approx(2 * 0.9 * 0.45 / 1.35)
