"""Stopping in good order when a signal asks for it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import TypeVar

T = TypeVar("T")


async def until_signal(coroutine: Coroutine[None, None, T]) -> T | None:
    """Run the coroutine; SIGINT, SIGTERM or SIGHUP cancels it, once, and its clean-up is waited for.

    Returns:
        What the coroutine returns; None when a signal ended it.
    """
    task = asyncio.create_task(coroutine)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # nohup has SIGHUP ignored, and means it.
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((task, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if stop.is_set():
        task.cancel()
    try:
        return await task
    except asyncio.CancelledError:
        return None
