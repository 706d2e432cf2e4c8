"""A bounded queue before a bounded number of places."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from adapter.errors import BusyError


class Gate:
    """Lets `places` callers through at a time and `waiting` more stand in line, first come, first served.

    Work beyond both is refused at once: under a lasting overload an unbounded line only makes every answer late.
    """

    def __init__(self, places: int, waiting: int) -> None:
        self._places = asyncio.Semaphore(places)
        self._max_waiting = waiting
        self._waiting = 0
        self._inside = 0

    @property
    def waiting(self) -> int:
        """Callers in the line."""
        return self._waiting

    @property
    def inside(self) -> int:
        """Callers that hold a place."""
        return self._inside

    @asynccontextmanager
    async def enter(self) -> AsyncIterator[None]:
        """Hold a place. Raises `BusyError`, without waiting, when the line is full."""
        if self._places.locked() and self._waiting >= self._max_waiting:
            raise BusyError(f"the queue is full ({self._max_waiting} requests are waiting); try again later")
        self._waiting += 1
        try:
            await self._places.acquire()
        finally:
            self._waiting -= 1
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1
            self._places.release()
