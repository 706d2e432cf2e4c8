"""A DB detector's head that shuffles pixels answers as the one that was exported."""

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, helper

from scripts.weights.heads import shuffled
from tests.unit import tiny_networks as tiny

CHANNELS = 5
ENLARGING = {"kernel_shape": [2, 2], "strides": [2, 2], "group": 1, "pads": [0, 0, 0, 0], "dilations": [1, 1]}


def db_detector(*, normalised: bool = True, renamed: bool = False, **enlarging: Any) -> ModelProto:
    """A convolution with stride 4, and a DB head, as exporters write it: with a batch normalisation or without, and
    with an Identity between its nodes or without."""
    random = np.random.default_rng(3)
    constants = {
        "w": random.normal(size=(CHANNELS, 3, 4, 4)),
        "w0": random.normal(size=(CHANNELS, CHANNELS, 2, 2)),
        "b0": random.normal(size=CHANNELS),
        "w1": random.normal(size=(CHANNELS, 1, 2, 2)),
        "b1": random.normal(size=1),
        **{name: random.normal(size=CHANNELS) for name in ("scale", "shift", "mean")},
        "variance": random.uniform(0.5, 2, CHANNELS),
    }
    attributes = {**ENLARGING, **enlarging}
    nodes = [helper.make_node("Conv", ["x", "w"], ["small"], strides=[4, 4])]

    def add(op: str, *inputs: str, **keys: Any) -> str:
        node: NodeProto = helper.make_node(op, inputs, [f"{op}{len(nodes)}"], **keys)
        nodes.append(node)
        if not renamed:
            return node.output[0]
        nodes.append(helper.make_node("Identity", [node.output[0]], [f"again{len(nodes)}"]))
        return nodes[-1].output[0]

    def bias(name: str) -> str:
        return add("Reshape", name, "per_channel")

    at = add("Add", add("ConvTranspose", "small", "w0", **attributes), bias("b0"))
    if normalised:
        at = add("BatchNormalization", at, "scale", "shift", "mean", "variance", epsilon=1e-3)
    at = add("Add", add("ConvTranspose", add("Relu", at), "w1", **attributes), bias("b1"))
    nodes.append(helper.make_node("Sigmoid", [at], ["y"]))
    floats = {name: value.astype(np.float32) for name, value in constants.items()}
    return tiny.model(nodes, {**floats, "per_channel": np.array([1, -1, 1, 1])}, ["N", 1, "A", "B"])


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("renamed", [True, False])
def test_the_probabilities_are_those_of_the_exported_head(normalised: bool, renamed: bool) -> None:
    original = db_detector(normalised=normalised, renamed=renamed)
    changed = shuffled(original)
    picture = np.random.default_rng(4).normal(size=(2, 3, 32, 64)).astype(np.float32)
    (expected,), (answer,) = tiny.run(original, x=picture), tiny.run(changed, x=picture)
    assert expected.std() > 0.1
    np.testing.assert_allclose(answer, expected, atol=1e-5)


def test_nothing_is_convolved_at_the_size_of_the_picture() -> None:
    kinds = [node.op_type for node in shuffled(db_detector()).graph.node]
    assert kinds == ["Conv", "Conv", "Relu", "Conv", "Sigmoid", "DepthToSpace"]


@pytest.mark.parametrize("other", [tiny.detector(), db_detector(strides=[1, 1]), db_detector(pads=[1, 1, 1, 1])])
def test_another_head_stays_as_it_is(other: ModelProto) -> None:
    assert shuffled(other) == other
