"""What the measurements are made on."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

_BF16 = ("avx512_bf16", "amx_bf16")


def description() -> str:
    """Processor, cores, whether they compute in bf16, memory, system."""
    cpu = Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*: (.*)", cpu)
    flags = set((re.search(r"flags\s*: (.*)", cpu) or [""])[0].split())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cores = len(os.sched_getaffinity(0))
    has = ", ".join(flag for flag in ("avx2", "avx512f", *_BF16) if flag in flags)
    return (
        f"{model[1] if model else platform.machine()}, {cores} cores ({has}), {memory / 2**30:.0f} GiB, "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    )
