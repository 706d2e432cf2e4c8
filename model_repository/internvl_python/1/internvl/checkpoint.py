"""Which weights to serve, and everything that is read from beside them."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from transformers import (
    AutoTokenizer,
    InternVLForConditionalGeneration,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
)
from transformers.image_processing_base import ImageProcessingMixin
from transformers.utils.logging import disable_progress_bar

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_HUB_FILES = ("*.json", "*.jinja", "*.txt", "*.safetensors")
_NATIVE = "OpenGVLab/InternVL3-8B-hf"
# Where the picture processor's file does not say: transformers' own default.
_MOST_TILES = 12


class LayoutError(ValueError):
    """The weights are not in the layout that transformers itself reads, or not whole."""


@dataclass(frozen=True)
class Vision:
    """How the model is shown pictures.

    Attributes:
        side: of a tile, in pixels.
        most_tiles: of one picture, the whole beside them not counted.
        tokens_per_tile: places in the prompt.
        mean, std: of the channels red, green, blue, where a sample is 0 to 1.
    """

    side: int
    most_tiles: int
    tokens_per_tile: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True)
class Checkpoint:
    """A loaded model and what belongs to it.

    Attributes:
        stops: the tokens that end an answer.
        window: how many tokens prompt and answer may have together.
    """

    model: InternVLForConditionalGeneration
    tokenizer: PreTrainedTokenizerFast
    vision: Vision
    stops: frozenset[int]
    window: int


def locate(parameter: str, environment: Mapping[str, str]) -> str:
    """The folder of the weights, which the model's parameter names, or else MODEL_PATH.

    What a hub's name stands for is fetched, or taken as it lies in the hub's cache where the hub is out of reach.

    Raises FileNotFoundError where there is no name, or what it names is not to be had.
    """
    path = parameter or environment.get("MODEL_PATH", "")
    if not path:
        raise FileNotFoundError("MODEL_PATH is not set: it names the folder of the weights, or the hub's name of them")
    if Path(path).is_dir():
        if not Path(path, "config.json").is_file():
            raise FileNotFoundError(f"the model path {path!r} holds no config.json")
        return path
    if Path(path).exists() or not _HUB_NAME.fullmatch(path):
        raise FileNotFoundError(f"the model path {path!r} does not exist, or is no folder")
    try:
        return snapshot_download(path, allow_patterns=[*_HUB_FILES])
    except OSError as error:
        reason = str(error).partition("\n")[0]
        raise FileNotFoundError(
            f"the model {path!r} is neither in the hub's cache nor to be fetched: {reason}"
        ) from error


def load(path: str, device: torch.device, dtype: torch.dtype) -> Checkpoint:
    """Load the weights onto a device.

    Raises LayoutError where they are in another layout or not whole, and what transformers raises where they cannot be
    read.
    """
    config, _ = PreTrainedConfig.get_config_dict(path)
    _check_layout(path, config)
    disable_progress_bar()  # bars are for terminals
    # Weights come into memory once, in their final type, and go to the device from there.
    model, info = InternVLForConditionalGeneration.from_pretrained(
        path, dtype=dtype, attn_implementation=_attention(device), output_loading_info=True
    )
    if info["missing_keys"]:
        raise LayoutError(f"{path} lacks weights: {', '.join(sorted(info['missing_keys']))}")
    tokenizer = AutoTokenizer.from_pretrained(path)
    return Checkpoint(
        model=model.to(device).eval().requires_grad_(False),
        tokenizer=tokenizer,
        vision=_vision(path, model.config),
        stops=_stops(model, tokenizer),
        window=model.config.text_config.max_position_embeddings,
    )


def _check_layout(path: str, config: Mapping[str, Any]) -> None:
    if config.get("model_type") == "internvl":
        return
    if config.get("model_type") == "internvl_chat" or "InternVLChatModel" in (config.get("architectures") or ()):
        raise LayoutError(
            f"{path} holds InternVL in its original layout, which needs code of its own (InternVLChatModel); give the "
            f"native layout of transformers, such as {_NATIVE}"
        )
    raise LayoutError(
        f"{path} holds a model of type {config.get('model_type')!r}, not 'internvl'; give the native layout of "
        f"transformers, such as {_NATIVE}"
    )


def _attention(device: torch.device) -> str:
    flash = device.type == "cuda" and importlib.util.find_spec("flash_attn") is not None
    return "flash_attention_2" if flash else "sdpa"


def _vision(path: str, config: Any) -> Vision:
    processor, _ = ImageProcessingMixin.get_image_processor_dict(path)
    return Vision(
        side=config.vision_config.image_size[0],
        most_tiles=processor.get("max_patches", _MOST_TILES),
        tokens_per_tile=config.image_seq_length,
        mean=tuple(processor["image_mean"]),
        std=tuple(processor["image_std"]),
    )


def _stops(model: InternVLForConditionalGeneration, tokenizer: PreTrainedTokenizerFast) -> frozenset[int]:
    # Where transformers looks, too; a converted model may have no generation_config.json.
    named = (model.generation_config.eos_token_id, model.config.text_config.eos_token_id, tokenizer.eos_token_id)
    ends = next(end for end in named if end is not None)
    return frozenset([ends] if isinstance(ends, int) else ends)
