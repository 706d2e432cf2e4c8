"""Shows the recogniser every width of its ladder, so that no caller waits while one is compiled.

It goes on beside the first requests, a line at a time, and takes some seconds; nothing depends on its end.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
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
# Seconds that a line may take; the launcher's own end waits for it.
_TIMEOUT = 5.0


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


async def warm_up(triton: str, repository: Path, wanted: Wanted) -> bool:
    """Read a blank line of every width with every profile, by all instances of the recogniser.

    `triton` is the host and port of its gRPC protocol. Returns whether all were read; where Triton has gone, its
    supervisor has a word to say.
    """
    instances = wanted.layout.recognition.count
    with InferenceServerClient(triton) as client:
        for profile, widths in ladders(repository, wanted).items():
            for width in widths:
                lines = (asyncio.to_thread(_read, client, profile, width) for _ in range(instances))
                try:
                    await asyncio.gather(*lines)
                except InferenceServerException:
                    return False
    return True


def _read(client: InferenceServerClient, profile: str, width: int) -> None:
    picture = b"P6 %d %d 255\n" % (width, _HEIGHT) + b"\xff" * (3 * width * _HEIGHT)
    client.infer(_MODEL, list(_inputs(picture, profile)), client_timeout=_TIMEOUT)


def _inputs(picture: bytes, profile: str) -> Iterator[InferInput]:
    values = {
        "image": np.array([picture], np.object_),
        "profile": np.array([profile.encode()], np.object_),
        "use_det": np.array([False]),
        "use_cls": np.array([False]),
    }
    for name, value in values.items():
        tensor = InferInput(name, [1], "BOOL" if value.dtype == bool else "BYTES")
        tensor.set_data_from_numpy(value)
        yield tensor
