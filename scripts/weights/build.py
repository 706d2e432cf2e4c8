"""What a published network becomes: a checked, rewritten graph and, for a recogniser, its dictionary."""

from __future__ import annotations

from dataclasses import dataclass

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from scripts.weights import dictionary, graphs
from scripts.weights.errors import DictionaryError, GraphError
from scripts.weights.networks import Kind, Normalisation
from scripts.weights.verify import verify


@dataclass(frozen=True)
class Built:
    """`graph` is a serialised ModelProto, `dictionary` the file that goes with it, `difference` what verify found."""

    graph: bytes
    dictionary: bytes | None
    difference: float


def build(kind: Kind, original: bytes, normalisation: Normalisation, published_dictionary: bytes | None) -> Built:
    """Rewrites the serialised network and checks it against itself.

    A recogniser's dictionary is the published one, the one in the network's metadata, or both, if they agree.
    Raises GraphError, DictionaryError or VerificationError.
    """
    try:
        model = onnx.load_model_from_string(original)
    except DecodeError as error:
        raise GraphError(f"this is no ONNX network: {error}") from error
    characters = _dictionary(model, published_dictionary) if kind is Kind.RECOGNISER else None
    graph = graphs.rewrite(kind, model, normalisation).SerializeToString()
    return Built(graph, characters, verify(kind, original, graph, normalisation))


def _dictionary(model: onnx.ModelProto, published: bytes | None) -> bytes:
    classes = graphs.class_count(model)
    embedded = graphs.metadata(model, "character")
    sources = [text for text in (embedded, published.decode() if published is not None else None) if text is not None]
    if not sources:
        raise DictionaryError("the recogniser has no dictionary, neither in its metadata nor beside it")
    found = {dictionary.complete(dictionary.parse(text), classes) for text in sources}
    if len(found) > 1:
        raise DictionaryError("the dictionary in the recogniser's metadata is not the one that was published beside it")
    return dictionary.encode(found.pop())
