"""Rewrites exported PP-OCR networks so that pixels go in and little comes out.

An exported network takes normalised float32 NCHW pictures. The rewritten one takes the pixels as they were decoded
(uint8, NHWC, BGR) and normalises them itself; a recogniser answers with one index and one score per column instead of
one probability per class. Only the borders are new, and a detector's head (see heads): every other node of the original
stays as it was.

    detector    `image` UINT8 [batch, H, W, 3]                             -> `probability` FP32 [batch, H, W]
    classifier  `image` UINT8 [batch, h, w, 3], `width` INT32 [batch, 1]   -> `probability` FP32 [batch, 2] (0°, 180°)
    recogniser  `image` UINT8 [batch, 48, W, 3], `width` INT32 [batch, 1]  -> `index` INT32, `score` FP32 [batch, T]
    page        `image` UINT8 [batch, 224, 224, 3]                         -> `probability` FP32 [batch, 4]
    classifier                                                                (0°, 90°, 180°, 270°)

`width` is the number of columns that hold picture. The columns behind them are padding: they are zero after the
normalisation, whatever they hold. (Zero is half way between two values of a byte, so no pixel could say it, and the
classifier's answer moves by up to 0.013 with the nearest ones.)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from scripts.weights import heads
from scripts.weights.errors import GraphError
from scripts.weights.networks import Kind, Normalisation

# What the oldest server that loads these graphs understands: NVIDIA's r24.10 carries ONNX Runtime 1.19.
NEWEST_IR = 10
NEWEST_OPSET = 21
# Range appeared with opset 11, and Equal began to compare floats.
OLDEST_OPSET = 11

RECOGNISER_HEIGHT = 48
PAGE_CLASSIFIER_SIDE = 224


def rewrite(kind: Kind, original: ModelProto, normalisation: Normalisation) -> ModelProto:
    """The network with the borders of its kind. Raises GraphError where it is not a network of that kind."""
    rewriters = {
        Kind.DETECTOR: _detector,
        Kind.CLASSIFIER: _classifier,
        Kind.RECOGNISER: _recogniser,
        Kind.PAGE_CLASSIFIER: _page_classifier,
    }
    return rewriters[kind](original, normalisation)


def class_count(recogniser: ModelProto) -> int:
    """The number of CTC classes of an exported recogniser, the blank included. Raises GraphError without one."""
    if len(recogniser.graph.output) != 1:
        raise GraphError(f"one output is wanted, not {len(recogniser.graph.output)}")
    dims = _dims(recogniser.graph.output[0])
    if len(dims) != 3 or not isinstance(dims[2], int):
        raise GraphError(f"a recogniser answers [N, T, C] with a fixed C, but this one declares {dims}")
    return dims[2]


def metadata(model: ModelProto, key: str) -> str | None:
    """A text that the exporter left in the network, or None."""
    return next((entry.value for entry in model.metadata_props if entry.key == key), None)


def _detector(original: ModelProto, normalisation: Normalisation) -> ModelProto:
    rewriting = _Rewriting(heads.shuffled(original))
    rewriting.take_pixels("H", "W", normalisation)
    _check_answer(original, "a detector", ["N", 1, "H", "W"])
    rewriting.squeeze(rewriting.answer, 1, output="probability")
    rewriting.give("probability", TensorProto.FLOAT, ["batch", "H", "W"])
    return rewriting.finish()


def _classifier(original: ModelProto, normalisation: Normalisation) -> ModelProto:
    rewriting = _Rewriting(original)
    rewriting.take_pixels("h", "w", normalisation, padded=True)
    _check_answer(original, "a classifier of two directions", ["N", 2])
    rewriting.add("Identity", rewriting.answer, output="probability")
    rewriting.give("probability", TensorProto.FLOAT, ["batch", 2])
    return rewriting.finish()


def _page_classifier(original: ModelProto, normalisation: Normalisation) -> ModelProto:
    rewriting = _Rewriting(original)
    rewriting.take_pixels(PAGE_CLASSIFIER_SIDE, PAGE_CLASSIFIER_SIDE, normalisation)
    rewriting.add("Identity", rewriting.answer, output="probability")
    rewriting.give("probability", TensorProto.FLOAT, ["batch", 4])
    return rewriting.finish()


def _recogniser(original: ModelProto, normalisation: Normalisation) -> ModelProto:
    """The most probable class of each column, without ArgMax: OpenVINO takes 14 to 45 % longer with it.

    The classes are numbered backwards, C for the first; where a class reaches the highest probability its number
    stands, else 0; the largest of them is the first class that reaches it, as ArgMax would have it.
    """
    classes = class_count(original)
    rewriting = _Rewriting(original)
    rewriting.take_pixels(RECOGNISER_HEIGHT, "W", normalisation, padded=True)
    add, constant = rewriting.add, rewriting.constant
    highest = rewriting.reduce_max(rewriting.answer, 2)
    backwards = constant("backwards", np.arange(classes, 0, -1, dtype=np.int32))
    reaching = add("Where", add("Equal", rewriting.answer, highest), backwards, constant("none", np.int32(0)))
    first = rewriting.squeeze(rewriting.reduce_max(reaching, 2), 2)
    add("Sub", constant("classes", np.int32(classes)), first, output="index")
    rewriting.squeeze(highest, 2, output="score")
    rewriting.give("index", TensorProto.INT32, ["batch", "T"])
    rewriting.give("score", TensorProto.FLOAT, ["batch", "T"])
    return rewriting.finish()


class _Rewriting:
    """A network that takes one picture and gives one answer, in the course of getting new borders.

    The nodes are collected in the order in which they will run: what take_pixels puts in front, the original ones,
    then what is added behind.
    """

    def __init__(self, original: ModelProto) -> None:
        graph = original.graph
        weights = {tensor.name for tensor in graph.initializer}
        inputs = [value for value in graph.input if value.name not in weights]
        if len(inputs) != 1 or len(graph.output) != 1:
            raise GraphError(f"one input and one output are wanted, not {len(inputs)} and {len(graph.output)}")
        self._opset = next(entry.version for entry in original.opset_import if entry.domain in ("", "ai.onnx"))
        if not OLDEST_OPSET <= self._opset <= NEWEST_OPSET:
            raise GraphError(f"opset {self._opset} is not within {OLDEST_OPSET} .. {NEWEST_OPSET}")
        if original.ir_version > NEWEST_IR:
            raise GraphError(f"IR version {original.ir_version} is newer than {NEWEST_IR}")
        self._original = original
        self._picture = inputs[0]
        self.answer = graph.output[0].name
        self._taken = weights | {name for node in graph.node for name in (*node.input, *node.output)}
        self._nodes: list[NodeProto] = []
        self._constants: dict[str, TensorProto] = {}
        self._inputs: list[ValueInfoProto] = []
        self._outputs: list[ValueInfoProto] = []

    def take_pixels(
        self, height: int | str, width: int | str, normalisation: Normalisation, padded: bool = False
    ) -> None:
        """Puts `image` before the network, and `width` where pictures come padded.

        A side is a number, or a name where any number will do; it becomes a number where the network was made for one.
        """
        declared = _dims(self._picture)
        element = self._picture.type.tensor_type.elem_type
        if len(declared) != 4 or declared[1] != 3 or isinstance(declared[0], int) or element != TensorProto.FLOAT:
            raise GraphError(f"the input is wanted as float32 [N, 3, H, W], but declared as {declared}")
        sides = [_agreed(wanted, found) for wanted, found in zip((height, width), declared[2:], strict=True)]
        self._take("image", TensorProto.UINT8, ["batch", *sides, 3])

        # (pixel - 255 mean) / (255 std): where mean and std are a half, only the division rounds, and so the float32
        # result is the exact one. It costs nothing that could be measured beside a multiplication and an addition.
        mean = self.constant("mean", _per_channel(normalisation.mean))
        std = self.constant("std", _per_channel(normalisation.std))
        pixels = self.add("Cast", self.add("Transpose", "image", perm=[0, 3, 1, 2]), to=TensorProto.FLOAT)
        centred = self.add("Sub", pixels, mean)
        picture = self._picture.name
        if padded:
            normalised = self.add("Div", centred, std)
            self.add("Where", self._is_picture(), normalised, self.constant("padding", np.float32(0)), output=picture)
        else:
            self.add("Div", centred, std, output=picture)
        self._nodes.extend(self._original.graph.node)

    def give(self, name: str, element: int, shape: list[int | str]) -> None:
        """Declares an output."""
        self._outputs.append(helper.make_tensor_value_info(name, element, shape))

    def add(self, op: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Adds a node; returns the name of its output."""
        name = f"border/{len(self._nodes)}/{op}"
        self._nodes.append(helper.make_node(op, inputs, [output or name], name, **attributes))
        return output or name

    def constant(self, name: str, value: npt.NDArray[np.generic] | np.generic) -> str:
        """Adds a constant; returns the name of its tensor."""
        tensor = numpy_helper.from_array(np.asarray(value), f"border/{name}")
        self._constants[tensor.name] = tensor
        return tensor.name

    def reduce_max(self, tensor: str, axis: int) -> str:
        """The largest along an axis, which stays with length 1."""
        return self._along("ReduceMax", tensor, axis, input_since=18, keepdims=1)

    def squeeze(self, tensor: str, axis: int, output: str | None = None) -> str:
        """The tensor without an axis of length 1."""
        return self._along("Squeeze", tensor, axis, input_since=13, output=output)

    def finish(self) -> ModelProto:
        """The rewritten network, whose declared shapes hold. Raises GraphError if it is not valid."""
        model = ModelProto()
        model.CopyFrom(self._original)
        del model.metadata_props[:]
        graph = model.graph
        for field, values in (("node", self._nodes), ("input", self._inputs), ("output", self._outputs)):
            graph.ClearField(field)
            getattr(graph, field).extend(values)
        graph.initializer.extend(self._constants.values())
        if clashing := self._taken & {value.name for value in (*self._inputs, *self._outputs)}:
            raise GraphError(f"the network already uses the name {min(clashing)!r} inside")
        try:
            onnx.checker.check_model(model, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            raise GraphError(f"the rewritten network is not valid: {error}") from error
        return model

    def _take(self, name: str, element: int, shape: list[int | str]) -> None:
        self._inputs.append(helper.make_tensor_value_info(name, element, shape))

    def _is_picture(self) -> str:
        """BOOL [batch, 1, 1, W]: whether a column lies before `width`."""
        self._take("width", TensorProto.INT32, ["batch", 1])
        columns = self.add("Gather", self.add("Shape", "image"), self.constant("width_axis", np.int64(2)))
        number = self.add(
            "Range",
            self.constant("first", np.int32(0)),
            self.add("Cast", columns, to=TensorProto.INT32),
            self.constant("step", np.int32(1)),
        )
        end = self.add("Reshape", "width", self.constant("per_row", np.array([-1, 1, 1, 1], np.int64)))
        return self.add("Less", number, end)

    def _along(
        self, op: str, tensor: str, axis: int, input_since: int, output: str | None = None, **attributes: Any
    ) -> str:
        """A node that works along an axis, which was an attribute until an opset made it an input."""
        if self._opset < input_since:
            return self.add(op, tensor, output=output, axes=[axis], **attributes)
        return self.add(op, tensor, self.constant(f"axis_{axis}", np.array([axis])), output=output, **attributes)


def _agreed(wanted: int | str, declared: int | str) -> int | str:
    if isinstance(wanted, int) and isinstance(declared, int) and wanted != declared:
        raise GraphError(f"pictures of {wanted} pixels are wanted, but the network is made for {declared}")
    return declared if isinstance(declared, int) else wanted


def _per_channel(values: tuple[float, float, float]) -> npt.NDArray[np.float32]:
    """In units of a byte, and in the shape of a picture."""
    return (255.0 * np.array(values)).astype(np.float32).reshape(1, 3, 1, 1)


def _check_answer(original: ModelProto, what: str, wanted: list[int | str]) -> None:
    """Raise GraphError where the network declares an answer of another shape; numbers have to be those wanted."""
    value = original.graph.output[0]
    declared = _dims(value)
    agrees = len(declared) == len(wanted) and all(
        not isinstance(dim, int) or not isinstance(found, int) or dim == found for dim, found in zip(wanted, declared)
    )
    if value.type.tensor_type.HasField("shape") and not agrees:
        raise GraphError(f"{what} answers [{', '.join(map(str, wanted))}], but this network declares {declared}")


def _dims(value: ValueInfoProto) -> list[int | str]:
    """The declared dimensions: a number where fixed, else a name, which may be empty. (-1 stands in some exports.)"""
    dims = value.type.tensor_type.shape.dim
    return [dim.dim_value if dim.dim_value > 0 else dim.dim_param for dim in dims]
