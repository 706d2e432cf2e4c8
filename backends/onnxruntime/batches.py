"""Requests that can share one run of a network: which they are, their inputs together, their outputs apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Feed = Mapping[str, Array]  # a request's inputs by their names; the first dimension is the request's rows


class BatchError(Exception):
    """A network's answer does not fit the batch that it was given."""


def groups(feeds: Sequence[Feed]) -> list[list[int]]:
    """The places of the feeds that can be stacked: equal in names, types and shapes but for the number of rows.

    Groups and their members stand in order of arrival. (Triton's dynamic batcher sends equal shapes only; requests
    that it hands over without it may differ.)
    """
    alike: dict[Any, list[int]] = {}
    for place, feed in enumerate(feeds):
        kind = frozenset((name, values.dtype.str, values.shape[1:]) for name, values in feed.items())
        alike.setdefault(kind, []).append(place)
    return list(alike.values())


def rows(feed: Feed) -> int:
    """How many rows a request asks for."""
    return next(iter(feed.values())).shape[0]


def stacked(feeds: Sequence[Feed]) -> Feed:
    """The inputs of one group as those of one run; a feed alone is not copied."""
    if len(feeds) == 1:
        return feeds[0]
    return {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]}


def apart(outputs: Mapping[str, Array], counts: Sequence[int]) -> list[dict[str, Array]]:
    """The outputs of one run as views, one set for each request of so many rows.

    Raises:
        BatchError: an output has not one row for each row of the inputs.
    """
    total = sum(counts)
    for name, values in outputs.items():
        if values.shape[:1] != (total,):
            raise BatchError(f"output {name} has shape {list(values.shape)}, but the batch has {total} rows")
    ends = np.cumsum(counts).tolist()
    return [
        {name: values[end - count : end] for name, values in outputs.items()}
        for end, count in zip(ends, counts, strict=True)
    ]
