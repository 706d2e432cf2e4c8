"""A folder of its own for each running server, and the removal of what a killed server left behind.

A server that is killed leaves shared memory in /dev/shm. Its folder tells which: the regions carry the folder's name,
and the lock on the folder is held exactly as long as the launcher lives.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps POSIX shared memory


@dataclass(frozen=True)
class RunDirectory:
    """The folder of one running server."""

    path: Path

    @property
    def shared_memory_prefix(self) -> str:
        """How the names of this server's shared memory regions begin."""
        return f"ocr_{self.path.name}_"

    def remove_shared_memory(self) -> None:
        """Remove the regions that are left; only to be called while no process uses them."""
        for region in SHARED_MEMORY.glob(f"{self.shared_memory_prefix}*"):
            region.unlink(missing_ok=True)


@contextmanager
def run_directory(parent: Path) -> Iterator[RunDirectory]:
    """Make a folder under `parent`, and remove it and its shared memory at the end; first, those of killed servers."""
    parent.mkdir(parents=True, exist_ok=True)
    with _locked(parent):
        for leftover in parent.iterdir():
            _remove_if_dead(RunDirectory(leftover))
        run = RunDirectory(parent / secrets.token_hex(4))
        run.path.mkdir()
        descriptor = _lock(run.path)
    try:
        yield run
    finally:
        run.remove_shared_memory()
        shutil.rmtree(run.path, ignore_errors=True)
        os.close(descriptor)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    descriptor = _lock(directory)
    try:
        yield
    finally:
        os.close(descriptor)


def _lock(directory: Path, flags: int = fcntl.LOCK_EX) -> int:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, flags)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _remove_if_dead(run: RunDirectory) -> None:
    try:
        descriptor = _lock(run.path, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, FileNotFoundError):  # it runs, or it has just removed itself
        return
    run.remove_shared_memory()
    shutil.rmtree(run.path, ignore_errors=True)
    os.close(descriptor)
