"""Continuous batching: texts join while others are being written, and leave when they are done."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from transformers import DynamicCache

from .cache import RaggedCache
from .errors import OutOfMemoryError
from .network import Network
from .sampling import Sampling, choose
from .tiling import Tiles

STOP, LENGTH, CANCELLED = "stop", "length", "cancelled"

# Seconds between two looks at whether a caller has left: each is a call to another process.
_LOOK_INTERVAL = 0.05
_ADVICE = (
    "the device's memory is full: lower max_image_patches, shrink the picture, ask for fewer max_new_tokens, send "
    "fewer requests at a time, or lower the model's max_sequences"
)

_log = logging.getLogger(__name__)


class Listener(Protocol):
    """Who waits for a text. Called from the engine's thread; every text ends with `finish` or `fail`."""

    def token(self, token: int, logprob: float) -> None:
        """One further token, and the natural logarithm of its probability."""

    def finish(self, reason: str) -> None:
        """The text is over: STOP, LENGTH or CANCELLED."""

    def fail(self, error: Exception) -> None:
        """The text cannot be written."""

    def cancelled(self) -> bool:
        """Whether nobody waits any longer."""


@dataclass(frozen=True, eq=False)
class Text:
    """A text to be written: the prompt's token ids, its tiles, how to go on, how far, and for whom."""

    ids: Sequence[int]
    tiles: Tiles
    sampling: Sampling
    max_new_tokens: int
    listener: Listener


@dataclass(eq=False)
class _Row:
    """A text that is being written: `last` is not in the cache yet."""

    text: Text
    last: int = -1
    written: int = 0


@dataclass(frozen=True)
class _Newcomer:
    """A text whose prompt is being taken in."""

    text: Text
    portions: Iterator[tuple[DynamicCache, torch.Tensor] | None]


class Engine:
    """Writes texts side by side on one network, in a thread of its own.

    A turn of its loop takes in a portion of one newcomer's prompt, and adds one token to every text that is being
    written: no text waits longer for another than such a turn.
    """

    def __init__(self, network: Network, stops: frozenset[int], max_texts: int) -> None:
        """`stops`: tokens that end a text; `max_texts`: how many are written side by side, while further ones wait."""
        self._network = network
        self._stops = stops
        self._max_texts = max_texts
        self._wake = threading.Condition()
        self._waiting: deque[Text] = deque()
        self._closed = False
        # Of the engine's thread alone.
        self._newcomer: _Newcomer | None = None
        self._rows: list[_Row] = []
        self._cache = RaggedCache()
        self._looked = 0.0
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def submit(self, text: Text) -> None:
        """Write a text as soon as there is room."""
        with self._wake:
            self._waiting.append(text)
            self._wake.notify()

    def close(self) -> None:
        """Stop; what is not written by now is cancelled."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join()

    def _run(self) -> None:
        while self._wait():
            try:
                self._dismiss_cancelled()
                self._take_in()
                self._write()
            except Exception as error:
                for text in self._drop_all():
                    self._fail(text, error)
        for text in [*self._drop_all(), *self._waiting]:
            text.listener.finish(CANCELLED)

    def _drop_all(self) -> list[Text]:
        texts = [row.text for row in self._rows]
        if self._newcomer:
            texts.append(self._newcomer.text)
        self._rows, self._newcomer, self._cache = [], None, RaggedCache()
        return texts

    def _wait(self) -> bool:
        """Wait for work; False at the end."""
        with self._wake:
            self._wake.wait_for(lambda: self._closed or self._waiting or self._newcomer or self._rows)
            return not self._closed

    def _dismiss_cancelled(self) -> None:
        if time.monotonic() < self._looked + _LOOK_INTERVAL:
            return
        for index in reversed(range(len(self._rows))):
            if self._rows[index].text.listener.cancelled():
                self._remove(index).listener.finish(CANCELLED)
        if self._newcomer and self._newcomer.text.listener.cancelled():
            self._newcomer.text.listener.finish(CANCELLED)
            self._newcomer = None
        with self._wake:
            waiting = [*self._waiting]
        for text in waiting:
            if text.listener.cancelled():
                with self._wake:
                    self._waiting.remove(text)
                text.listener.finish(CANCELLED)
        self._looked = time.monotonic()

    def _take_in(self) -> None:
        """One portion of a newcomer's prompt; behind the last of them stands its first token."""
        if self._newcomer is None:
            with self._wake:
                if not self._waiting or len(self._rows) >= self._max_texts:
                    return
                text = self._waiting.popleft()
            self._newcomer = _Newcomer(text, self._network.prefill(text.ids, text.tiles))
        text = self._newcomer.text
        try:
            prefilled = next(self._newcomer.portions)
            if prefilled is None:
                return
            cache, logits = prefilled
            [(token, logprob)] = choose(logits, [text.sampling])
            self._cache.join(cache)
        except Exception as error:
            self._newcomer = None
            self._fail(text, error)
            return
        self._newcomer = None
        self._rows.append(_Row(text))
        self._accept(len(self._rows) - 1, token, logprob)

    def _write(self) -> None:
        """One token of every text."""
        if not self._rows:
            return
        try:
            logits = self._network.step([row.last for row in self._rows], self._cache)
            chosen = choose(logits, [row.text.sampling for row in self._rows])
        except Exception as error:
            if not _is_out_of_memory(error):
                raise
            # The longest asks for most room. The others take the same step again.
            longest = max(range(len(self._rows)), key=self._cache.lengths.__getitem__)
            self._fail(self._remove(longest), error)
            return
        self._cache.grown()
        # From the last, because the last takes the place of one that leaves.
        for index in reversed(range(len(self._rows))):
            self._accept(index, *chosen[index])

    def _accept(self, index: int, token: int, logprob: float) -> None:
        row = self._rows[index]
        if token in self._stops:
            self._remove(index).listener.finish(STOP)
            return
        row.last = token
        row.written += 1
        row.text.listener.token(token, logprob)
        if row.written >= row.text.max_new_tokens:
            self._remove(index).listener.finish(LENGTH)

    def _remove(self, index: int) -> Text:
        text = self._rows[index].text
        last = self._rows.pop()
        if index < len(self._rows):
            self._rows[index] = last
        self._cache.leave(index)
        return text

    def _fail(self, text: Text, error: Exception) -> None:
        if _is_out_of_memory(error):
            # Its traceback holds tensors: the new error does not name it as its cause.
            text.listener.fail(OutOfMemoryError(_ADVICE))
            if self._network.device.type == "cuda":
                torch.cuda.empty_cache()
            return
        _log.error("a text could not be written", exc_info=error)
        text.listener.fail(error)


def _is_out_of_memory(error: Exception) -> bool:
    # On a CPU PyTorch has no type for it.
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)
