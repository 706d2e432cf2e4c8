"""The check must see every way in which a rewritten network could be wrong."""

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper

from scripts.weights import dictionary
from scripts.weights.build import build
from scripts.weights.errors import DictionaryError, VerificationError
from scripts.weights.graphs import rewrite
from scripts.weights.networks import Kind
from scripts.weights.samples import noise, text_lines, text_pages
from scripts.weights.verify import TOLERANCE, verify
from tests.unit import tiny_networks as tiny

ORIGINALS = {
    Kind.DETECTOR: tiny.detector(),
    Kind.CLASSIFIER: tiny.classifier(),
    Kind.RECOGNISER: tiny.random_recogniser(40),
    Kind.PAGE_CLASSIFIER: tiny.page_classifier(),
}


def check(kind: Kind, original: ModelProto, rewritten: ModelProto) -> float:
    return verify(kind, original.SerializeToString(), rewritten.SerializeToString(), tiny.CENTRED)


def altered(model: ModelProto, tensor: str, value: np.ndarray) -> ModelProto:
    copy = ModelProto()
    copy.CopyFrom(model)
    found = next(entry for entry in copy.graph.initializer if entry.name == tensor)
    found.CopyFrom(numpy_helper.from_array(value.astype(numpy_helper.to_array(found).dtype), tensor))
    return copy


@pytest.mark.parametrize("kind", Kind)
def test_a_faithful_network_passes(kind: Kind) -> None:
    assert check(kind, ORIGINALS[kind], rewrite(kind, ORIGINALS[kind], tiny.CENTRED)) < TOLERANCE / 10


@pytest.mark.parametrize("kind", Kind)
def test_another_normalisation_is_found(kind: Kind) -> None:
    with pytest.raises(VerificationError, match=rf"{kind.value} .* (probability differs by|another class)"):
        check(kind, ORIGINALS[kind], rewrite(kind, ORIGINALS[kind], tiny.IMAGENET))


@pytest.mark.parametrize("kind", [Kind.CLASSIFIER, Kind.RECOGNISER])
def test_padding_that_is_not_zero_is_found(kind: Kind) -> None:
    rewritten = altered(rewrite(kind, ORIGINALS[kind], tiny.CENTRED), "border/padding", np.array(1 / 255))
    with pytest.raises(VerificationError, match=kind.value):
        check(kind, ORIGINALS[kind], rewritten)


def test_another_class_is_found() -> None:
    rewritten = rewrite(Kind.RECOGNISER, ORIGINALS[Kind.RECOGNISER], tiny.CENTRED)
    with pytest.raises(VerificationError, match="columns have another class"):
        check(Kind.RECOGNISER, ORIGINALS[Kind.RECOGNISER], altered(rewritten, "border/classes", np.array(39)))


def test_a_class_that_does_not_exist_is_found() -> None:
    rewritten = rewrite(Kind.RECOGNISER, ORIGINALS[Kind.RECOGNISER], tiny.CENTRED)
    with pytest.raises(VerificationError, match="beyond 40 classes"):
        check(Kind.RECOGNISER, ORIGINALS[Kind.RECOGNISER], altered(rewritten, "border/classes", np.array(140)))


def test_a_network_that_gives_no_number_is_found() -> None:
    rewritten = altered(
        rewrite(Kind.DETECTOR, ORIGINALS[Kind.DETECTOR], tiny.CENTRED), "border/std", np.full((1, 3, 1, 1), np.nan)
    )
    with pytest.raises(VerificationError, match="nan"):
        check(Kind.DETECTOR, ORIGINALS[Kind.DETECTOR], rewritten)


def test_a_network_that_does_not_run_is_found() -> None:
    with pytest.raises(VerificationError, match="det_onnx does not run"):
        verify(Kind.DETECTOR, tiny.detector().SerializeToString(), b"no network", tiny.CENTRED)


def test_the_pictures_are_the_same_on_every_call_and_differ_within_one() -> None:
    for make in (noise, text_lines, text_pages):
        pictures = make(3, 48, 160)
        assert pictures.shape == (3, 48, 160, 3)
        assert pictures.dtype == np.uint8
        np.testing.assert_array_equal(pictures, make(3, 48, 160))
        assert not np.array_equal(pictures[0], pictures[1])


def test_a_dictionary_in_the_metadata_is_taken_and_compared_with_the_published_one() -> None:
    def built(character: str | None, published: str | None) -> bytes | None:
        network = tiny.random_recogniser(4, character=character).SerializeToString()
        return build(Kind.RECOGNISER, network, tiny.CENTRED, published.encode() if published else None).dictionary

    expected = dictionary.encode(("a", "b", " "))
    assert built("a\nb", None) == built(None, "a\r\nb\r\n") == built("a\nb", "a\nb\n") == expected
    with pytest.raises(DictionaryError, match="not the one"):
        built("a\nb", "b\na\n")
    with pytest.raises(DictionaryError, match="no dictionary"):
        built(None, None)
