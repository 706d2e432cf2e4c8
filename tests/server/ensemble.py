"""ocr_ensemble as Triton's own clients see it, over both protocols."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.http

_TYPES = {bool: ("BOOL", np.bool_), int: ("INT32", np.int32), float: ("FP32", np.float32), str: ("BYTES", np.object_)}


@dataclass(frozen=True)
class Reading:
    """The outputs of one request."""

    texts: list[str]
    scores: np.ndarray
    boxes: np.ndarray
    box_scores: np.ndarray
    angles: list[int]
    words: list[Any]
    text: str
    page_angle: int
    size: tuple[int, int]
    more_frames: bool
    times: dict[str, float]
    profile: str


def read(client: Any, picture: bytes, **options: bool | int | float | str) -> Reading:
    """Read a picture through a tritonclient of either protocol; raises InferenceServerException."""
    module = tritonclient.http if isinstance(client, tritonclient.http.InferenceServerClient) else tritonclient.grpc
    inputs = []
    for name, value in {"image": picture, **options}.items():
        datatype, dtype = ("BYTES", np.object_) if isinstance(value, bytes) else _TYPES[type(value)]
        tensor = module.InferInput(name, [1], datatype)
        tensor.set_data_from_numpy(np.array([value.encode() if isinstance(value, str) else value], dtype))
        inputs.append(tensor)
    answer = client.infer("ocr_ensemble", inputs)
    return Reading(
        texts=[text.decode() for text in answer.as_numpy("texts")],
        scores=answer.as_numpy("scores"),
        boxes=answer.as_numpy("boxes"),
        box_scores=answer.as_numpy("box_scores"),
        angles=answer.as_numpy("angles").tolist(),
        words=[json.loads(words) if words else [] for words in answer.as_numpy("words")],
        text=answer.as_numpy("text")[0].decode(),
        page_angle=int(answer.as_numpy("page_angle")[0]),
        size=tuple(answer.as_numpy("size").tolist()),
        more_frames=bool(answer.as_numpy("more_frames")[0]),
        times=json.loads(answer.as_numpy("times")[0]),
        profile=answer.as_numpy("profile_used")[0].decode(),
    )
