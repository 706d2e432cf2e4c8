"""Words and characters as quads, from where CTC says the characters stand."""

import numpy as np
from ppocr.crops import cut, whole
from ppocr.recognition import Line
from ppocr.words import words

PICTURE = np.zeros((40, 800, 3), np.uint8)


def line(text: str, advance: float = 20.0, first: float = 10.0) -> Line:
    centres = first + advance * np.arange(len(text))
    return Line(tuple(text), np.linspace(1.0, 0.5, len(text)).astype(np.float32), centres)


def unmoved(points: np.ndarray) -> np.ndarray:
    return points


def texts(read: Line) -> list[str]:
    return [word.span.text for word in words(read, whole(PICTURE), unmoved)]


def test_latin_words_end_at_spaces():
    assert texts(line("ab cde  f")) == ["ab", "cde", "f"]


def test_each_ideograph_is_a_word_of_its_own():
    assert texts(line("登机AB牌かな한。")) == ["登", "机", "AB", "牌", "か", "な", "한", "。"]


def test_a_wide_gap_ends_a_word_though_no_space_was_read():
    read = line("abcd")
    gap = np.array([0, 0, 30, 30])
    assert texts(Line(read.characters, read.probabilities, read.centres + gap)) == ["ab", "cd"]


def test_nothing_read_gives_no_words():
    assert texts(Line((), np.zeros(0, np.float32), np.zeros(0))) == []


def test_characters_share_the_space_between_them_and_stay_in_the_line():
    (word,) = words(line("abc"), whole(PICTURE), unmoved)
    spans = [character.quad[[0, 1], 0].tolist() for character in word.characters]
    assert spans == [[0, 20], [20, 40], [40, 70]]  # the last reaches half the line's height beyond its centre
    assert word.span.quad.tolist() == [[0, 0], [70, 0], [70, 40], [0, 40]]


def test_a_words_score_is_the_mean_of_its_characters():
    (word,) = words(line("abc"), whole(PICTURE), unmoved)
    assert word.span.score == 0.75
    assert [round(character.score, 2) for character in word.characters] == [1.0, 0.75, 0.5]


def test_quads_lie_in_the_picture_where_the_line_lies():
    crop = cut(np.zeros((400, 600, 3), np.uint8), np.array([[100, 50], [140, 50], [140, 250], [100, 250]], np.float32))
    first, last = words(line("机牌", advance=150), crop, unmoved)  # a line that runs downwards
    assert first.span.quad[:, 1].max() < last.span.quad[:, 1].min()
    assert first.span.quad[:, 0].min() >= 100 and first.span.quad[:, 0].max() <= 140


def test_quads_of_a_line_on_its_head_run_backwards():
    crop = cut(np.zeros((100, 400, 3), np.uint8), np.array([[50, 20], [350, 20], [350, 60], [50, 60]], np.float32))
    first, last = words(line("机牌", advance=150), crop.turned_over(), unmoved)
    assert first.span.quad[:, 0].min() > last.span.quad[:, 0].max()
