"""A bounded queue before a bounded number of places."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from adapter.errors import BusyError
from adapter.metrics import Metrics


class Gate:
    """Admits `places` requests and `waiting` more, and gives places in the order in which they are asked for.

    Work beyond both is refused at once: under a lasting overload an unbounded line only makes every answer late.
    """

    def __init__(self, places: int, waiting: int, metrics: Metrics) -> None:
        self._places = asyncio.Semaphore(places)
        self._max_waiting = waiting
        self._max_admitted = places + waiting
        self._admitted = 0
        self._metrics = metrics

    @asynccontextmanager
    async def admit(self) -> AsyncIterator["Admission"]:
        """Let a request in, that may then have many places. Raises `BusyError`, without waiting, when too many are."""
        if self._admitted >= self._max_admitted:
            raise BusyError(f"the queue is full ({self._max_waiting} are waiting); try again later")
        self._admitted += 1
        try:
            yield Admission(self._places, self._metrics)
        finally:
            self._admitted -= 1

    @asynccontextmanager
    async def enter(self) -> AsyncIterator[None]:
        """Let a request in that wants one place, and hold it. Raises `BusyError` as `admit` does."""
        async with self.admit() as admission, admission.place():
            yield


class Admission:
    """A request that was let in: it waits for its places, and is not refused any more."""

    def __init__(self, places: asyncio.Semaphore, metrics: Metrics) -> None:
        self._places = places
        self._metrics = metrics

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold a place."""
        with self._metrics.waiting.track_inprogress():
            await self._places.acquire()
        try:
            with self._metrics.in_flight.track_inprogress():
                yield
        finally:
            self._places.release()
