"""How the next token is chosen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .errors import InvalidArgumentError


@dataclass(frozen=True)
class Sampling:
    """Temperature 0 always takes the likeliest token; `top_p` keeps the likeliest that have this probability together.

    Raises InvalidArgumentError where a value is out of its range.
    """

    temperature: float = 0.0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature <= 2:
            raise InvalidArgumentError(f"temperature must be between 0 and 2, not {self.temperature:g}")
        if not 0 < self.top_p <= 1:
            raise InvalidArgumentError(f"top_p must be above 0 and at most 1, not {self.top_p:g}")


def choose(logits: torch.Tensor, samplings: Sequence[Sampling]) -> list[tuple[int, float]]:
    """A token for each row of FP32 [B, vocabulary], and the logarithm of the probability that the model gives it.

    The probability is the raw logits': neither temperature nor top_p changes it.
    """
    logprobs = logits.log_softmax(-1)
    tokens = logits.argmax(-1)
    for row, sampling in enumerate(samplings):
        if sampling.temperature > 0:
            tokens[row] = _sample(logits[row], sampling)
    chosen = logprobs.gather(-1, tokens[:, None])[:, 0]
    pairs = torch.stack([tokens.double(), chosen.double()]).tolist()  # one transfer from the device
    if not all(map(math.isfinite, pairs[1])):
        raise ArithmeticError("the model gives no finite probabilities: its weights are broken")
    return [(int(token), logprob) for token, logprob in zip(*pairs, strict=True)]


def _sample(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    probabilities, tokens = (logits / sampling.temperature).softmax(-1).sort(descending=True)
    # A token stays while those before it have less than top_p together: the first always does.
    before = probabilities.cumsum(-1) - probabilities
    return tokens[torch.multinomial(probabilities.where(before < sampling.top_p, 0.0), 1)][0]
