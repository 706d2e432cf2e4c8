"""Reads pictures with a peer's library; run by the Python of that peer's environment, which has nothing else.

    python reader.py LIBRARY ENGINE PRECISION FOLDER

LIBRARY is rapidocr, rapidocr_onnxruntime or rapidocr_paddle; ENGINE (of rapidocr alone) onnxruntime or openvino;
PRECISION f32 or bf16; FOLDER holds det.onnx, cls.onnx and rec.onnx. On standard input stands a path a line; for each a
line of JSON goes to standard output: `seconds` of reading the file's bytes, and `lines`, each with `text` and `poly`.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Read = Callable[[bytes], list[dict[str, Any]]]


def rapidocr(engine: str, precision: str, folder: Path) -> Read:
    """RapidOCR 3: models are loaded with the first picture."""
    if engine == "openvino":
        _set_openvino_precision(precision)
    library: Any = importlib.import_module("rapidocr")
    kinds: Any = importlib.import_module("rapidocr.utils.typings")
    parameters: dict[str, Any] = {"Global.log_level": "error"}
    for part, name in (("Det", "det"), ("Cls", "cls"), ("Rec", "rec")):
        parameters[f"{part}.engine_type"] = kinds.EngineType(engine)
        parameters[f"{part}.model_path"] = str(folder / f"{name}.onnx")
    ocr = library.RapidOCR(params=parameters)

    def read(data: bytes) -> list[dict[str, Any]]:
        result = ocr(data)
        if result.boxes is None or result.txts is None:
            return []
        return [{"text": text, "poly": box.tolist()} for text, box in zip(result.txts, result.boxes)]

    return read


def _set_openvino_precision(precision: str) -> None:
    """RapidOCR leaves it to OpenVINO, which takes bf16 where the processor has it, and has no setting for it."""
    openvino: Any = importlib.import_module("openvino")

    class Core(openvino.Core):
        def __init__(self) -> None:
            super().__init__()
            self.set_property("CPU", {"INFERENCE_PRECISION_HINT": precision})

    openvino.Core = Core


def rapidocr_1(library: str, models: dict[str, str]) -> Read:
    """RapidOCR 1, on ONNX Runtime or on Paddle; both have the same interface."""
    ocr = importlib.import_module(library).RapidOCR(**models)

    def read(data: bytes) -> list[dict[str, Any]]:
        result, _ = ocr(data)
        return [{"text": text, "poly": box} for box, text, _ in result or []]

    return read


def reader(library: str, engine: str, precision: str, folder: Path) -> Read:
    """The function that reads an encoded picture."""
    if library == "rapidocr":
        return rapidocr(engine, precision, folder)
    if library == "rapidocr_onnxruntime":
        return rapidocr_1(
            library, {f"{part}_model_path": str(folder / f"{part}.onnx") for part in ("det", "cls", "rec")}
        )
    return rapidocr_1(library, {})  # the weights that the wheel carries, in Paddle's own format


def main() -> None:
    # What libraries print is not for who reads the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    library, engine, precision, folder = sys.argv[1:]
    read = reader(library, engine, precision, Path(folder))
    for line in sys.stdin:
        data = Path(line.rstrip("\n")).read_bytes()
        began = time.perf_counter()
        lines = read(data)
        seconds = time.perf_counter() - began
        print(json.dumps({"seconds": seconds, "lines": lines}, default=float), file=answers)


if __name__ == "__main__":
    main()
