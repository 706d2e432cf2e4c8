"""Checks that a rewritten network computes what its original computes, on noise and on rendered text.

Both run on the plain CPU execution provider. The original is fed as PaddleOCR feeds it, the padding set to zero after
the normalisation, except that the pixels are rounded to float32 only once, at the end: a recogniser's probabilities
move by 1e-4 with the last bit of some inputs, and that is not what is to be measured here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnxruntime

from scripts.weights.errors import VerificationError
from scripts.weights.networks import Kind, Normalisation
from scripts.weights.samples import noise, text_lines, text_pages

TOLERANCE = 1e-4
_SUM_TOLERANCE = 1e-2

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Batch:
    """`image` uint8 [N, H, W, 3]; `width` int32 [N, 1], the columns that hold picture (all of them for a detector)."""

    image: npt.NDArray[np.uint8]
    width: npt.NDArray[np.int32]


def verify(kind: Kind, original: bytes, rewritten: bytes, normalisation: Normalisation) -> float:
    """The largest difference of a probability between the two networks (serialised ModelProtos).

    Raises VerificationError where it is over TOLERANCE, where a column is given to another class, and where either
    network does not run.
    """
    try:
        reference, candidate = _session(original), _session(rewritten)
        return max(_difference(kind, reference, candidate, normalisation, batch) for batch in _batches(kind, candidate))
    except VerificationError:
        raise
    except Exception as error:  # ONNX Runtime's exceptions have no common base.
        raise VerificationError(f"{kind.value} does not run: {error}") from error


def _session(model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # Errors. Exporters leave unused constants behind, and each one is a warning.
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _batches(kind: Kind, candidate: onnxruntime.InferenceSession) -> Iterator[Batch]:
    """Several batch sizes and shapes, of noise and of text, padded and not."""
    if kind is Kind.DETECTOR:
        for pictures in (noise(2, 64, 160), text_pages(1, 320, 480), text_pages(3, 160, 96)):
            yield _full(pictures)
        return
    if kind is Kind.PAGE_CLASSIFIER:
        _, height, width, _ = candidate.get_inputs()[0].shape
        yield _full(noise(2, height, width))
        yield _full(text_pages(3, height, width))
        return
    _, height, width, _ = candidate.get_inputs()[0].shape
    # 48 x 192 is what PaddleOCR's classifier was trained on.
    height = height if isinstance(height, int) else 48
    fixed = [width if isinstance(width, int) else 192]
    for count, width in enumerate(fixed if kind is Kind.CLASSIFIER else [160, 320, 488], 1):
        yield _full(noise(count, height, width))
        yield _padded(noise(2, height, width))
        yield _full(text_lines(2, height, width))
        yield _padded(text_lines(1 + count, height, width))


def _full(image: npt.NDArray[np.uint8]) -> Batch:
    return Batch(image, np.full((len(image), 1), image.shape[2], np.int32))


def _padded(image: npt.NDArray[np.uint8]) -> Batch:
    """Every picture another width. What lies behind it stays there: it must not matter."""
    return Batch(image, np.linspace(image.shape[2] // 3, image.shape[2], len(image), dtype=np.int32).reshape(-1, 1))


def _difference(
    kind: Kind,
    reference: onnxruntime.InferenceSession,
    candidate: onnxruntime.InferenceSession,
    normalisation: Normalisation,
    batch: Batch,
) -> float:
    expected = reference.run(None, {reference.get_inputs()[0].name: _normalised(batch, normalisation)})[0]
    given = {"image": batch.image, "width": batch.width}
    answers = dict(
        zip(
            [output.name for output in candidate.get_outputs()],
            candidate.run(None, {value.name: given[value.name] for value in candidate.get_inputs()}),
            strict=True,
        )
    )
    where = f"{kind.value} with a batch of {batch.image.shape}"
    _are_probabilities(kind, expected, where)
    if kind is Kind.RECOGNISER:
        index, score = answers["index"], answers["score"]
        _same_classes(expected, index, where)
        return _largest(expected.max(axis=2), score, where)
    return _largest(expected[:, 0] if kind is Kind.DETECTOR else expected, answers["probability"], where)


def _are_probabilities(kind: Kind, answer: Floats, where: str) -> None:
    """The original ends in a sigmoid or, but for a detector, a softmax: thresholds and scores mean something."""
    least, most = float(answer.min()), float(answer.max())
    if not (least >= -TOLERANCE and most <= 1 + TOLERANCE):
        raise VerificationError(f"{where}: it answers {least:.3g} to {most:.3g}, where probabilities are wanted")
    if kind is not Kind.DETECTOR and np.abs(answer.sum(axis=-1) - 1).max() > _SUM_TOLERANCE:
        raise VerificationError(f"{where}: the probabilities of its classes do not add up to 1")


def _normalised(batch: Batch, normalisation: Normalisation) -> npt.NDArray[np.float32]:
    pixels = ((batch.image / 255.0 - normalisation.mean) / normalisation.std).astype(np.float32)
    for picture, (width,) in zip(pixels, batch.width, strict=True):
        picture[:, width:] = 0
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))


def _same_classes(probabilities: Floats, index: npt.NDArray[np.int32], where: str) -> None:
    """Each column has the most probable class, or one that the original holds equally probable within the tolerance."""
    if index.dtype != np.int32 or index.shape != probabilities.shape[:2]:
        raise VerificationError(f"{where}: index is {index.dtype} {index.shape}, not int32 {probabilities.shape[:2]}")
    classes = probabilities.shape[2]
    if index.min() < 0 or index.max() >= classes:
        raise VerificationError(f"{where}: index reaches from {index.min()} to {index.max()}, beyond {classes} classes")
    chosen = np.take_along_axis(probabilities, index[..., np.newaxis], axis=2)[..., 0]
    wrong = int((probabilities.max(axis=2) - chosen > TOLERANCE).sum())
    if wrong:
        raise VerificationError(f"{where}: {wrong} of {index.size} columns have another class")


def _largest(expected: Floats, answer: Floats, where: str) -> float:
    if answer.dtype != np.float32 or answer.shape != expected.shape:
        raise VerificationError(f"{where}: the answer is {answer.dtype} {answer.shape}, not float32 {expected.shape}")
    difference = float(np.abs(expected - answer).max())
    if not difference <= TOLERANCE:  # Not a number is no agreement either.
        raise VerificationError(f"{where}: a probability differs by {difference:.2g}, more than {TOLERANCE:.0e}")
    return difference
