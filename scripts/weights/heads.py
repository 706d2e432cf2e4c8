"""The head of a DB detector, put so that its last pixels are shuffled into place instead of convolved there.

The head enlarges its map by four: twice by a transposed convolution of 2 x 2 with stride 2, in which every output pixel
sees one input pixel only. So both can be computed where the map is small, as 1 x 1 convolutions with a channel for each
place in the 4 x 4 pixels that come of one, and the batch normalisation between them is folded into the first. What
reaches the full size is the sigmoid's result, one value a pixel. (Shi et al., "Real-Time Single Image and Video
Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural Network", CVPR 2016.)
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, helper, numpy_helper

Values = npt.NDArray[np.float64]

_TWICE = {"kernel_shape": [2, 2], "strides": [2, 2], "group": 1, "pads": [0, 0, 0, 0], "dilations": [1, 1]}


class _OtherHead(Exception):  # noqa: N818 - it is no error
    """The network does not end like a DB detector."""


def shuffled(detector: ModelProto) -> ModelProto:
    """The detector with such a head; the very same where its head is another one."""
    try:
        return _shuffled(detector)
    except _OtherHead:
        return detector


def _shuffled(detector: ModelProto) -> ModelProto:
    graph = _Graph(detector)
    sigmoid = graph.behind(detector.graph.output[0].name, "Sigmoid")
    second, offset = graph.enlargement(sigmoid.input[0])
    relu = graph.behind(second.input[0], "Relu")
    scale, shift, enlarged = graph.normalisation(relu.input[0])
    first, bias = graph.enlargement(enlarged)
    inner = graph.values(first.input[1])  # [in, channels, 2, 2]
    outer = graph.values(second.input[1])  # [channels, 1, 2, 2]
    if outer.shape != (inner.shape[1], 1, 2, 2) or inner.shape[2:] != (2, 2):
        raise _OtherHead
    channels = inner.shape[1]
    # A channel of the first for each (row, column) of the four places and each of its own channels.
    spread = (inner * scale.reshape(1, -1, 1, 1)).transpose(2, 3, 1, 0).reshape(4 * channels, -1, 1, 1)
    # One of the second for each row and column of the 16: (row, its row, column, its column), of its place's channels.
    gathered = np.zeros((2, 2, 2, 2, 2, 2, channels))
    for row in range(2):
        for column in range(2):
            gathered[row, :, column, :, row, column] = outer[:, 0].transpose(1, 2, 0)
    constants = {
        "spread": spread,
        "spread_bias": np.tile(bias * scale + shift, 4),
        "gathered": gathered.reshape(16, 4 * channels, 1, 1),
        "gathered_bias": np.full(16, offset.item()),
    }
    names = {name: f"head/{name}" for name in constants}
    new = [
        helper.make_node("Conv", [first.input[0], names["spread"], names["spread_bias"]], ["head/places"]),
        helper.make_node("Relu", ["head/places"], ["head/active"]),
        helper.make_node("Conv", ["head/active", names["gathered"], names["gathered_bias"]], ["head/logits"]),
        helper.make_node("Sigmoid", ["head/logits"], ["head/probabilities"]),
        helper.make_node(
            "DepthToSpace", ["head/probabilities"], [detector.graph.output[0].name], blocksize=4, mode="DCR"
        ),
    ]
    changed = ModelProto()
    changed.CopyFrom(detector)
    del changed.graph.node[:]
    changed.graph.node.extend([*graph.needed_for(first.input[0]), *new])
    changed.graph.initializer.extend(
        numpy_helper.from_array(value.astype(np.float32), names[name]) for name, value in constants.items()
    )
    return changed


class _Graph:
    """A network read backwards, from a tensor to the node that makes it."""

    def __init__(self, model: ModelProto) -> None:
        self._nodes = list(model.graph.node)
        self._maker = {name: node for node in self._nodes for name in node.output}
        self._weights = {tensor.name: tensor for tensor in model.graph.initializer}

    def behind(self, tensor: str, op: str) -> NodeProto:
        """The node of that kind that makes the tensor."""
        node = self._made_by(tensor)
        if node is None or node.op_type != op:
            raise _OtherHead
        return node

    def enlargement(self, tensor: str) -> tuple[NodeProto, Values]:
        """The transposed convolution of 2 x 2 with stride 2, and the bias of each channel, that make the tensor."""
        addition = self.behind(tensor, "Add")
        bias = self.values(addition.input[1]).reshape(-1)
        convolution = self.behind(addition.input[0], "ConvTranspose")
        attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in convolution.attribute}
        if attributes != _TWICE or len(convolution.input) != 2:
            raise _OtherHead
        return convolution, bias

    def normalisation(self, tensor: str) -> tuple[Values, Values, str]:
        """What each channel is multiplied by, what is then added, and the tensor that this is done to."""
        node = self._made_by(tensor)
        if node is None or node.op_type != "BatchNormalization":
            return np.ones(1), np.zeros(1), tensor
        scale, shift, mean, variance = (self.values(name) for name in node.input[1:])
        epsilon = next((attribute.f for attribute in node.attribute if attribute.name == "epsilon"), 1e-5)
        factor = scale / np.sqrt(variance + epsilon)
        return factor, shift - mean * factor, node.input[0]

    def values(self, tensor: str) -> Values:
        """A constant."""
        tensor = self._unnamed(tensor)
        if tensor in self._weights:
            return numpy_helper.to_array(self._weights[tensor]).astype(np.float64)
        node = self._made_by(tensor)
        if node is None:
            raise _OtherHead
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            return numpy_helper.to_array(node.attribute[0].t).astype(np.float64)
        if node.op_type == "Reshape":
            return self.values(node.input[0]).reshape(self.values(node.input[1]).astype(int))
        raise _OtherHead

    def needed_for(self, tensor: str) -> list[NodeProto]:
        """The nodes that the tensor is made from, in their order."""
        needed, waiting = set(), [tensor]
        while waiting:
            name = waiting.pop()
            if name in self._maker and name not in needed:
                needed.update(self._maker[name].output)
                waiting.extend(self._maker[name].input)
        return [node for node in self._nodes if not needed.isdisjoint(node.output)]

    def _made_by(self, tensor: str) -> NodeProto | None:
        return self._maker.get(self._unnamed(tensor))

    def _unnamed(self, tensor: str) -> str:
        """The tensor that this one is another name of."""
        while tensor in self._maker and self._maker[tensor].op_type == "Identity":
            tensor = self._maker[tensor].input[0]
        return tensor
