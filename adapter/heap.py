"""Gives the system back what the heap holds free."""

import asyncio
import ctypes
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

# Seconds: soon after a burst, and too seldom to matter (some milliseconds of one core each time).
_INTERVAL = 5.0


@asynccontextmanager
async def trimmed(interval: float = _INTERVAL) -> AsyncIterator[None]:
    """Until the end of the block, have malloc give free pages back to the system every `interval` seconds.

    By itself malloc does so at the heap's end only. What pictures, bodies and answers leave free lies between what
    still stands, so that a process which has been busy would keep all that it once held at the same time.
    """
    libc = ctypes.CDLL(None)

    async def trim() -> None:
        while True:
            await asyncio.sleep(interval)
            await asyncio.to_thread(libc.malloc_trim, 0)

    task = asyncio.create_task(trim())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
