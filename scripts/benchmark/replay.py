"""The bare inference runtime under the load of our own pipeline: its calls recorded once, then made again and again.

    python -m scripts.benchmark.replay < questions

The first line on standard input is a JSON object: `profile`; `configurations`, the Triton configuration of each network
as the server runs it; `threads`, that each of them may use; `pictures`, paths. The pictures are read by the pipeline,
on sessions opened from those configurations, and every call that it makes of a network is kept; the answer tells how
many `calls`. Each further line has all of them made once more, one after another; the answer tells the `seconds` that
took.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ppocr import options, pipeline, profiles

from backends.onnxruntime import sessions
from scripts.launch.layout import wish
from scripts.launch.server import ROOT, TUNED

_REPOSITORY = ROOT / "model_repository"
_OUTPUTS = {
    "doc_onnx": ["probability"],
    "det_onnx": ["probability"],
    "cls_onnx": ["probability"],
    "rec_onnx": ["index", "score"],
}

Feed = dict[str, npt.NDArray[Any]]


class Recorder:
    """pipeline.Networks on sessions of this process; keeps every call."""

    def __init__(self, configurations: dict[str, Any], version: int, threads: int) -> None:
        self.calls: list[tuple[str, Feed]] = []
        self._sessions = {
            model: sessions.Session(
                _plan(model, config, version, threads), warn=lambda line: print(line, file=sys.stderr)
            )
            for model, config in configurations.items()
        }

    def run(self, model: str, feed: Feed) -> Feed:
        """Make a call."""
        return self._sessions[model].run(_OUTPUTS[model], feed)

    async def classify_page(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """See pipeline.Networks."""
        return self._recorded("doc_onnx", {"image": image})["probability"]

    async def detect(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """See pipeline.Networks."""
        return self._recorded("det_onnx", {"image": image})["probability"]

    async def orient(self, image: npt.NDArray[np.uint8], width: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
        """See pipeline.Networks."""
        return self._recorded("cls_onnx", {"image": image, "width": width})["probability"]

    async def recognize(
        self, image: npt.NDArray[np.uint8], width: npt.NDArray[np.int32]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """See pipeline.Networks."""
        answer = self._recorded("rec_onnx", {"image": image, "width": width})
        return answer["index"], answer["score"]

    def _recorded(self, model: str, feed: Feed) -> Feed:
        contiguous = {name: np.ascontiguousarray(values) for name, values in feed.items()}
        self.calls.append((model, contiguous))
        return self.run(model, contiguous)


def _plan(model: str, config: dict[str, Any], version: int, threads: int) -> sessions.Plan:
    """The session that the server has of the network, its precision and provider, with so many threads."""
    parameters = {**config.get("parameters", {}), "intra_op_thread_count": {"string_value": str(threads)}}
    instance = {"model_instance_kind": "CPU", "model_instance_device_id": "0"}
    if any(group.get("kind") == "KIND_GPU" for group in config.get("instance_group", [])):
        instance["model_instance_kind"] = "GPU"
    arguments = {
        "model_config": json.dumps({**config, "parameters": parameters}),
        "model_repository": str(_REPOSITORY / model),
        "model_version": str(version),
        **instance,
    }
    return sessions.plan(arguments, threads)


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is not for who reads the answers
    setting = json.loads(input())
    precision = "fast" if "bf16" in json.dumps(setting["configurations"]) else "exact"
    profile = profiles.load_profiles(_REPOSITORY / "ocr_ensemble" / "1", precision)[setting["profile"]]
    recorder = Recorder(setting["configurations"], profile.version, setting["threads"])
    pace = pipeline.Pace(wish(os.environ, TUNED).layout.lines, instances=1)
    for path in setting["pictures"]:
        asyncio.run(pipeline.read(Path(path).read_bytes(), options.Options(), profile, recorder, pace))
    print(json.dumps({"calls": len(recorder.calls)}), file=answers)
    for _ in sys.stdin:
        began = time.perf_counter()
        for model, feed in recorder.calls:
            recorder.run(model, feed)
        print(json.dumps({"seconds": time.perf_counter() - began}), file=answers)


if __name__ == "__main__":
    main()
