"""A bounded queue before a bounded number of places."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from adapter.errors import BusyError
from adapter.metrics import Metrics


class Gate:
    """Lets `places` callers through at a time and `waiting` more stand in line, first come, first served.

    Work beyond both is refused at once: under a lasting overload an unbounded line only makes every answer late.
    """

    def __init__(self, places: int, waiting: int, metrics: Metrics) -> None:
        self._places = asyncio.Semaphore(places)
        self._max_waiting = waiting
        self._waiting = 0
        self._metrics = metrics

    @asynccontextmanager
    async def enter(self) -> AsyncIterator[None]:
        """Hold a place. Raises `BusyError`, without waiting, when the line is full."""
        if self._places.locked():
            await self._wait()
        else:
            await self._places.acquire()
        try:
            with self._metrics.in_flight.track_inprogress():
                yield
        finally:
            self._places.release()

    async def _wait(self) -> None:
        if self._waiting >= self._max_waiting:
            raise BusyError(f"the queue is full ({self._max_waiting} are waiting); try again later")
        self._waiting += 1
        try:
            with self._metrics.waiting.track_inprogress():
                await self._places.acquire()
        finally:
            self._waiting -= 1
