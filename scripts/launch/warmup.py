"""Shows the models what would keep their first callers waiting: a page, and every width of the recogniser's ladder.

It goes on beside the first requests, while these leave it room, and takes some seconds; nothing depends on its end.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import text_format  # type: ignore[import-untyped]
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.grpc.model_config_pb2 import ModelConfig
from tritonclient.utils import InferenceServerException

from scripts.launch.layout import Wanted

_MODEL = "ocr_ensemble"
_HEIGHT = 48
# Seconds that one may take; the launcher's own end waits for it.
_TIMEOUT = 5.0
# Seconds that a page and that a line waits for others to be served, at most: a page takes as long as any, and a line of
# every width would take minutes on a server that is never idle.
_PAGE_PATIENCE, _LINE_PATIENCE = 5.0, 0.5
# Seconds that are left to who has waited for the server to be ready, and asks now.
_GRACE = 1.0
# Seconds between two looks at what the processors do.
_INTERVAL = 0.03
_STAT = Path("/proc/stat")


def ladders(repository: Path, wanted: Wanted) -> dict[str, range]:
    """The widths that each profile pads its lines to, by profile; the default profile first.

    Of a profile whose widths are its pages' own it is the least one, which is that of most short lines.
    """
    config = text_format.Parse((repository / _MODEL / "config.pbtxt").read_text(), ModelConfig())
    found = {}
    for path in sorted((repository / _MODEL / "1" / "profiles").rglob("*.json")):
        table: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        rules = table.get(wanted.precision.value, table).get("recognition", table["recognition"])
        most = rules["least"] if rules["by_page"] else rules["most"]
        found[path.stem] = range(rules["least"], most + 1, rules["step"])
    default = config.parameters["default_profile"].string_value
    return dict(sorted(found.items(), key=lambda named: named[0] != default))


async def warm_up(triton: str, repository: Path, wanted: Wanted, page: bytes) -> bool:
    """Show the models what their first callers would wait for: a page to every instance of ocr_ensemble, then a blank
    line of every width to every instance of the recogniser, with every profile.

    Args:
        triton: host and port of its gRPC protocol.
        repository: the model repository.
        wanted: how the models run.
        page: a picture, as a file's bytes.

    Returns:
        Whether all were read. Where Triton has gone, its supervisor has a word to say.
    """
    with InferenceServerClient(triton) as client:
        try:
            await asyncio.sleep(_GRACE)
            await until_idle(_PAGE_PATIENCE)
            await _read_together(client, [{"image": page}] * wanted.layout.pages)
            for profile, widths in ladders(repository, wanted).items():
                for width in widths:
                    await until_idle(_LINE_PATIENCE)
                    await _read_together(client, [_line(width, profile)] * wanted.layout.recognition.count)
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


def _line(width: int, profile: str) -> Mapping[str, bytes | bool]:
    picture = b"P6 %d %d 255\n" % (width, _HEIGHT) + b"\xff" * (3 * width * _HEIGHT)
    return {"image": picture, "profile": profile.encode(), "use_det": False, "use_cls": False}


async def _read_together(client: InferenceServerClient, requests: Sequence[Mapping[str, bytes | bool]]) -> None:
    await asyncio.gather(
        *(
            asyncio.to_thread(client.infer, _MODEL, list(_inputs(values)), client_timeout=_TIMEOUT)
            for values in requests
        )
    )


def _inputs(values: Mapping[str, bytes | bool]) -> Iterator[InferInput]:
    for name, value in values.items():
        switch = isinstance(value, bool)
        tensor = InferInput(name, [1], "BOOL" if switch else "BYTES")
        tensor.set_data_from_numpy(np.array([value], np.bool_ if switch else np.object_))
        yield tensor
