"""The forward passes: a prompt in portions, then one token of many texts at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from transformers import DynamicCache

from .cache import RaggedCache
from .checkpoint import Checkpoint
from .tiling import Tiles

# The portions in which a prompt is taken in: between them other texts go on.
_TILES = 4
_TOKENS = 1024


class Network:
    """A loaded model on its device. Every method may raise torch.OutOfMemoryError."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._model = checkpoint.model
        self._image_token = self._model.config.image_token_id
        self.device = self._model.device
        vision = checkpoint.vision
        self._mean = torch.tensor(vision.mean, device=self.device)[:, None, None]
        self._std = torch.tensor(vision.std, device=self.device)[:, None, None]

    def prefill(self, ids: Sequence[int], tiles: Tiles) -> Iterator[tuple[DynamicCache, torch.Tensor] | None]:
        """Take in a prompt, a portion at each `next`; last comes its cache, and the logits of the next token, FP32
        [1, vocabulary]."""
        features = []
        for start in range(0, len(tiles), _TILES):
            features.append(self._features(tiles[start : start + _TILES]))
            yield None
        tokens = torch.tensor([ids], device=self.device)
        embedded = self._model.get_input_embeddings()(tokens)
        places = (tokens == self._image_token)[..., None]
        embedded = embedded.masked_scatter(places, torch.cat(features).to(embedded.dtype))
        cache = DynamicCache()
        for portion in embedded.split(_TOKENS, dim=1):
            hidden = self._language(portion, cache)
            yield None
        yield cache, self._logits(hidden)

    def step(self, tokens: Sequence[int], cache: RaggedCache) -> torch.Tensor:
        """Add a token to each text of the cache: the logits of those that come next, FP32 [B, vocabulary].

        May be done again, until the cache is told that it has `grown`.
        """
        embedded = self._model.get_input_embeddings()(torch.tensor(tokens, device=self.device)[:, None])
        past, mask, positions = cache.step(self.device)
        return self._logits(self._language(embedded, past, mask, positions))

    def _features(self, tiles: Tiles) -> torch.Tensor:
        """What the language model is shown of the tiles, [places, hidden]."""
        pixels = torch.from_numpy(tiles).to(self.device).permute(0, 3, 1, 2).float().div(255)
        return self._model.get_image_features((pixels - self._mean) / self._std).pooler_output.flatten(0, 1)

    def _language(
        self,
        embedded: torch.Tensor,
        past: object,
        mask: torch.Tensor | None = None,
        positions: torch.Tensor | None = None,
    ) -> torch.Tensor:
        return self._model.model.language_model(
            inputs_embeds=embedded, past_key_values=past, attention_mask=mask, position_ids=positions, use_cache=True
        ).last_hidden_state

    def _logits(self, hidden: torch.Tensor) -> torch.Tensor:
        return self._model.lm_head(hidden[:, -1]).float()
