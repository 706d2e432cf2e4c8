"""Work on many things at a time, with the results in the things' order."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


async def ordered(
    items: AsyncIterable[_Item], work: Callable[[_Item], Awaitable[_Result]], at_once: int
) -> AsyncGenerator[_Result, None]:
    """The result of `work` for each item, in order, as soon as it is there; `at_once` are worked on at a time.

    An item is taken when there is room for it. The first failure ends all; so does closing the generator.
    """
    running: deque[asyncio.Future[_Result]] = deque()
    try:
        async for item in items:
            running.append(asyncio.ensure_future(work(item)))
            if len(running) == at_once:
                yield await running.popleft()
        while running:
            yield await running.popleft()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
