"""What a pipeline is asked to be: PaddleX's names and configuration files, and devices."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from triton_ocr.errors import ConfigError

PIPELINE = "OCR"
# What --get_pipeline_config gives.
DEFAULT_CONFIG = Path(__file__).with_name("OCR.yaml")

_KEYS = ("text_det_model", "text_rec_model", "text_rec_batch_size", "device")
_BATCH_SIZES = range(1, 33)
_DEVICE = re.compile(r"([a-z]+)(?::(\d+(?:,\d+)*))?", re.ASCII)


@dataclass(frozen=True)
class PipelineConfig:
    """The keys of a configuration's `Pipeline`; None where one is left out, and the server's default holds."""

    text_det_model: str | None = None
    text_rec_model: str | None = None
    text_rec_batch_size: int | None = None
    device: str | None = None


def load_config(pipeline: str) -> PipelineConfig:
    """The configuration behind the pipeline's name, OCR, or behind a YAML file's. Raises ConfigError."""
    if pipeline == PIPELINE:
        return PipelineConfig()
    path = Path(pipeline)
    if path.suffix.lower() not in (".yaml", ".yml"):
        raise ConfigError(f"there is no pipeline {pipeline!r}: there is {PIPELINE}, or a YAML file's name may be given")
    try:
        table = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{pipeline}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{pipeline}: not YAML: {error}") from error
    return _config(table, pipeline)


def _config(table: Any, where: str) -> PipelineConfig:
    section = table.get("Pipeline") if isinstance(table, dict) else None
    if not isinstance(section, dict):
        raise ConfigError(f"{where}: has no section Pipeline")
    unknown = sorted(str(key) for key in section if key not in _KEYS)
    if unknown:
        raise ConfigError(f"{where}: Pipeline.{unknown[0]} is not known here; there are {', '.join(_KEYS)}")
    for key, value in section.items():
        wanted = int if key == "text_rec_batch_size" else str
        if value is not None and (not isinstance(value, wanted) or isinstance(value, bool)):
            raise ConfigError(f"{where}: Pipeline.{key} is {value!r}, where {wanted.__name__} is wanted")
    size = section.get("text_rec_batch_size")
    if size is not None and size not in _BATCH_SIZES:
        raise ConfigError(f"{where}: Pipeline.text_rec_batch_size is {size}; it is 1 to {_BATCH_SIZES[-1]}")
    return PipelineConfig(**section)


def profile_of(model: str, suffix: str, key: str, profiles: Sequence[str]) -> str:
    """The profile whose weights a model's name names: `PP-OCRv4_mobile_det` is PP-OCRv4_mobile's.

    Args:
        model: the name.
        suffix: `_det` or `_rec`.
        key: where the name stands.
        profiles: those that the server has.

    Raises ConfigError, which says what there is and how more are added.
    """
    profile = model.removesuffix(suffix)
    if model.endswith(suffix) and profile in profiles:
        return profile
    there = ", ".join(f"{name}{suffix}" for name in profiles)
    is_path = "/" in model or Path(model).exists()
    name = "NAME" if is_path else re.sub(r"_(det|rec)$", "", model)
    paths = {"_det": "DET", "_rec": "REC"} | ({suffix: model} if is_path else {})
    command = f"scripts/fetch import {name} --det {paths['_det']} --rec {paths['_rec']} --dict DICTIONARY"
    use = f", and name {name}{suffix} here" if is_path else ""
    raise ConfigError(
        f"{key}: the server has no weights {model!r}; it has {there}. "
        f"To add them: {command}, then start the server anew{use}"
    )


def check_device(device: str, on_gpu: bool, where: str) -> str | None:
    """Refuse a device that is not there; return what has to be said of one that is replaced.

    Args:
        device: `cpu`, `gpu` or `gpu:0`, in PaddleX's words.
        on_gpu: whether the server reads on a GPU.
        where: the server, in words.

    Raises ConfigError, which says what there is.
    """
    match = _DEVICE.fullmatch(device)
    there = "gpu:0" if on_gpu else "cpu"
    if not match:
        raise ConfigError(f"{device!r} is no device; {where} has {there}")
    kind, ids = match[1], match[2] or "0"
    if (kind, ids) == (("gpu" if on_gpu else "cpu"), "0"):
        return None
    if (kind, ids) == ("gpu", "0"):
        # PaddleX's default, and so what is written where nobody thought about it.
        return f"{where} has no GPU; it reads on the CPU"
    if (kind, ids) == ("cpu", "0"):
        # What PaddleX's document offers everywhere. A server's models stay where they are loaded.
        return f"{where} reads on its GPU, not on the CPU"
    raise ConfigError(f"{where} has no device {device!r}; it has {there}")
