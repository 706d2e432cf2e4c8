"""A folder of its own for each running server, and the removal of what a killed server left behind.

A server that is killed leaves shared memory in /dev/shm. Its folder tells which: the regions carry the folder's name,
and the lock on the folder is held exactly as long as the launcher lives. It also leaves temporary files, which are made
within the folder, and an empty folder in /tmp, which Triton's Python backend makes for packed environments; there are
none here.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps POSIX shared memory
ENVIRONMENTS = Path("/tmp")  # noqa: S108 - where Triton's Python backend makes its folders, whatever TMPDIR says
LINKS = Path("/tmp")  # noqa: S108 - bash takes its name as it is
_TEMPORARY = "tmp"

_UNQUOTED = re.compile(r"[\w@%+=:,./-]+")
# Of the 107 bytes that the path of a Unix socket may have (unix(7)), 41 are for /tmp and what vLLM calls its sockets.
_LONGEST = 66


def needs_quotes(path: Path) -> bool:
    """Whether bash might take the path for something else than itself."""
    return not _UNQUOTED.fullmatch(str(path))


@dataclass(frozen=True)
class RunDirectory:
    """The folder of one running server."""

    path: Path

    @property
    def plain(self) -> Path:
        """The folder by a name that is short and needs no quotes, while the server runs: a link's where its own is not.

        Triton's Python backend writes the paths of models and backends into a command for bash as they are, and Unix
        sockets have short names.
        """
        unfit = needs_quotes(self.path) or len(os.fsencode(self.path)) > _LONGEST
        return self._link if unfit else self.path

    @property
    def temporary(self) -> Path:
        """The folder for temporary files; `plain` too."""
        return (self.plain / _TEMPORARY).absolute()

    @property
    def _link(self) -> Path:
        return LINKS / f"ocr_{self.path.name}"

    @property
    def shared_memory_prefix(self) -> str:
        """How the names of this server's shared memory regions begin."""
        return f"ocr_{self.path.name}_"

    def remove_leftovers(self) -> None:
        """Remove the regions of shared memory and the temporary files that are left, and empty folders for packed
        environments that have been made since the start; only to be called while no process of the server lives.

        Of such a folder nobody can tell whose it is. One that is empty serves no other Triton either.
        """
        began = self.path.stat().st_ctime  # as its first files were made
        for region in SHARED_MEMORY.glob(f"{self.shared_memory_prefix}*"):
            region.unlink(missing_ok=True)
        shutil.rmtree(self.path / _TEMPORARY, ignore_errors=True)
        (self.path / _TEMPORARY).mkdir(exist_ok=True)
        for folder in ENVIRONMENTS.glob("python_env_*"):
            with suppress(OSError):  # it holds something, or is somebody else's, or gone
                if folder.stat().st_ctime >= began:
                    folder.rmdir()

    def remove(self) -> None:
        """Remove everything of it; only to be called while no process of the server lives."""
        self.remove_leftovers()
        if self._link.is_symlink():
            self._link.unlink()
        shutil.rmtree(self.path, ignore_errors=True)


@contextmanager
def run_directory(parent: Path) -> Iterator[RunDirectory]:
    """Make a folder under `parent`, and remove it and its shared memory at the end; first, those of killed servers."""
    parent.mkdir(parents=True, exist_ok=True)
    with _locked(parent):
        for leftover in parent.iterdir():
            _remove_if_dead(RunDirectory(leftover))
        run = RunDirectory(parent / secrets.token_hex(4))
        (run.path / _TEMPORARY).mkdir(parents=True)
        descriptor = _lock(run.path)
    try:
        if run.plain != run.path:
            run.plain.symlink_to(run.path.absolute())
        yield run
    finally:
        run.remove()
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
    run.remove()
    os.close(descriptor)
