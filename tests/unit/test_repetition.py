"""A loop is told from what only looks like one."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.repetition import PlainText, RepetitionWatch, without_repetition

START = "The quick brown fox jumps over the lazy dog. "


def watched(text: str, step: int = 5) -> RepetitionWatch:
    watch = RepetitionWatch()
    for start in range(0, len(text), step):
        watch.feed(text[start : start + step])
    return watch


@pytest.mark.parametrize("unit", ["a", "ha ", "<td></td>", "北京", START, START * 3 + "x", "0123456789" * 30])
def test_a_loop_is_seen_whatever_it_repeats(unit: str) -> None:
    assert watched(START + unit * (1 + 4000 // len(unit)) + unit * 5).looping


@pytest.mark.parametrize(
    "text",
    [
        "Chapter 1 " + "." * 300 + " 7\n" + "Chapter 2 " + "." * 300 + " 19",
        "<table>" + ("<tr>" + "<td></td>" * 10 + "</tr>") * 30 + "</table>",
        "_" * 1000,
        "".join(f"<td>{n}</td>" for n in range(1000)),
        "".join(random.Random(7).choices("ab ", k=20_000)),  # noqa: S311 - no secret
    ],
)
def test_what_documents_do_repeat_is_no_loop(text: str) -> None:
    assert not watched(text).looping


def test_what_follows_a_repetition_ends_the_suspicion() -> None:
    watch = watched("=" * 1000)
    assert watch.suspect
    watch.feed(START)
    assert not watch.suspect


@given(st.text(max_size=50), st.text(min_size=1, max_size=50))
def test_a_repetition_is_taken_back_to_its_first_unit(start: str, unit: str) -> None:
    looped = start + unit * 500
    rest = without_repetition(looped)
    assert looped.startswith(rest)
    assert len(rest) <= len(start) + len(unit)


def test_a_text_without_repetition_is_left_alone() -> None:
    assert without_repetition(START) == START


def plain(text: str, step: int = 3) -> tuple[str, PlainText]:
    answer = PlainText()
    given_on = []
    for begin in range(0, len(text), step):
        given_on.append(answer.feed(text[begin : begin + step]))
        if answer.looping:
            break
    return "".join([*given_on, answer.finish()]), answer


@given(st.text(max_size=200), st.integers(0, 600))
def test_plain_text_passes_through_however_often_it_repeats_itself(text: str, times: int) -> None:
    text = text + "-" * times + text
    assert plain(text)[0] == text


def test_of_a_loop_only_its_beginning_is_given() -> None:
    text, answer = plain(START + "ha " * 5000)
    assert text.startswith(START + "ha ha ha")
    assert len(text) < 600
    assert (answer.looping, answer.repaired) == (True, True)
