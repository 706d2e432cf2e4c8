"""Rewrites exported PP-OCR networks so that bytes go in and little comes out.

An exported network takes normalised float32 NCHW pictures. The rewritten one takes the pixels as they were decoded (uint8,
NHWC, BGR) and normalises them itself; a recogniser also masks the padding and answers with one index and one score per
column instead of one probability per class. Only the borders change: every original node stays as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

# What the oldest server that loads these graphs understands: NVIDIA's r24.10 carries ONNX Runtime 1.19.
NEWEST_IR = 10
NEWEST_OPSET = 21
# Equal compares floats, and Range exists, since opset 11.
OLDEST_OPSET = 11


class GraphError(ValueError):
    """A network does not have the shape that its kind needs."""


@dataclass(frozen=True)
class Normalisation:
    """(pixel / 255 - mean) / std, channel by channel, in the order in which the pixels lie (B, G, R)."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @property
    def scale(self) -> np.ndarray:
        """What a pixel is multiplied with: float32 [1, 3, 1, 1]."""
        return (1.0 / (255.0 * np.array(self.std))).astype(np.float32).reshape(1, 3, 1, 1)

    @property
    def bias(self) -> np.ndarray:
        """What is added afterwards: float32 [1, 3, 1, 1]."""
        return (-np.array(self.mean) / np.array(self.std)).astype(np.float32).reshape(1, 3, 1, 1)


def rewrite_detector(original: ModelProto, normalisation: Normalisation) -> ModelProto:
    """Text detector: `image` UINT8 [batch, H, W, 3] -> `probability` FP32 [batch, H, W].

    The original maps [N, 3, H, W] to a probability map [N, 1, H, W]. Raises GraphError where it does not.
    """
    border = _Border(original)
    border.take_image("H", "W", normalisation)
    border.squeeze_channel("probability")
    return border.finish(
        inputs=[("image", TensorProto.UINT8, ["batch", "H", "W", 3])],
        outputs=[("probability", TensorProto.FLOAT, ["batch", "H", "W"])],
    )


def rewrite_classifier(original: ModelProto, normalisation: Normalisation) -> ModelProto:
    """Line orientation classifier: `image` UINT8 [batch, h, w, 3] -> `probability` FP32 [batch, 2] (0°, 180°).

    The original maps [N, 3, h, w] to probabilities [N, 2]. Raises GraphError where it does not.
    """
    border = _Border(original)
    height, width = border.take_image("h", "w", normalisation)
    border.rename_output("probability")
    return border.finish(
        inputs=[("image", TensorProto.UINT8, ["batch", height, width, 3])],
        outputs=[("probability", TensorProto.FLOAT, ["batch", 2])],
    )


def rewrite_recogniser(original: ModelProto, normalisation: Normalisation) -> ModelProto:
    """Text recogniser: `image` UINT8 [batch, 48, W, 3], `width` INT32 [batch, 1] -> `index` INT32, `score` FP32 [batch, T].

    Columns of the picture at and beyond `width` are zero after the normalisation, whatever they hold. `index` is the most
    probable CTC class of each output column (the first of equals; 0 is the blank) and `score` is its probability.
    The original maps [N, 3, 48, W] to class probabilities [N, T, C]. Raises GraphError where it does not.
    """
    border = _Border(original)
    classes = recogniser_classes(original)
    border.take_image(48, "W", normalisation, mask="width")
    border.reduce_classes(classes)
    return border.finish(
        inputs=[("image", TensorProto.UINT8, ["batch", 48, "W", 3]), ("width", TensorProto.INT32, ["batch", 1])],
        outputs=[("index", TensorProto.INT32, ["batch", "T"]), ("score", TensorProto.FLOAT, ["batch", "T"])],
    )


def recogniser_classes(original: ModelProto) -> int:
    """The number of CTC classes of an exported recogniser, the blank included. Raises GraphError if it is not fixed."""
    dims = _dims(original.graph.output[0])
    if len(dims) != 3 or not isinstance(dims[2], int):
        raise GraphError(f"a recogniser's output is [N, T, C] with a fixed C, not {dims}")
    return dims[2]


def metadata(original: ModelProto, key: str) -> str | None:
    """A text that the exporter left in the network, or None."""
    return next((entry.value for entry in original.metadata_props if entry.key == key), None)


@dataclass
class _Border:
    """A copy of a network with one image input and one output, whose borders are being replaced."""

    original: ModelProto
    before: list[NodeProto] = field(default_factory=list)
    after: list[NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)

    def __post_init__(self) -> None:
        graph = self.original.graph
        weights = {tensor.name for tensor in graph.initializer}
        inputs = [value for value in graph.input if value.name not in weights]
        if len(inputs) != 1 or len(graph.output) != 1:
            raise GraphError(f"one input and one output are wanted, not {len(inputs)} and {len(graph.output)}")
        self.input, self.output = inputs[0], graph.output[0]
        self.opset = next(entry.version for entry in self.original.opset_import if entry.domain in ("", "ai.onnx"))
        if not OLDEST_OPSET <= self.opset <= NEWEST_OPSET:
            raise GraphError(f"opset {self.opset} is outside {OLDEST_OPSET}..{NEWEST_OPSET}")
        if self.original.ir_version > NEWEST_IR:
            raise GraphError(f"IR version {self.original.ir_version} is newer than {NEWEST_IR}")
        dims = _dims(self.input)
        if len(dims) != 4 or dims[1] != 3 or self.input.type.tensor_type.elem_type != TensorProto.FLOAT:
            raise GraphError(f"the input '{self.input.name}' is not a float32 picture [N, 3, H, W] but {dims}")

    def take_image(
        self, height: int | str, width: int | str, normalisation: Normalisation, mask: str | None = None
    ) -> tuple[int | str, int | str]:
        """Puts `image` before the network; returns its height and width, fixed where the network fixes them."""
        fixed = [dim if isinstance(dim, int) and dim > 0 else None for dim in _dims(self.input)[2:]]
        for wanted, found in zip((height, width), fixed, strict=True):
            if isinstance(wanted, int) and found not in (None, wanted):
                raise GraphError(f"the input is {found} pixels high, not {wanted}")
        add = self._before
        pixels = add("Cast", [add("Transpose", ["image"], perm=[0, 3, 1, 2])], to=TensorProto.FLOAT)
        scaled = add("Mul", [pixels, self._constant("scale", normalisation.scale)])
        bias = self._constant("bias", normalisation.bias)
        if mask is None:
            add("Add", [scaled, bias], output=self.input.name)
        else:
            normalised = add("Add", [scaled, bias])
            columns = add(
                "Range",
                [
                    self._constant("first", np.int32(0)),
                    add(
                        "Cast",
                        [add("Gather", [add("Shape", ["image"]), self._constant("width_axis", np.int64(2))])],
                        to=TensorProto.INT32,
                    ),
                    self._constant("step", np.int32(1)),
                ],
            )
            per_row = add("Reshape", [mask, self._constant("per_row", np.array([-1, 1, 1, 1], np.int64))])
            zero = self._constant("zero", np.float32(0))
            add("Where", [add("Less", [columns, per_row]), normalised, zero], output=self.input.name)
        return fixed[0] or height, fixed[1] or width

    def squeeze_channel(self, name: str) -> None:
        """[N, 1, H, W] -> [N, H, W]."""
        self._axis_node("Squeeze", [self.output.name], 1, since=13, output=name)

    def rename_output(self, name: str) -> None:
        self._after("Identity", [self.output.name], output=name)

    def reduce_classes(self, classes: int) -> None:
        """[N, T, C] -> `index`, `score` [N, T].

        Not with ArgMax, which slows OpenVINO down by a tenth: the classes that reach the maximum are numbered from the
        end, C for the first, and the largest number is the first class that reaches it.
        """
        last = {"since": 18, "axis": 2}
        add = self._after
        highest = self._axis_node("ReduceMax", [self.output.name], keepdims=1, **last)
        reached = add("Equal", [self.output.name, highest])
        from_end = self._constant("from_end", np.arange(classes, 0, -1, dtype=np.int32))
        numbered = add("Where", [reached, from_end, self._constant("none", np.int32(0))])
        first = self._axis_node("ReduceMax", [numbered], keepdims=0, **last)
        add("Sub", [self._constant("classes", np.int32(classes)), first], output="index")
        self._axis_node("Squeeze", [highest], 2, since=13, output="score")

    def finish(
        self,
        inputs: Sequence[tuple[str, int, list[int | str]]],
        outputs: Sequence[tuple[str, int, list[int | str]]],
    ) -> ModelProto:
        """The rewritten network, checked. Raises GraphError if a new name is already taken or a shape does not hold."""
        graph = self.original.graph
        taken = {name for node in graph.node for name in (*node.input, *node.output)}
        taken |= {tensor.name for tensor in graph.initializer}
        for name in [entry[0] for entry in (*inputs, *outputs)]:
            if name in taken:
                raise GraphError(f"the name '{name}' is already used inside the network")
        model = ModelProto()
        model.ir_version = self.original.ir_version
        model.opset_import.extend(self.original.opset_import)
        model.producer_name = self.original.producer_name
        model.graph.name = graph.name
        model.graph.node.extend([*self.before, *graph.node, *self.after])
        model.graph.initializer.extend([*graph.initializer, *self.constants])
        model.graph.value_info.extend(graph.value_info)
        model.graph.input.extend(helper.make_tensor_value_info(*entry) for entry in inputs)
        model.graph.output.extend(helper.make_tensor_value_info(*entry) for entry in outputs)
        try:
            onnx.checker.check_model(model, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            raise GraphError(f"the rewritten network is not valid: {error}") from error
        return model

    def _constant(self, name: str, value: np.ndarray | np.generic) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), f"border/{name}"))
        return f"border/{name}"

    def _before(self, op: str, inputs: list[str], output: str | None = None, **attributes: object) -> str:
        return self._add(self.before, "in", op, inputs, output, **attributes)

    def _after(self, op: str, inputs: list[str], output: str | None = None, **attributes: object) -> str:
        return self._add(self.after, "out", op, inputs, output, **attributes)

    def _axis_node(
        self, op: str, inputs: list[str], axis: int, since: int, output: str | None = None, **attributes: object
    ) -> str:
        """A node behind the network that works along one axis: an attribute before opset `since`, an input from it on."""
        if self.opset < since:
            return self._after(op, inputs, output, axes=[axis], **attributes)
        return self._after(op, [*inputs, self._axis_constant(axis)], output, **attributes)

    def _axis_constant(self, axis: int) -> str:
        name = f"axis_{axis}"
        if any(tensor.name == f"border/{name}" for tensor in self.constants):
            return f"border/{name}"
        return self._constant(name, np.array([axis], np.int64))

    @staticmethod
    def _add(
        nodes: list[NodeProto], side: str, op: str, inputs: list[str], output: str | None, **attributes: object
    ) -> str:
        name = f"border/{side}/{len(nodes)}_{op}"
        node = helper.make_node(op, inputs, [output or name], name=name, **attributes)
        nodes.append(node)
        return node.output[0]


def _dims(value: onnx.ValueInfoProto) -> list[int | str]:
    """Declared dimensions: a number where fixed, the name (or '') where dynamic."""
    dims = value.type.tensor_type.shape.dim
    return [dim.dim_value if dim.WhichOneof("value") == "dim_value" and dim.dim_value > 0 else dim.dim_param for dim in dims]
