"""The size at which dots.ocr is shown a picture, and the way of boxes there and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.dots.geometry import CELL, MAX_ASPECT, MAX_PIXELS, MIN_PIXELS, Scale, Size, smart_resize
from adapter.errors import InvalidRequestError

sides = st.integers(1, 20_000)
sizes = st.builds(Size, sides, sides).filter(
    lambda size: max(size.width, size.height) <= MAX_ASPECT * min(size.width, size.height)
)


@pytest.mark.parametrize(
    ("size", "fed"),
    [
        # 11 times 7 cells, so 77 tokens.
        (Size(300, 200), Size(308, 196)),
        (Size(28, 28), Size(56, 56)),
        (Size(1654, 2339), Size(1652, 2352)),
        (Size(10_000, 10_000), Size(3360, 3360)),
        (Size(1, 200), Size(28, 196)),
    ],
)
def test_known_pictures_are_shown_at_known_sizes(size: Size, fed: Size) -> None:
    assert smart_resize(size) == fed


@given(sizes)
def test_every_size_is_of_whole_cells_and_within_the_bounds(size: Size) -> None:
    fed = smart_resize(size)
    assert (fed.width % CELL, fed.height % CELL) == (0, 0)
    assert MIN_PIXELS <= fed.width * fed.height <= MAX_PIXELS


@given(sizes)
def test_what_was_resized_is_not_resized_again(size: Size) -> None:
    fed = smart_resize(size)
    if max(fed.width, fed.height) <= MAX_ASPECT * min(fed.width, fed.height):
        assert smart_resize(fed) == fed


def test_what_is_too_long_and_thin_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match=r"10x2001 pixels .* 200 times"):
        smart_resize(Size(10, 2001))


@given(sizes, st.data())
def test_a_box_comes_back_to_where_it_was(size: Size, data: st.DataObject) -> None:
    scale = Scale(size, smart_resize(size))
    x1, y1 = data.draw(st.integers(0, size.width - 1)), data.draw(st.integers(0, size.height - 1))
    x2, y2 = data.draw(st.integers(x1 + 1, size.width)), data.draw(st.integers(y1 + 1, size.height))
    box = (x1, y1, x2, y2)
    there = scale.to_fed(box)
    back = scale.to_original(there)
    for place, ratio in enumerate((size.width / scale.fed.width, size.height / scale.fed.height) * 2):
        # Half a pixel of rounding each way; a box that would be empty is made one pixel wide.
        assert abs(back[place] - box[place]) <= 1.5 * max(ratio, 1) + 1


@given(sizes, st.tuples(*[st.floats(-1e6, 1e6)] * 4))
def test_a_box_from_the_model_ends_within_the_picture_and_is_never_empty(
    size: Size, box: tuple[float, float, float, float]
) -> None:
    x1, y1, x2, y2 = Scale(size, smart_resize(size)).to_original(
        (min(box[0], box[2]), min(box[1], box[3]), max(box[0], box[2]), max(box[1], box[3]))
    )
    assert 0 <= x1 < x2 <= size.width
    assert 0 <= y1 < y2 <= size.height


def test_at_its_own_size_a_picture_keeps_its_boxes() -> None:
    size = Size(560, 280)
    assert Scale(size, smart_resize(size)).to_original((3, 5, 555, 277)) == (3, 5, 555, 277)
