"""Keys and values of texts of different lengths that are written side by side."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import Cache, DynamicCache
from transformers.cache_utils import CacheLayerMixin

# Tokens by which the storage grows.
_BLOCK = 256


class RaggedCache:
    """A row for each text, its tokens from the left; what a row has beyond its length is padding, and masked.

    Every method may be called again after it has run out of memory: nothing is changed before all of it is there, or
    what is there already does no harm.
    """

    def __init__(self) -> None:
        self.lengths: list[int] = []
        self._layers: list[_RaggedLayer] = []

    def join(self, prefilled: DynamicCache) -> None:
        """Add a row, last: the keys and values of one text."""
        if not self._layers:
            self._layers = [_RaggedLayer() for _ in prefilled.layers]
        row = len(self.lengths)
        for layer, source in zip(self._layers, prefilled.layers, strict=True):
            layer.put(row, source.keys, source.values)
        self.lengths.append(prefilled.get_seq_length())

    def leave(self, row: int) -> None:
        """Remove a row: the last takes its place."""
        last = self.lengths.pop()
        if row < len(self.lengths):
            for layer in self._layers:
                layer.move(len(self.lengths), row, last)
            self.lengths[row] = last
        if not self.lengths:
            self._layers = []

    def step(self, device: torch.device) -> tuple[Cache, torch.Tensor, torch.Tensor]:
        """For a forward pass over one further token of each row: the cache, the attention mask, and the positions.

        The mask is BOOL [B, longest + 1], the positions INT64 [B, 1]. The rows keep their lengths until `grown`.
        """
        positions = torch.tensor(self.lengths, device=device)
        span = max(self.lengths) + 1
        for layer in self._layers:
            layer.begin(positions, span)
        mask = torch.arange(span, device=device) <= positions[:, None]
        return Cache(layers=list(self._layers)), mask, positions[:, None]

    def grown(self) -> None:
        """The token of the step stays: each row is longer by one."""
        self.lengths = [length + 1 for length in self.lengths]


class _RaggedLayer(CacheLayerMixin):
    """Storage [rows, heads, tokens, dimension] of one layer, larger than what is in use."""

    is_sliding = False

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self.keys = key_states.new_empty(0, *key_states.shape[1:])
        self.values = value_states.new_empty(0, *value_states.shape[1:])
        self.is_initialized = True

    def put(self, row: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Write a text, [1, heads, length, dimension], as this row."""
        if not self.is_initialized:
            self.lazy_initialization(keys, values)
        length = keys.shape[2]
        self._reserve(row + 1, length)
        self.keys[row, :, :length] = keys[0]
        self.values[row, :, :length] = values[0]

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the text of one row to another."""
        for storage in (self.keys, self.values):
            storage[target, :, :length] = storage[source, :, :length]

    def begin(self, positions: torch.Tensor, span: int) -> None:
        """Before a step: where each row's next token belongs, and the length of the longest row with it."""
        self._reserve(len(positions), span)
        self._rows = torch.arange(len(positions), device=positions.device)
        self._positions = positions
        self._span = span

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write one token of each row, [B, heads, 1, dimension]; the rows up to the longest."""
        rows = len(self._rows)
        self.keys[self._rows, :, self._positions] = key_states[:, :, 0]
        self.values[self._rows, :, self._positions] = value_states[:, :, 0]
        return self.keys[:rows, :, : self._span], self.values[:rows, :, : self._span]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._span, 0

    def get_seq_length(self) -> int:
        return self._span - 1

    def get_max_length(self) -> int:
        return -1

    def _reserve(self, rows: int, tokens: int) -> None:
        """Enlarge what is too small. What is new is zero: it is masked, but must be a number."""
        self.keys, self.values = (_enlarged(storage, rows, tokens) for storage in (self.keys, self.values))


def _enlarged(storage: torch.Tensor, rows: int, tokens: int) -> torch.Tensor:
    has: Sequence[int] = storage.shape
    if has[0] >= rows and has[2] >= tokens:
        return storage
    tokens = max(has[2], -(-tokens // _BLOCK) * _BLOCK)
    larger = storage.new_zeros(max(has[0], rows), has[1], tokens, has[3])
    larger[: has[0], :, : has[2]] = storage
    return larger
