"""Shows the models what would keep their first callers waiting: a page, one as large as any for the detector, every
number of lines that the classifier runs together, and every width of the recogniser's ladder.

It goes on beside the first requests, while these leave it room, and takes some seconds; nothing depends on its end.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tritonclient.grpc import InferInput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from scripts.launch.layout import Wanted
from scripts.launch.repository import configuration, profiles
from scripts.launch.triton import CONFIGURATION

_MODEL, _CLASSIFIER = "ocr_ensemble", "cls_onnx"
_HEIGHT, _CLASSIFIER_WIDTH = 48, 192
# Seconds that one may take. Whoever keeps Triton that busy warms it up, too.
_TIMEOUT = 30.0
# Seconds that a page and that a line waits for others to be served, at most: a page takes as long as any, and a line of
# every width would take minutes on a server that is never idle.
_PAGE_PATIENCE, _LINE_PATIENCE = 5.0, 0.5
# Seconds that are left to who has waited for the server to be ready, and asks now.
_GRACE = 1.0
# Seconds between two looks at what the processors do.
_INTERVAL = 0.03
_STAT = Path("/proc/stat")


@dataclass(frozen=True)
class Ladder:
    """Of a profile: the version of its networks, how many pixels the detector is given at most, and the widths that
    lines are padded to.

    Where the widths are its pages' own it is the least one, which is that of most short lines.
    """

    version: int
    pixels: int
    widths: range


def ladders(repository: Path, wanted: Wanted) -> dict[str, Ladder]:
    """Each profile's, by its name; the default profile comes first."""
    found = {}
    for name, path in profiles(repository).items():
        table: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        rules = table.get(wanted.precision.value, table).get("recognition", table["recognition"])
        most = rules["least"] if rules["by_page"] else rules["most"]
        widths = range(rules["least"], most + 1, rules["step"])
        found[name] = Ladder(table["version"], table["detection"]["max_pixels"], widths)
    parameters = configuration(repository / _MODEL, CONFIGURATION).parameters
    default = wanted.profile or parameters["default_profile"].string_value
    return dict(sorted(found.items(), key=lambda named: named[0] != default))


async def warm_up(triton: str, repository: Path, wanted: Wanted, page: bytes) -> bool:
    """Show the models what their first callers would wait for: a page to every instance of ocr_ensemble, and a blank
    one to every instance of the detector, of the default profile; then, with every profile, blank lines in every number
    to the classifier, and one of every width to every instance of the recogniser.

    Args:
        triton: host and port of its gRPC protocol.
        repository: the model repository.
        wanted: how the models run.
        page: a picture, as a file's bytes.

    Returns:
        Whether all were shown; what takes too long is let go. Where Triton has gone, its supervisor has a word to say.
    """
    async with InferenceServerClient(triton) as client:
        try:
            await asyncio.sleep(_GRACE)
            await until_idle(_PAGE_PATIENCE)
            await _ask_together(client, [_reading(page)] * wanted.layout.pages)
            by_profile = ladders(repository, wanted)
            # The memory for the first large page is hundreds of MB: to be had, it takes a third of a second. Those of
            # the other profiles are left to whoever asks for them.
            default = next(iter(by_profile.values()))
            await until_idle(_PAGE_PATIENCE)
            await _ask_together(client, [_reading(_blank(default.pixels))] * wanted.layout.detection.count)
            # Of each number that it has not seen the first costs 10 ms, and 4 MB.
            answer = await client.get_model_config(_CLASSIFIER)
            lines = answer.config.parameters["rows_per_run"].string_value
            for profile, ladder in by_profile.items():
                for count in range(1, int(lines or 0) + 1):
                    await until_idle(_LINE_PATIENCE)
                    await _ask_together(client, [_classification(count, ladder.version)])
                for width in ladder.widths:
                    await until_idle(_LINE_PATIENCE)
                    await _ask_together(client, [_line(width, profile)] * wanted.layout.recognition.count)
        except InferenceServerException:
            return False
    return True


async def until_idle(patience: float, stat: Path = _STAT) -> None:
    """Wait until half of the processors' time is idle, but no longer than `patience` seconds."""
    end = time.monotonic() + patience
    before = _ticks(stat)
    while time.monotonic() < end:
        await asyncio.sleep(_INTERVAL)
        after = _ticks(stat)
        passed, idle = (now - then for now, then in zip(after, before, strict=True))
        if idle * 2 >= passed:
            return
        before = after


def _ticks(stat: Path) -> tuple[int, int]:
    """All ticks of all processors, and the idle ones: the fourth column of /proc/stat (proc(5))."""
    ticks = [int(column) for column in stat.read_text().split("\n", 1)[0].split()[1:9]]
    return sum(ticks), ticks[3]


@dataclass(frozen=True)
class _Request:
    """Inputs by their names, for a version of a model; an empty one is the newest."""

    model: str
    inputs: Mapping[str, npt.NDArray[Any]]
    version: str = ""

    def tensors(self) -> Iterator[InferInput]:
        for name, values in self.inputs.items():
            tensor = InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
            tensor.set_data_from_numpy(values)
            yield tensor


def _reading(picture: bytes, **options: bytes | bool) -> _Request:
    inputs: dict[str, bytes | bool] = {"image": picture, **options}
    return _Request(
        _MODEL,
        {
            name: np.array([value], np.bool_ if isinstance(value, bool) else np.object_)
            for name, value in inputs.items()
        },
    )


def _line(width: int, profile: str) -> _Request:
    return _reading(_white(width, _HEIGHT), profile=profile.encode(), use_det=False, use_cls=False)


def _blank(pixels: int) -> bytes:
    side = math.isqrt(pixels)
    return _white(side, side)


def _white(width: int, height: int) -> bytes:
    """A picture, as a PPM file."""
    return b"P6 %d %d 255\n" % (width, height) + b"\xff" * (3 * width * height)


def _classification(lines: int, version: int) -> _Request:
    image = np.full((lines, _HEIGHT, _CLASSIFIER_WIDTH, 3), 255, np.uint8)
    width = np.full((lines, 1), _CLASSIFIER_WIDTH, np.int32)
    return _Request(_CLASSIFIER, {"image": image, "width": width}, str(version))


async def _ask_together(client: InferenceServerClient, requests: Sequence[_Request]) -> None:
    await asyncio.gather(*(_ask(client, request) for request in requests))


async def _ask(client: InferenceServerClient, request: _Request) -> None:
    try:
        await client.infer(
            request.model, list(request.tensors()), model_version=request.version, client_timeout=_TIMEOUT
        )
    except InferenceServerException as error:
        if error.status() != "StatusCode.DEADLINE_EXCEEDED":
            raise
