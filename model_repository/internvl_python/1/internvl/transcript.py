"""Tokens → text, as they come."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tokenizers.decoders import DecodeStream
from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class Piece:
    """Some whole characters, and the log-probabilities of the tokens that they consist of."""

    text: str
    logprobs: tuple[float, ...]


class Transcript:
    """What a model has written. Its control tokens are counted, and are neither text nor part of the confidence."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._backend = tokenizer.backend_tokenizer
        self._control = frozenset(number for number, token in tokenizer.added_tokens_decoder.items() if token.special)
        self._decoder = DecodeStream(skip_special_tokens=True)
        self._tokens: list[int] = []
        self._taken = 0  # characters
        self._logprobs: list[float] = []
        self._sum = 0.0
        self._spoken = 0
        self.num_tokens = 0

    @property
    def confidence(self) -> float:
        """The geometric mean of the probabilities of the tokens so far; 0 where there are none."""
        return math.exp(self._sum / self._spoken) if self._spoken else 0.0

    def add(self, token: int, logprob: float) -> Piece | None:
        """Take a token; the characters that it completes, if it does."""
        self.num_tokens += 1
        if token in self._control:
            return None
        self._spoken += 1
        self._sum += logprob
        self._tokens.append(token)
        self._logprobs.append(logprob)
        text = self._decoder.step(self._backend, token)
        return self._piece(text) if text else None

    def finish(self) -> Piece:
        """What is left: bytes that became no character are shown as U+FFFD."""
        return self._piece(self._backend.decode(self._tokens)[self._taken :])

    def _piece(self, text: str) -> Piece:
        logprobs, self._logprobs = tuple(self._logprobs), []
        self._taken += len(text)
        return Piece(text, logprobs)
