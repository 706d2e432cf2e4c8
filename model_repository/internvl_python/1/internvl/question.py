"""What a request asks, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import InvalidArgumentError
from .sampling import Sampling


@dataclass(frozen=True)
class Limits:
    """What a request may ask for. `window`: the tokens of prompt and answer together."""

    default_new_tokens: int
    max_new_tokens: int
    max_image_patches: int
    window: int

    def room(self, prompt: int, asked: int) -> int:
        """How many tokens the answer to a prompt of so many may have, of those that are asked for.

        Raises InvalidArgumentError where there is none.
        """
        if prompt >= self.window:
            raise InvalidArgumentError(
                f"prompt and pictures take {prompt} tokens, and the model's window has {self.window}: lower "
                "max_image_patches, send fewer pictures or a shorter prompt"
            )
        return min(asked, self.window - prompt)


@dataclass(frozen=True)
class Question:
    """The inputs of a request, defaults filled in."""

    images: tuple[bytes, ...]
    prompt: str
    stream: bool
    max_new_tokens: int
    max_image_patches: int
    sampling: Sampling

    @classmethod
    def read(cls, inputs: Mapping[str, np.ndarray], limits: Limits) -> Question:
        """Read the tensors of a request, by name; Triton has seen to their types.

        Raises InvalidArgumentError, naming the input, where one is out of its range.
        """
        images = inputs["image"]
        if images.ndim != 1 or not images.size:
            raise InvalidArgumentError(
                f"image must be one or more encoded pictures, shape [n], not {list(images.shape)}"
            )
        options: dict[str, Any] = {name: _only(name, values) for name, values in inputs.items() if name != "image"}
        try:
            prompt = options["prompt"].decode()
        except UnicodeDecodeError as error:
            raise InvalidArgumentError("prompt is not UTF-8") from error
        return cls(
            images=tuple(images.tolist()),
            prompt=prompt,
            stream=options.get("stream", False),
            max_new_tokens=_within(
                "max_new_tokens", options.get("max_new_tokens", limits.default_new_tokens), limits.max_new_tokens
            ),
            max_image_patches=_within(
                "max_image_patches",
                options.get("max_image_patches", limits.max_image_patches),
                limits.max_image_patches,
            ),
            sampling=Sampling(options.get("temperature", 0.0), options.get("top_p", 1.0)),
        )


def _only(name: str, values: np.ndarray) -> Any:
    if values.shape != (1,):
        raise InvalidArgumentError(f"{name} must have shape [1], not {list(values.shape)}")
    return values.tolist()[0]


def _within(name: str, value: int, most: int) -> int:
    if not 1 <= value <= most:
        raise InvalidArgumentError(f"{name} must be between 1 and {most}, not {value}")
    return value
