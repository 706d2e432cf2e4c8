"""The configuration of dots.ocr, which transformers does not know: config.json names this file in `auto_map`."""

from __future__ import annotations

from typing import Any

from transformers import PretrainedConfig, Qwen2Config


class DotsVisionConfig(PretrainedConfig):
    """The vision tower; `hidden_size` is what its merger gives to the language model."""

    model_type = "dots_vit"

    def __init__(
        self,
        *,
        embed_dim: int = 1536,
        hidden_size: int = 1536,
        intermediate_size: int = 4224,
        num_hidden_layers: int = 42,
        num_attention_heads: int = 12,
        num_channels: int = 3,
        patch_size: int = 14,
        spatial_merge_size: int = 2,
        temporal_patch_size: int = 1,
        rms_norm_eps: float = 1e-5,
        use_bias: bool = False,
        post_norm: bool = True,
        **others: Any,
    ) -> None:
        super().__init__(**others)
        self.embed_dim = embed_dim
        self.hidden_size = hidden_size
        self.intermediate_size = intermediate_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.num_channels = num_channels
        self.patch_size = patch_size
        self.spatial_merge_size = spatial_merge_size
        self.temporal_patch_size = temporal_patch_size
        self.rms_norm_eps = rms_norm_eps
        self.use_bias = use_bias
        self.post_norm = post_norm


class DotsOCRConfig(Qwen2Config):
    """A Qwen2 that is shown a picture in the place of `image_token_id`."""

    model_type = "dots_ocr"

    def __init__(
        self,
        image_token_id: int = 151665,
        video_token_id: int = 151656,
        vision_config: dict[str, Any] | None = None,
        **others: Any,
    ) -> None:
        super().__init__(**others)
        self.image_token_id = image_token_id
        self.video_token_id = video_token_id
        self.vision_config = DotsVisionConfig(**(vision_config or {}))
