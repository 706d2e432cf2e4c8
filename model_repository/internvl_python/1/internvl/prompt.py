"""A caller's words as the model's raw input: the chat template, and the places of the tiles in it."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerFast

from .errors import InvalidArgumentError


class PromptFormat:
    """Writes prompts for one model. Raises ValueError where its chat template knows no pictures."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, tokens_per_tile: int) -> None:
        self._tokenizer = tokenizer
        self._tokens_per_tile = tokens_per_tile
        self._place = tokenizer.context_image_token
        self._control = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
        if len(self._around([0], "")) != 2:
            raise ValueError(f"the chat template has no place for a picture ({self._place})")

    def ids(self, prompt: str, tiles: Sequence[int]) -> list[int]:
        """The ids of the tokens, for pictures of so many tiles each and the prompt behind them.

        Raises InvalidArgumentError where the prompt is empty, or holds one of the model's control tokens.
        """
        if not prompt.strip():
            raise InvalidArgumentError("prompt is empty")
        for control in self._control:
            if control in prompt:
                raise InvalidArgumentError(f"prompt holds {control!r}, one of the model's own control tokens")
        before, *behind = self._around(tiles, prompt)
        pictures = (self._picture(count) + text for count, text in zip(tiles, behind, strict=True))
        return list(self._tokenizer(before + "".join(pictures), add_special_tokens=False)["input_ids"])

    def _around(self, tiles: Sequence[int], prompt: str) -> list[str]:
        """The text before the first picture, and behind each."""
        content = [*({"type": "image"} for _ in tiles), {"type": "text", "text": prompt}]
        rendered = self._tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        return str(rendered).split(self._place)

    def _picture(self, tiles: int) -> str:
        places = self._place * (tiles * self._tokens_per_tile)
        return f"{self._tokenizer.start_image_token}{places}{self._tokenizer.end_image_token}"
