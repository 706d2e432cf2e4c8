"""Run in the environment with Paddle: MODEL PARAMETERS → model.onnx, and samples.npz → answers.npz, all in the working
folder. What Paddle answers is what the ONNX network has to answer, too."""

import sys

import numpy as np
import paddle2onnx  # type: ignore[import-not-found]
from paddle import inference  # type: ignore[import-not-found]

# What the rewriting needs, and the oldest servers read (see graphs.py).
_OPSET = 14


def main(model: str, parameters: str) -> None:
    paddle2onnx.export(model, parameters, save_file="model.onnx", opset_version=_OPSET, enable_onnx_checker=True)
    predictor = inference.create_predictor(inference.Config(model, parameters))
    (name,) = predictor.get_input_names()
    (output,) = predictor.get_output_names()
    answers = {}
    for sample, picture in np.load("samples.npz").items():
        predictor.get_input_handle(name).copy_from_cpu(picture)
        predictor.run()
        answers[sample] = predictor.get_output_handle(output).copy_to_cpu()
    np.savez("answers.npz", **answers)


main(*sys.argv[1:])
