"""Reading order on constructed layouts: what a person reads first, and the text that comes of it."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from ppocr.reading_order import Layout, layout

Quad = list[tuple[float, float]]
HEIGHT = 24.0
LEADING = 32.0


def box(x: float, y: float, width: float, height: float = HEIGHT) -> Quad:
    return [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]


def turned(quads: Sequence[Quad], degrees: float, centre: tuple[float, float] = (500, 500)) -> npt.NDArray[np.float64]:
    """The quads on a page that is turned clockwise."""
    angle = np.radians(degrees)
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return (np.array(quads) - centre) @ rotation + centre


def shuffled(quads: Sequence[Quad] | npt.NDArray[np.float64], turns: Sequence[int] | None = None) -> list[int]:
    """The order that comes out, in terms of the order that went in, whatever order the lines are found in."""
    mixed = np.random.default_rng(len(quads)).permutation(len(quads))
    found = layout(np.array(quads)[mixed], np.array(turns or [0] * len(quads))[mixed])
    return [int(mixed[place]) for place in found.order]


def assert_read_in_order(quads: Sequence[Quad] | npt.NDArray[np.float64], turns: Sequence[int] | None = None) -> None:
    assert shuffled(quads, turns) == list(range(len(quads)))


def column(x: float, y: float, rows: int, width: float = 400.0) -> list[Quad]:
    """Running text: ragged on the right, with a paragraph's short last line now and then."""
    raggedness = np.random.default_rng(int(x + y)).uniform(0.85, 1, rows)
    raggedness[4::7] = 0.3
    return [box(x, y + row * LEADING, width * float(part)) for row, part in enumerate(raggedness)]


def receipt(items: int) -> list[Quad]:
    """A name on the left, a price at the right margin."""
    rows = []
    for item in range(items):
        y = 100 + item * 1.3 * LEADING
        rows += [box(50, y, 120 + 37 * item % 150), box(480 - 10 * (item % 3), y + item % 4, 60 + 10 * (item % 3))]
    return rows


def table(rows: int, columns: int) -> list[Quad]:
    return [
        box(60 + 150 * across, 80 + 1.5 * LEADING * down, 60 + (37 * down + 61 * across) % 60)
        for down in range(rows)
        for across in range(columns)
    ]


LAYOUTS: dict[str, list[Quad]] = {
    "one column": column(60, 100, 20),
    "two columns": column(60, 100, 20) + column(520, 100, 20),
    "two columns off each other": column(60, 100, 20) + column(520, 113, 18),
    "a narrow gutter": column(60, 100, 20, width=440) + column(512, 100, 20, width=440),
    "three columns under a title": [
        box(100, 20, 1100, 48),
        *column(60, 120, 15),
        *column(500, 120, 15),
        *column(940, 120, 15),
    ],
    "two columns, then one, then two": column(60, 100, 8)
    + column(520, 100, 8)
    + column(60, 400, 4, width=860)
    + column(60, 560, 8)
    + column(520, 560, 8),
    "a title over two of three columns": [
        box(60, 100, 840, 48),
        *column(60, 180, 15),
        *column(500, 180, 15),
        *column(940, 100, 17),
    ],
    "columns between a header and a footer": [
        box(60, 20, 200),
        box(760, 20, 160),
        *column(60, 100, 20),
        *column(520, 100, 20),
        box(480, 800, 40),
    ],
    "a receipt": receipt(12),
    "a table": table(10, 6),
    "a table of two columns": table(12, 2),
    "a table beneath running text": column(60, 100, 8, width=840)
    + [[(x, y + 400) for x, y in quad] for quad in table(6, 5)],
}


@pytest.mark.parametrize("quads", LAYOUTS.values(), ids=LAYOUTS)
def test_a_page_is_read_in_order(quads: list[Quad]) -> None:
    assert_read_in_order(quads)


@pytest.mark.parametrize("degrees", [-20, -3, 2, 5, 12])
@pytest.mark.parametrize("quads", LAYOUTS.values(), ids=LAYOUTS)
def test_a_skewed_page_is_read_in_order(quads: list[Quad], degrees: float) -> None:
    assert_read_in_order(turned(quads, degrees))


@pytest.mark.parametrize("quarters", [1, 2, 3])
@pytest.mark.parametrize("quads", LAYOUTS.values(), ids=LAYOUTS)
def test_a_page_that_lies_on_its_side_or_head_is_read_in_order(quads: list[Quad], quarters: int) -> None:
    lying = turned(quads, 90 * quarters)
    # The corners are told apart by where they are on the picture, and `turns` tells how the text runs.
    assert_read_in_order(np.roll(lying, quarters, axis=1), [quarters] * len(quads))


def test_vertical_chinese_is_read_from_the_right() -> None:
    columns = [box(900 - 60 * number, 80, 40, 500 - 100 * (number % 3)) for number in range(8)]
    assert_read_in_order(columns, [1] * 8)


def test_a_vertical_title_beside_level_text_is_kept_together_and_read_from_the_right() -> None:
    title = [box(140, 100, 40, 400), box(80, 100, 40, 300)]
    found = shuffled([*title, *column(260, 100, 12, width=700)], [1, 1] + [0] * 12)
    assert found[found.index(0) + 1] == 1
    assert [line for line in found if line > 1] == list(range(2, 14))


def test_the_lines_of_a_cell_follow_each_other() -> None:
    name = [box(60, 100, 150), box(60, 124, 90)]
    assert_read_in_order([*name, box(300, 112, 80), box(450, 112, 80), box(60, 160, 150), box(300, 160, 80)])


def test_what_is_larger_beside_small_print_is_not_mixed_up_with_it() -> None:
    assert_read_in_order([box(60, 100, 200, 80), box(400, 105, 200), box(400, 135, 200), box(60, 220, 540)])


def test_a_line_taken_for_turned_stays_in_its_row() -> None:
    assert_read_in_order(receipt(6), [0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0])


def test_rows_and_blocks_make_the_text() -> None:
    quads = [box(60, 20, 200), box(760, 20, 160), *column(60, 100, 6), *column(520, 100, 6)]
    texts = ["Page", "7"] + [f"left {row}" for row in range(6)] + [f"right {row}" for row in range(6)]
    lines = layout(np.array(quads), [0] * len(quads)).text(texts).splitlines()
    assert lines[0] == "Page 7"
    assert [line for line in lines if line][1:] == texts[2:]
    assert lines[lines.index("right 0") - 1] == ""


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (["Total:", "42"], "Total: 42"),
        (["合计", "元"], "合计元"),
        (["合计", "42"], "合计 42"),
        (["一。", "二"], "一。二"),
        (["ひらがな", "カタカナ"], "ひらがなカタカナ"),
        (["안녕", "하세요"], "안녕 하세요"),
        (["", "a", " ", "b "], "a b"),
    ],
)
def test_pieces_of_a_row_are_joined_as_their_script_does(pieces: list[str], text: str) -> None:
    row = tuple(range(len(pieces)))
    assert Layout(((row,),)).text(pieces) == text


def test_a_page_without_lines_has_no_text() -> None:
    empty = layout(np.zeros((0, 4, 2)), [])
    assert (empty.order, empty.text([])) == ([], "")


@pytest.mark.parametrize("seed", range(5))
def test_every_line_is_read_once_however_they_lie(seed: int) -> None:
    random = np.random.default_rng(seed)
    count = int(random.integers(1, 120))
    quads = [
        turned([box(*random.uniform(0, 1000, 2), *random.uniform(0, 200, 2))], random.uniform(0, 360))[0]
        for _ in range(count)
    ]
    found = layout(np.array(quads), random.integers(0, 4, count).tolist())
    assert sorted(found.order) == list(range(count))


def test_a_thousand_lines_take_a_moment() -> None:
    quads = np.array(column(60, 0, 333) + column(520, 0, 333) + column(980, 0, 334))
    start = time.process_time()
    assert layout(quads, [0] * 1000).order == list(range(1000))
    assert time.process_time() - start < 1
