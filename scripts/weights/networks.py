"""What has to be known about a network before it can be rewritten and checked."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """The networks of PP-OCR; the value is the model's name in the model repository."""

    DETECTOR = "det_onnx"
    CLASSIFIER = "cls_onnx"
    RECOGNISER = "rec_onnx"
    PAGE_CLASSIFIER = "doc_onnx"


@dataclass(frozen=True)
class Normalisation:
    """(pixel / 255 - mean) / std, channel by channel, in the order in which the pixels lie (B, G, R)."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
