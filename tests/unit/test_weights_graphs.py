"""The rewritten networks against their originals, computed by hand where that is possible."""

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import ModelProto, helper

from scripts.weights.errors import GraphError
from scripts.weights.graphs import class_count, metadata, rewrite
from scripts.weights.networks import Kind, Normalisation
from tests.unit import tiny_networks as tiny

OPSETS = [11, 13, 18, 21]


def pixels(*shape: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)


def normalised(image: npt.NDArray[np.uint8], how: Normalisation) -> npt.NDArray[np.float32]:
    exact = (image / 255.0 - how.mean) / how.std
    return np.ascontiguousarray(exact.astype(np.float32).transpose(0, 3, 1, 2))


def borders(model: ModelProto) -> dict[str, tuple[int, list[int | str]]]:
    return {
        value.name: (
            value.type.tensor_type.elem_type,
            [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim],
        )
        for value in (*model.graph.input, *model.graph.output)
    }


def test_the_borders_are_those_of_the_contract() -> None:
    uint8, int32, float32 = onnx.TensorProto.UINT8, onnx.TensorProto.INT32, onnx.TensorProto.FLOAT
    assert borders(rewrite(Kind.DETECTOR, tiny.detector(), tiny.CENTRED)) == {
        "image": (uint8, ["batch", "H", "W", 3]),
        "probability": (float32, ["batch", "H", "W"]),
    }
    assert borders(rewrite(Kind.CLASSIFIER, tiny.classifier(), tiny.CENTRED)) == {
        "image": (uint8, ["batch", "h", "w", 3]),
        "width": (int32, ["batch", 1]),
        "probability": (float32, ["batch", 2]),
    }
    assert borders(rewrite(Kind.RECOGNISER, tiny.random_recogniser(5), tiny.CENTRED)) == {
        "image": (uint8, ["batch", 48, "W", 3]),
        "width": (int32, ["batch", 1]),
        "index": (int32, ["batch", "T"]),
        "score": (float32, ["batch", "T"]),
    }
    assert borders(rewrite(Kind.PAGE_CLASSIFIER, tiny.page_classifier(), tiny.IMAGENET)) == {
        "image": (uint8, ["batch", 224, 224, 3]),
        "probability": (float32, ["batch", 4]),
    }


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("how", [tiny.CENTRED, tiny.IMAGENET])
def test_a_detector_normalises_and_drops_the_channel(opset: int, how: Normalisation) -> None:
    original = tiny.detector(opset=opset)
    image = pixels(2, 32, 64, 3)
    (expected,) = tiny.run(original, x=normalised(image, how))
    (answer,) = tiny.run(rewrite(Kind.DETECTOR, original, how), image=image)
    np.testing.assert_allclose(answer, expected[:, 0], atol=1e-6)


def test_channels_are_normalised_in_the_order_in_which_they_lie() -> None:
    how = Normalisation(mean=(0.0, 0.2, 0.4), std=(1.0, 0.5, 0.25))
    node = helper.make_node("Conv", ["x", "weights"], ["y"])
    picker = tiny.model([node], {"weights": np.array([1, 0, 0], np.float32).reshape(1, 3, 1, 1)}, ["N", 1, "A", "B"])
    image = np.zeros((1, 1, 1, 3), np.uint8)
    image[..., 0] = 255
    (answer,) = tiny.run(rewrite(Kind.DETECTOR, picker, how), image=image)
    assert answer.item() == 1.0  # Blue comes first, and is measured with the first statistics.


def test_centred_pixels_are_exact() -> None:
    node = helper.make_node("Conv", ["x", "weights"], ["y"])
    picker = tiny.model([node], {"weights": np.array([1, 0, 0], np.float32).reshape(1, 3, 1, 1)}, ["N", 1, "A", "B"])
    every = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(1, 1, 256, 3)
    (answer,) = tiny.run(rewrite(Kind.DETECTOR, picker, tiny.CENTRED), image=every)
    np.testing.assert_array_equal(answer.ravel(), ((np.arange(256) / 255 - 0.5) / 0.5).astype(np.float32))


def test_what_lies_behind_the_width_is_zero_after_the_normalisation() -> None:
    original = tiny.classifier()
    image = pixels(3, 48, 192, 3)
    width = np.array([[192], [100], [1]], np.int32)
    feed = normalised(image, tiny.CENTRED)
    for picture, (end,) in zip(feed, width, strict=True):
        picture[:, :, end:] = 0
    (expected,) = tiny.run(original, x=feed)
    (answer,) = tiny.run(rewrite(Kind.CLASSIFIER, original, tiny.CENTRED), image=image, width=width)
    np.testing.assert_allclose(answer, expected, atol=1e-6)


@pytest.mark.parametrize("opset", OPSETS)
def test_a_recogniser_answers_with_the_most_probable_class_and_its_probability(opset: int) -> None:
    original = tiny.random_recogniser(classes=70, opset=opset)
    image = pixels(3, 48, 160, 3)
    width = np.array([[160], [81], [8]], np.int32)
    feed = normalised(image, tiny.CENTRED)
    for picture, (end,) in zip(feed, width, strict=True):
        picture[:, :, end:] = 0
    (expected,) = tiny.run(original, x=feed)
    index, score = tiny.run(rewrite(Kind.RECOGNISER, original, tiny.CENTRED), image=image, width=width)
    assert index.dtype == np.int32
    assert len(np.unique(index)) > 3
    np.testing.assert_array_equal(index, expected.argmax(axis=2))
    np.testing.assert_allclose(score, expected.max(axis=2), atol=1e-6)


def test_of_equally_probable_classes_the_first_one_is_taken() -> None:
    weights = np.array([[0, 5, 1, 5, 5], [0, 5, 2, 5, 5], [0, 5, 3, 5, 5]], np.float32)
    network = rewrite(Kind.RECOGNISER, tiny.recogniser(weights), tiny.CENTRED)
    image = np.stack([np.full((48, 16, 3), value, np.uint8) for value in (255, 0)])
    index, _ = tiny.run(network, image=image, width=np.array([[16], [8]], np.int32))
    # White: the three fives tie. Black: they are all the lowest. Padding is zero: every class ties.
    assert index.tolist() == [[1, 1], [0, 0]]


def test_the_rows_of_a_batch_do_not_influence_each_other() -> None:
    network = rewrite(Kind.RECOGNISER, tiny.random_recogniser(9), tiny.CENTRED)
    image, width = pixels(4, 48, 64, 3), np.array([[64], [40], [9], [33]], np.int32)
    together = tiny.run(network, image=image, width=width)
    for row in range(4):
        alone = tiny.run(network, image=image[row : row + 1], width=width[row : row + 1])
        for one, all_ in zip(alone, together, strict=True):
            np.testing.assert_array_equal(one[0], all_[row])


def test_the_nodes_of_the_original_stay_as_they_were() -> None:
    original = tiny.random_recogniser(9)
    nodes = list(rewrite(Kind.RECOGNISER, original, tiny.CENTRED).graph.node)
    first = nodes.index(original.graph.node[0])
    assert nodes[first : first + len(original.graph.node)] == list(original.graph.node)


def test_the_metadata_is_read_and_then_left_out() -> None:
    original = tiny.random_recogniser(5, character="a\nb\nc")
    assert metadata(original, "character") == "a\nb\nc"
    assert metadata(original, "other") is None
    assert not rewrite(Kind.RECOGNISER, original, tiny.CENTRED).metadata_props
    assert metadata(original, "character") == "a\nb\nc"


def test_a_size_that_a_classifier_was_made_for_stays_fixed() -> None:
    network = rewrite(Kind.CLASSIFIER, tiny.classifier(["N", 3, 80, 160]), tiny.CENTRED)
    assert borders(network)["image"][1] == ["batch", 80, 160, 3]


@pytest.mark.parametrize(
    ("kind", "original", "complaint"),
    [
        (Kind.DETECTOR, tiny.detector(opset=10), "opset 10"),
        (Kind.DETECTOR, tiny.detector(ir_version=11), "IR version 11"),
        (Kind.DETECTOR, tiny.model([helper.make_node("Relu", ["x"], ["y"])], {}, ["N"], ["N", "A"]), "the input"),
        (Kind.DETECTOR, tiny.model([helper.make_node("Relu", ["x"], ["y"])], {}, [1], [1, 3, "A", "B"]), "the input"),
        (Kind.DETECTOR, tiny.classifier(), "a detector answers"),
        (Kind.CLASSIFIER, tiny.detector(), "a classifier of two directions answers"),
        (Kind.RECOGNISER, tiny.classifier(), "a recogniser answers"),
        (
            Kind.RECOGNISER,
            tiny.model([helper.make_node("Relu", ["x"], ["y"])], {}, ["N", "T", 9], ["N", 3, 32, "B"]),
            "made for 32",
        ),
    ],
)
def test_a_network_of_another_kind_is_refused(kind: Kind, original: ModelProto, complaint: str) -> None:
    with pytest.raises(GraphError, match=complaint):
        rewrite(kind, original, tiny.CENTRED)


def test_a_name_that_the_network_uses_inside_is_refused() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["image"]), helper.make_node("Sigmoid", ["image"], ["y"])]
    with pytest.raises(GraphError, match="'image'"):
        rewrite(Kind.DETECTOR, tiny.model(nodes, {}, ["N", 1, "A", "B"]), tiny.CENTRED)


def test_classes_are_counted_with_the_blank() -> None:
    assert class_count(tiny.random_recogniser(classes=12)) == 12
