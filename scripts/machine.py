"""What the machine has to be, and to have beside the interpreter, before anything can be installed: x86-64 Linux, venv
and libpython.

The standard library is enough to import this module. Run as a script it prints each thing that is missing, with the
Debian or Ubuntu package that brings it, and exits with 1 when there was any.
"""

from __future__ import annotations

import ctypes
import importlib.util
import sys
import sysconfig
from pathlib import Path

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
LIBPYTHON = f"libpython{VERSION}.so.1.0"
PLATFORM = "linux-x86_64"


def libpython_directory() -> Path | None:
    """The folder that holds the shared library of the running interpreter; None where it is not installed.

    Triton's Python stub links against it, while Debian's `python3` has the interpreter built in and ships the
    library as a package of its own.
    """
    library_directory = Path(sysconfig.get_config_var("LIBDIR") or "/usr/lib")
    multiarch = sysconfig.get_config_var("MULTIARCH") or ""
    for directory in (library_directory, library_directory / multiarch):
        if (directory / LIBPYTHON).exists():
            return directory
    try:
        ctypes.CDLL(LIBPYTHON)
    except OSError:
        return None
    return library_directory  # The loader finds it by itself: any folder will do.


def missing() -> list[str]:
    """One sentence for each thing that the running interpreter lacks; on another platform nothing would help it."""
    if (platform := sysconfig.get_platform()) != PLATFORM:
        return [
            f"The server runs on {PLATFORM} alone, since Triton's wheel is made for nothing else; this is {platform}"
        ]
    found = []
    if any(importlib.util.find_spec(module) is None for module in ("venv", "ensurepip")):
        found.append(f"Python's venv module is missing: apt-get install python{VERSION}-venv")
    if libpython_directory() is None:
        found.append(f"{LIBPYTHON} is missing (Triton's Python backend needs it): apt-get install libpython{VERSION}")
    return found


if __name__ == "__main__":
    problems = missing()
    print("\n".join(problems), file=sys.stderr, end="\n" if problems else "")
    sys.exit(bool(problems))
