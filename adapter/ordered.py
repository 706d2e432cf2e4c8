"""Work on many things at a time, with the results in the things' order."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


async def ordered(
    items: AsyncIterable[_Item], work: Callable[[_Item], Awaitable[_Result]], at_once: int
) -> AsyncGenerator[_Result, None]:
    """The result of `work` for each item, in order, as soon as it is there; `at_once` are worked on at a time.

    An item is taken when there is room for it, and the first result does not wait for the second item. The first
    failure, of an item or of its work, comes after the results before it and ends all; so does closing the generator.
    """
    room = asyncio.Semaphore(at_once)
    started: asyncio.Queue[asyncio.Future[_Result] | None] = asyncio.Queue()

    async def start() -> None:
        iterator = aiter(items)
        try:
            while True:
                await room.acquire()
                started.put_nowait(asyncio.ensure_future(work(await anext(iterator))))
        except StopAsyncIteration:
            pass
        finally:
            started.put_nowait(None)

    starting = asyncio.ensure_future(start())
    current: asyncio.Future[_Result] | None = None
    try:
        while current := await started.get():
            yield await current
            room.release()
        await starting
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        left = [current] if current else []
        while not started.empty():
            if task := started.get_nowait():
                left.append(task)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
