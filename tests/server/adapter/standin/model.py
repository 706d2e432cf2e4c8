"""Stands in for ocr_ensemble in a real Triton: behind the end of the uploaded PNG, JSON says what is to happen.

`sleep`: seconds to work, unless the request is cancelled. `fail`: an error's text. `raise`: an exception's text.
Otherwise the one line that is read holds, as JSON, the options and the id of the request.
"""

import json
import time
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

# The last chunk of a PNG (PNG 1.2, section 4.1.4): its name and the checksum of nothing.
_END = b"IEND\xaeB`\x82"


class TritonPythonModel:
    def execute(self, requests: list[Any]) -> list[Any]:
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        inputs = {tensor.name(): tensor.as_numpy()[0] for tensor in request.inputs()}
        orders = json.loads(inputs.pop("image").partition(_END)[2])
        if "raise" in orders:
            raise ValueError(orders["raise"])
        if "fail" in orders:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(orders["fail"]))
        end = time.monotonic() + orders.get("sleep", 0)
        while time.monotonic() < end and not request.is_cancelled():
            time.sleep(0.02)
        options = {
            name: value.decode() if isinstance(value, bytes) else round(value.item(), 5)
            for name, value in inputs.items()
        }
        return pb_utils.InferenceResponse(_outputs({"options": options, "request_id": request.request_id()}))


def _outputs(text: dict[str, Any]) -> list[Any]:
    quad = [[1, 2], [30, 2], [30, 12], [1, 12]]
    span = {"text": "文字", "score": 0.9, "quad": quad}
    word = {**span, "characters": [span]}
    tensors = {
        "boxes": np.array([quad], np.float32),
        "box_scores": np.array([0.75], np.float32),
        "texts": np.array([json.dumps(text).encode()], np.object_),
        "scores": np.array([0.5], np.float32),
        "angles": np.array([180], np.int32),
        "words": np.array([json.dumps([word] if text["options"].get("return_word_box") else []).encode()], np.object_),
        "size": np.array([640, 480], np.int32),
        "more_frames": np.array([True]),
        "page_angle": np.array([0], np.int32),
        "text": np.array([b""], np.object_),
        "times": np.array([b'{"total": 0.1}'], np.object_),
        "profile_used": np.array([b"PP-OCRv4_mobile"], np.object_),
    }
    return [pb_utils.Tensor(name, array) for name, array in tensors.items()]
