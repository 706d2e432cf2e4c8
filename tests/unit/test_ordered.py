"""Results come in the order of the things, work is bounded, and nothing goes on after the end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from adapter.ordered import ordered


class Work:
    """Takes longer for the earlier items; notes what was running at most, and what was cancelled."""

    def __init__(self) -> None:
        self.running = self.most = 0
        self.cancelled: list[int] = []

    async def __call__(self, item: int) -> int:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if item == 13:
                raise ValueError("unlucky")
            await asyncio.sleep(0.01 * (5 - item % 5))
        except asyncio.CancelledError:
            self.cancelled.append(item)
            raise
        finally:
            self.running -= 1
        return item


async def items(*numbers: int) -> AsyncIterator[int]:
    for number in numbers:
        yield number


def test_results_come_in_order_and_no_more_than_wanted_are_worked_on() -> None:
    work = Work()

    async def scenario() -> list[int]:
        return [result async for result in ordered(items(*range(9)), work, 3)]

    assert asyncio.run(scenario()) == list(range(9))
    assert work.most == 3


def test_a_failure_ends_all() -> None:
    work = Work()

    async def scenario() -> None:
        async for _ in ordered(items(13, 1, 2), work, 3):
            pass

    with pytest.raises(ValueError, match="unlucky"):
        asyncio.run(scenario())
    assert sorted(work.cancelled) == [1, 2]


def test_who_stops_asking_stops_the_work() -> None:
    work = Work()

    async def scenario() -> None:
        async with aclosing(ordered(items(4, 0, 1, 2), work, 3)) as results:
            assert await anext(results) == 4

    asyncio.run(scenario())
    assert sorted(work.cancelled) == [0, 1]


def test_the_first_result_does_not_wait_for_the_second_item() -> None:
    async def slow_items() -> AsyncIterator[int]:
        yield 0
        await asyncio.Event().wait()

    async def scenario() -> int:
        async with aclosing(ordered(slow_items(), Work(), 3)) as results:
            return await asyncio.wait_for(anext(results), timeout=1)

    assert asyncio.run(scenario()) == 0


def test_a_failure_comes_after_the_results_before_it() -> None:
    async def broken_items() -> AsyncIterator[int]:
        yield 0
        yield 1
        raise ValueError("broken")

    async def scenario() -> list[int]:
        results = []
        with pytest.raises(ValueError, match="broken"):
            async for result in ordered(broken_items(), Work(), 3):
                results.append(result)
        return results

    assert asyncio.run(scenario()) == [0, 1]
