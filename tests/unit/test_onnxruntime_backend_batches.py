from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.onnxruntime import batches


def image(rows: int, width: int = 4, value: int = 0, dtype: type = np.uint8) -> dict[str, np.ndarray]:
    return {"image": np.full((rows, 2, width, 3), value, dtype)}


def test_requests_of_one_shape_are_one_group_whatever_their_rows() -> None:
    assert batches.groups([image(1), image(3), image(2)]) == [[0, 1, 2]]


def test_requests_of_other_shapes_types_or_inputs_are_groups_of_their_own() -> None:
    padded = {**image(1), "width": np.zeros((1, 1), np.int32)}
    feeds = [image(1), image(1, width=8), image(2), image(1, dtype=np.float32), padded, image(1, width=8)]
    assert batches.groups(feeds) == [[0, 2], [1, 5], [3], [4]]


def test_the_order_of_the_inputs_makes_no_group() -> None:
    one = {"image": np.zeros((1, 2)), "width": np.zeros((1, 1))}
    other = dict(reversed(one.items()))
    assert batches.groups([one, other]) == [[0, 1]]


def test_a_request_alone_is_not_copied() -> None:
    feed = image(2)
    assert batches.stacked([feed])["image"] is feed["image"]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=6))
def test_what_was_stacked_comes_apart_again(counts: list[int]) -> None:
    feeds = [image(rows, value=place) for place, rows in enumerate(counts)]
    together = batches.stacked(feeds)
    assert together["image"].shape[0] == sum(counts)
    for feed, share in zip(feeds, batches.apart(together, [batches.rows(feed) for feed in feeds]), strict=True):
        assert np.array_equal(share["image"], feed["image"])


@pytest.mark.parametrize("answer", [np.zeros((4, 2)), np.zeros((2, 3)), np.zeros(())])
def test_an_answer_without_a_row_for_each_row_asked_is_an_error_that_names_it(answer: np.ndarray) -> None:
    with pytest.raises(batches.BatchError, match=r"probability .*3 rows"):
        batches.apart({"probability": answer}, [1, 2])
