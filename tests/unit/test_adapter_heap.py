"""What a burst leaves free in the heap."""

from __future__ import annotations

import asyncio
import ctypes
from pathlib import Path

from adapter.heap import trimmed

_BLOCK, _BLOCKS = 4096, 20_000  # 80 MB, each too small for malloc to map it by itself


def _resident() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmRSS:")[1].split()[0])


def test_what_is_free_between_blocks_that_stand_is_given_back() -> None:
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]

    async def burst() -> tuple[int, int, int]:
        # What other tests have left would be taken first, and nothing be seen of it.
        libc.malloc_trim(0)
        before = _resident()
        blocks = [libc.malloc(_BLOCK) for _ in range(_BLOCKS)]
        for block in blocks:
            ctypes.memset(block, 1, _BLOCK)
        for block in blocks[:-1]:
            libc.free(block)
        left = _resident()
        async with trimmed(interval=0.05):
            await asyncio.sleep(0.5)
        after = _resident()
        libc.free(blocks[-1])
        return before, left, after

    before, left, after = asyncio.run(burst())
    size = _BLOCK * _BLOCKS
    assert left > before + 0.8 * size, "nothing was left to be given back"
    assert after < before + 0.2 * size
