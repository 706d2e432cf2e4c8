"""The gate lets a bounded number in, a bounded number wait, and sends the rest away at once."""

import asyncio
import time

import pytest

from adapter.errors import BusyError
from adapter.gate import Gate
from adapter.metrics import Metrics


class Visitors:
    """Tasks that go through a gate and stay inside until they are let out."""

    def __init__(self, places: int, waiting: int) -> None:
        self.metrics = Metrics()
        self.gate = Gate(places, waiting, self.metrics)
        self.entered: list[str] = []
        self.leave = asyncio.Event()

    async def visit(self, name: str) -> None:
        async with self.gate.enter():
            self.entered.append(name)
            await self.leave.wait()

    async def start(self, *names: str) -> list["asyncio.Task[None]"]:
        tasks = [asyncio.create_task(self.visit(name)) for name in names]
        await asyncio.sleep(0.01)
        return tasks

    def counted(self) -> tuple[int, int]:
        """Inside and waiting, as the metrics tell."""
        lines = dict(line.split() for line in self.metrics.text().decode().splitlines() if not line.startswith("#"))
        return int(float(lines["ocr_in_flight"])), int(float(lines["ocr_queue_waiting"]))


def test_those_over_the_places_wait_in_order_and_the_rest_are_refused_at_once() -> None:
    async def scenario() -> None:
        visitors = Visitors(places=1, waiting=2)
        tasks = await visitors.start("a", "b", "c")
        assert visitors.counted() == (1, 2)
        before = time.perf_counter()
        with pytest.raises(BusyError) as caught:
            await visitors.visit("d")
        assert time.perf_counter() - before < 0.1
        assert caught.value.headers["Retry-After"]
        visitors.leave.set()
        await asyncio.gather(*tasks)
        assert visitors.entered == ["a", "b", "c"]
        assert visitors.counted() == (0, 0)

    asyncio.run(scenario())


def test_without_a_queue_a_free_place_is_still_taken() -> None:
    async def scenario() -> None:
        visitors = Visitors(places=1, waiting=0)
        (inside,) = await visitors.start("a")
        with pytest.raises(BusyError):
            await visitors.visit("b")
        visitors.leave.set()
        await inside
        await visitors.visit("c")
        assert visitors.entered == ["a", "c"]

    asyncio.run(scenario())


def test_who_leaves_the_queue_or_the_inside_makes_room() -> None:
    async def scenario() -> None:
        visitors = Visitors(places=1, waiting=1)
        inside, waiting = await visitors.start("a", "b")
        waiting.cancel()
        (next_waiting,) = await visitors.start("c")
        assert visitors.counted() == (1, 1)
        inside.cancel()
        await asyncio.sleep(0.01)
        assert visitors.entered == ["a", "c"]
        visitors.leave.set()
        await next_waiting
        assert visitors.counted() == (0, 0)

    asyncio.run(scenario())
