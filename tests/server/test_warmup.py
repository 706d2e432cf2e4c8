"""The warm-up gives way: to who keeps Triton busy, and to who stops the server."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import pytest

from scripts.launch import warmup
from scripts.launch.layout import wish
from scripts.launch.server import ROOT, TUNED
from scripts.launched import Launched


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for waits in ("_GRACE", "_PAGE_PATIENCE", "_LINE_PATIENCE"):
        monkeypatch.setattr(warmup, waits, 0.0)


async def warm_up(triton: str) -> bool:
    page = ROOT / "docs" / "example.png"
    return await warmup.warm_up(triton, ROOT / "model_repository", wish({}, TUNED), page.read_bytes())


def test_what_a_busy_triton_takes_too_long_for_does_not_end_it(
    triton: Launched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warmup, "_TIMEOUT", 0.001)
    assert asyncio.run(warm_up(triton.grpc_url))


def test_it_ends_when_triton_is_gone() -> None:
    assert not asyncio.run(warm_up("127.0.0.1:1"))


def test_it_ends_at_once_when_it_is_told(triton: Launched) -> None:
    async def told() -> float:
        warming = asyncio.create_task(warm_up(triton.grpc_url))
        await asyncio.sleep(0.3)
        assert not warming.done()
        start = time.perf_counter()
        warming.cancel()
        with suppress(asyncio.CancelledError):
            await warming
        return time.perf_counter() - start

    assert asyncio.run(told()) < 3.0
