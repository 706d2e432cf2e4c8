"""Triton alone, over gRPC, with the pictures in system shared memory.

perf_analyzer offers shared memory to models without optional inputs only, so tritonclient is what asks here.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException, serialize_byte_tensor, shared_memory

from scripts.benchmark.errors import BenchmarkError
from scripts.benchmark.ours import OurServer
from scripts.benchmark.pictures import Line, Picture
from scripts.benchmark.samples import Sample
from scripts.benchmark.triton_metrics import between

_LENGTH = 4  # bytes before a string on Triton's wire
_RELEASE_SECONDS = 10.0

_numbers = itertools.count()


def read(server: OurServer, profile: str, pictures: Sequence[Picture], clients: int) -> Sample:
    """Have the pictures read by so many clients at a time; putting them into shared memory counts.

    Raises:
        BenchmarkError: Triton refused.
    """
    size = _LENGTH + max(len(picture.data) for picture in pictures)
    waiting = iter(pictures)
    turn = threading.Lock()

    def client() -> list[tuple[str, float, float, list[Line]]]:
        read: list[tuple[str, float, float, list[Line]]] = []
        with _region(server, size) as (connection, name, handle):
            while True:
                with turn:
                    picture = next(waiting, None)
                if picture is None:
                    return read
                sent = time.perf_counter()
                answer = _infer(connection, name, handle, picture, profile)
                read.append((picture.name, sent, time.perf_counter() - sent, _lines(answer)))

    before = server.statistics()
    began = time.perf_counter()
    try:
        with ThreadPoolExecutor(clients) as threads:
            read = [part for future in [threads.submit(client) for _ in range(clients)] for part in future.result()]
    except InferenceServerException as error:
        raise BenchmarkError(f"Triton refused: {error}") from error
    seconds = time.perf_counter() - began
    return Sample(
        pages=len(read),
        seconds=seconds,
        latencies=tuple(latency for _, _, latency, _ in read),
        readings={name: lines for name, _, _, lines in read},
        sent=tuple(sent for _, sent, _, _ in read),
        models=between(before, server.statistics()),
    )


@contextmanager
def _region(server: OurServer, size: int) -> Iterator[tuple[Any, str, Any]]:
    """A connection, and a region of so many bytes that Triton knows by its name."""
    name = f"bench_{os.getpid()}_{next(_numbers)}"
    with triton.InferenceServerClient(f"127.0.0.1:{server.listeners.grpc}") as connection:
        handle = shared_memory.create_shared_memory_region(name, f"/{name}", size)
        try:
            connection.register_system_shared_memory(name, f"/{name}", size)
            yield connection, name, handle
            _unregister(connection, name)
        finally:
            shared_memory.destroy_shared_memory_region(handle)


def _unregister(connection: Any, name: str) -> None:
    """Triton may let go of a region a moment after the answer that it was used for."""
    deadline = time.monotonic() + _RELEASE_SECONDS
    while True:
        try:
            connection.unregister_system_shared_memory(name)
            return
        except InferenceServerException as error:
            if "in use" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _infer(connection: Any, name: str, handle: Any, picture: Picture, profile: str) -> Any:
    content = serialize_byte_tensor(np.array([picture.data], np.object_))
    shared_memory.set_shared_memory_region(handle, [content])
    image = triton.InferInput("image", [1], "BYTES")
    image.set_shared_memory(name, _LENGTH + len(picture.data))
    weights = triton.InferInput("profile", [1], "BYTES")
    weights.set_data_from_numpy(np.array([profile.encode()], np.object_))
    return connection.infer("ocr_ensemble", [image, weights])


def _lines(answer: Any) -> list[Line]:
    texts, boxes = answer.as_numpy("texts"), answer.as_numpy("boxes")
    return [Line(text.decode(), tuple(map(tuple, box.tolist()))) for text, box in zip(texts, boxes, strict=True)]
