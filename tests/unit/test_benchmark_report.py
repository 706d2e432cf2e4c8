from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from scripts.benchmark import report
from scripts.benchmark.contest import Contestant, Results, Turn, hold
from scripts.benchmark.errors import BenchmarkError, TooFewRoundsError
from scripts.benchmark.pictures import Line, Picture, Truth
from scripts.benchmark.report import Comparison
from scripts.benchmark.samples import Sample, Series, percentile, ratio

OURS = Contestant("this server", "PP-OCRv4_mobile", "bf16", "HTTP, 8 clients")
PEER = Contestant("peer 1.0", "PP-OCRv4_mobile", "f32", "HTTP, 8 clients")


def series(*throughputs: float) -> Series:
    return Series({number: Sample(10, 10 / pages) for number, pages in enumerate(throughputs)})


def test_a_ratio_is_the_median_of_the_rounds_ratios_not_the_ratio_of_medians() -> None:
    found = ratio(series(2, 4, 6, 8, 30), series(1, 2, 2, 4, 10))
    assert (found.median, found.least, found.greatest) == pytest.approx((2, 2, 3))
    assert series(2, 4, 6, 8, 30).throughput / series(1, 2, 2, 4, 10).throughput == pytest.approx(3)


def test_a_ratio_of_fewer_than_five_common_rounds_is_refused() -> None:
    with pytest.raises(TooFewRoundsError, match="there are 4"):
        ratio(series(1, 2, 3, 4, 5), series(1, 2, 3, 4))


def test_the_spread_is_that_of_the_rounds_relative_to_their_median() -> None:
    assert series(9, 10, 11).spread == pytest.approx(0.2)
    assert series(5, 5, 5).spread == 0


@pytest.mark.parametrize(("percent", "expected"), [(50, 50), (95, 95), (99, 99), (100, 100), (0, 1)])
def test_a_percentile_is_a_value_that_occurred(percent: float, expected: float) -> None:
    assert percentile([float(value) for value in range(100, 0, -1)], percent) == expected


def test_the_latencies_of_all_rounds_count_together() -> None:
    measured = Series({0: Sample(2, 1, (0.1, 0.2)), 1: Sample(2, 1, (0.3, 9.0))})
    assert (measured.latency(50), measured.latency(99)) == (0.2, 9.0)


def test_everyone_has_a_turn_in_every_round_and_nobody_always_comes_first() -> None:
    order: list[str] = []

    def turn(name: str) -> Turn:
        def measure() -> Sequence[Sample]:
            order.append(name)
            return [Sample(1, 1)]

        return Turn([Contestant(name, "", "", "")], measure)

    hold([turn("a"), turn("b"), turn("c")], rounds=3)

    rounds = [order[first : first + 3] for first in (0, 3, 6)]
    assert all(sorted(names) == ["a", "b", "c"] for names in rounds)
    assert {names[0] for names in rounds} == {"a", "b", "c"}


def test_one_that_fails_does_not_touch_the_others_and_has_another_chance() -> None:
    calls = iter([BenchmarkError("its process was ended by signal 9"), None])

    def measure() -> Sequence[Sample]:
        if error := next(calls):
            raise error
        return [Sample(1, 1)]

    results = hold([Turn([PEER], measure), Turn([OURS], lambda: [Sample(2, 1)])], rounds=2)

    assert set(results.series[OURS].samples) == {0, 1}
    assert set(results.series[PEER].samples) == {1}
    assert results.failures == {PEER: ["round 1: its process was ended by signal 9"]}


def test_the_accuracy_is_that_of_the_pictures_that_were_read_and_none_where_one_is_missing() -> None:
    pictures = [Picture(name, b"", Truth((Line("abcd"),))) for name in ("a", "b")]
    read = Series({0: Sample(1, 1, (), {"a": [Line("abcd")]}), 1: Sample(1, 1, (), {"b": [Line("abcX")]})})
    assert report.accuracy(read, pictures) == pytest.approx(7 / 8)
    assert report.accuracy(read, [*pictures, Picture("c", b"", Truth(()))]) is None
    assert report.accuracy(series(1), pictures) is None


def test_the_table_says_of_each_contestant_how_fast_how_precise_how_accurate_and_how_noisy() -> None:
    measured = Series({number: Sample(4, 2, (0.1, 0.2, 0.3, 0.4)) for number in range(5)})
    text = report.speeds(Results(5, {OURS: measured}), {OURS: 0.98765})
    row = [cell.strip() for cell in text.splitlines()[2].strip("|").split("|")]
    assert row == [
        "PP-OCRv4_mobile", "this server", "bf16", "HTTP, 8 clients", "2.00", "0", "0.20", "0.40", "0.40", "0.9877", "5",
    ]  # fmt: skip


def test_a_failure_stands_below_the_table_with_its_reason() -> None:
    results = Results(5, {OURS: series(1, 1, 1, 1, 1)}, {PEER: ["peer cannot be installed:\n  no such version"]})
    text = report.speeds(results, {OURS: None})
    assert "Failed: peer 1.0" in text
    assert "no such version" in text


def test_who_cannot_take_part_is_named_with_the_reason() -> None:
    results = Results(5, {OURS: series(1, 1, 1, 1, 1)}, absent={PEER: "this processor has no bf16"})
    assert "Not there: peer 1.0, PP-OCRv4_mobile, f32, HTTP, 8 clients: this processor has no bf16" in report.speeds(
        results, {OURS: None}
    )
    assert report.as_json(results, {OURS: None}, [])["absent"][0]["reason"] == "this processor has no bf16"


def test_ratios_are_printed_with_their_range_and_refused_below_five_rounds() -> None:
    comparisons = [Comparison(OURS, PEER)]
    enough = Results(5, {OURS: series(4, 4, 5, 4, 4), PEER: series(2, 2, 2, 2, 2)})
    assert "2.00 2.00 to 2.50" in " ".join(report.ratios(enough, comparisons).replace("|", " ").split())

    too_few = Results(4, {OURS: series(4, 4, 4, 4), PEER: series(2, 2, 2, 2)})
    text = report.ratios(too_few, comparisons)
    assert "2.00" not in text
    assert "5 interleaved rounds" in text
    assert report.as_json(too_few, dict.fromkeys(too_few.series), comparisons)["ratios"] == []


def test_the_json_has_every_round_and_every_ratio() -> None:
    results = Results(5, {OURS: series(4, 4, 5, 4, 4), PEER: series(2, 2, 2, 2, 2)}, {PEER: ["round 9: no answer"]})
    content = json.loads(json.dumps(report.as_json(results, {OURS: 0.99, PEER: None}, [Comparison(OURS, PEER)])))

    ours, peer = content["contestants"]
    assert (ours["name"], ours["precision"], ours["pages_per_second"], ours["f1_sm"]) == (
        "this server",
        "bf16",
        4,
        0.99,
    )
    assert [ours["rounds"][str(number)]["seconds"] for number in range(5)] == [2.5, 2.5, 2, 2.5, 2.5]
    assert peer["f1_sm"] is None
    assert content["ratios"][0]["median"] == 2
    assert content["failures"][0]["reasons"] == ["round 9: no answer"]
