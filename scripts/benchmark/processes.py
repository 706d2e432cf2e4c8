"""Processes of a run: in groups of their own, under a memory limit where one is wanted, and none left at the end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_GONE_TIMEOUT = 10.0

# Limits the process and what it starts, each by itself (RLIMIT_AS): it needs no privilege and no container, and what
# goes beyond it fails in the contestant, not on the machine.
_LIMITED = ("sh", "-c", 'ulimit -v "$1" && shift && exec "$@"', "sh")


@contextmanager
def running(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str],
    log: Path,
    memory: int | None = None,
    patience: float = 20.0,
    **pipes: Any,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process; at the end it is told to stop, and killed with all its descendants where it does not.

    Args:
        command: program and arguments.
        environment: what is added to this process' own.
        log: takes what it prints, as far as `pipes` does not.
        memory: bytes of address space; None: no limit.
        patience: seconds between asking it to end and killing it.
        pipes: arguments of `subprocess.Popen`.
    """
    words = [str(word) for word in command]
    if memory is not None:
        words = [*_LIMITED, str(memory // 1024), *words]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            words,
            env={**os.environ, **environment},
            start_new_session=True,
            **{"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output, **pipes},
        )
    # Kills the group as soon as this process is gone, however it went: its other end of the pipe closes.
    guard = subprocess.Popen(
        ["sh", "-c", 'read _; kill -KILL "-$1"', "sh", str(process.pid)],  # noqa: S607
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        guard.kill()
        guard.wait()
        _wait_for_group(process.pid)


def _wait_for_group(group: int) -> None:
    """Until its killed processes are gone, and their memory: the next measurement is to have the machine for itself."""
    deadline = time.monotonic() + _GONE_TIMEOUT
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(group, 0)
            time.sleep(0.01)


def interrupt_on_sigterm() -> None:
    """Let SIGTERM and SIGHUP end the run as Ctrl-C does: through every clean-up."""

    def interrupt(number: int, _: object) -> None:
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)


def descendants(pid: int) -> list[int]:
    """The process and all that came of it and live."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # proc(5): pid (comm) state ppid …; comm may hold blanks and brackets.
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found, waiting = [], [pid]
    while waiting:
        found.append(waiting.pop())
        waiting.extend(children.get(found[-1], ()))
    return found


def memory(pid: int) -> int:
    """Bytes that the process and its descendants hold: their proportional set sizes (smaps_rollup) together."""
    total = 0
    for process in descendants(pid):
        with contextlib.suppress(OSError):
            for row in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
                if row.startswith("Pss:"):
                    total += int(row.split()[1]) * 1024
    return total
