"""Networks with the borders of exported PP-OCR ones, but a handful of weights, and wheels to ship them in."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from scripts.weights.catalogue import Member, Network, Profile, Wheel
from scripts.weights.networks import Kind, Normalisation

CENTRED = Normalisation(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
IMAGENET = Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))

Constants = Mapping[str, npt.NDArray[np.generic]]

# Columns of the picture that make one column of the recogniser's answer.
STRIDE = 8


def model(
    nodes: list[NodeProto],
    constants: Constants,
    output: list[int | str],
    picture: list[int | str] | None = None,
    *,
    opset: int = 11,
    ir_version: int = 8,
) -> ModelProto:
    """`x` float32 in, `y` float32 out."""
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, picture or ["N", 3, "A", "B"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, output)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)


def detector(seed: int = 0, opset: int = 11, ir_version: int = 8) -> ModelProto:
    """A 3 x 3 convolution, so that the border of the picture counts, and a sigmoid."""
    weights = np.random.default_rng(seed).normal(size=(1, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "weights"], ["map"], pads=[1, 1, 1, 1]),
        helper.make_node("Sigmoid", ["map"], ["y"]),
    ]
    return model(nodes, {"weights": weights}, ["N", 1, "A", "B"], opset=opset, ir_version=ir_version)


def classifier(picture: list[int | str] | None = None) -> ModelProto:
    """The mean of the picture, the padding included, decides."""
    weights = np.array([[3, -1], [-2, 2], [1, 0]], np.float32)
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["y"], axis=1),
    ]
    return model(nodes, {"weights": weights}, ["N", 2], picture)


def page_classifier() -> ModelProto:
    """The mean colour of the picture decides."""
    weights = np.array([[3, -1, 0, 1], [-2, 2, 1, 0], [1, 0, -1, 2]], np.float32)
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["y"], axis=1),
    ]
    return model(nodes, {"weights": weights}, ["N", 4], ["N", 3, 224, 224])


def recogniser(weights: npt.NDArray[np.float32], opset: int = 11, character: str | None = None) -> ModelProto:
    """Class probabilities [N, W / STRIDE, C] of the mean colour of each strip; `weights` is [3, C]."""
    nodes = [
        helper.make_node("AveragePool", ["x"], ["strips"], kernel_shape=[48, STRIDE], strides=[48, STRIDE]),
        helper.make_node("Reshape", ["strips", "shape"], ["flat"]),
        helper.make_node("Transpose", ["flat"], ["columns"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["columns", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["y"], axis=2),
    ]
    constants: Constants = {"weights": weights, "shape": np.array([0, 0, -1], np.int64)}
    built = model(nodes, constants, ["N", "S", weights.shape[1]], ["N", 3, 48, "B"], opset=opset)
    if character is not None:
        helper.set_model_props(built, {"character": character})
    return built


def random_recogniser(classes: int, seed: int = 0, opset: int = 11, character: str | None = None) -> ModelProto:
    weights = np.random.default_rng(seed).normal(scale=4, size=(3, classes)).astype(np.float32)
    return recogniser(weights, opset, character)


def run(network: ModelProto, **inputs: npt.NDArray[np.generic]) -> list[npt.NDArray[np.float32]]:
    session = onnxruntime.InferenceSession(network.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


def wheel(folder: Path, name: str, files: Mapping[str, bytes]) -> Wheel:
    """A wheel of version 1.0 that pip accepts, written into `folder`."""
    info = f"{name}-1.0.dist-info"
    metadata = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    file = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        for path, content in {**files, **metadata}.items():
            archive.writestr(path, content)
    return Wheel(name, "1.0", hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_size)


def profile(folder: Path, version: int, characters: str, classes: int | None = None) -> Profile:
    """A profile whose three networks lie, with a dictionary file, in the wheel shop_VERSION, written into `folder`."""
    classes = classes or characters.count("\n") + 2
    shipped = wheel(
        folder,
        f"shop_{version}",
        {
            "det.onnx": detector(seed=version).SerializeToString(),
            "cls.onnx": classifier().SerializeToString(),
            "rec.onnx": random_recogniser(classes, seed=version).SerializeToString(),
            "dict.txt": characters.encode(),
        },
    )
    return Profile(
        f"profile_{version}",
        version,
        detector=Network(Kind.DETECTOR, Member(shipped, "det.onnx"), IMAGENET),
        classifier=Network(Kind.CLASSIFIER, Member(shipped, "cls.onnx"), CENTRED),
        recogniser=Network(Kind.RECOGNISER, Member(shipped, "rec.onnx"), CENTRED, Member(shipped, "dict.txt")),
    )
