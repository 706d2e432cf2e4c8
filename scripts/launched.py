"""A server in a process of its own, as `scripts/serve` starts it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from scripts.client import is_ready
from scripts.launch.ports import Listeners
from scripts.launch.rundir import SHARED_MEMORY
from scripts.launch.server import ROOT

LAUNCH = [sys.executable, "-m", "scripts.launch"]
START_TIMEOUT = 120.0
# Of vLLM, and of the warm-up, on a machine that has other things to do.
LOAD_TIMEOUT = 600.0


@dataclass(frozen=True)
class Launched:
    """A running launcher and its addresses.

    Attributes:
        process: the launcher; its standard output and error go to `log`.
        log: what it has printed.
        listeners: the ports that it was given.
    """

    process: subprocess.Popen[bytes]
    log: Path
    listeners: Listeners

    @property
    def adapter_url(self) -> str:
        """Base URL of the HTTP APIs."""
        return f"http://127.0.0.1:{self.listeners.adapter}"

    @property
    def http_url(self) -> str:
        """host:port, as tritonclient wants it."""
        return f"127.0.0.1:{self.listeners.http}"

    @property
    def grpc_url(self) -> str:
        """host:port, as tritonclient wants it."""
        return f"127.0.0.1:{self.listeners.grpc}"

    @property
    def metrics_url(self) -> str:
        """URL of Triton's Prometheus metrics."""
        return f"http://127.0.0.1:{self.listeners.metrics}/metrics"

    @property
    def pid(self) -> int:
        """Process id of the launcher."""
        return self.process.pid

    @property
    def triton(self) -> int:
        """Process id of tritonserver."""
        return next(pid for pid, command in children(self.pid) if "tritonserver" in command)

    @property
    def adapter(self) -> int:
        """Process id of the adapter."""
        return next(pid for pid, command in children(self.pid) if "adapter" in command)

    @property
    def stubs(self) -> dict[int, str]:
        """Command line of each of Triton's Python stubs by process id."""
        return dict(children(self.triton))

    def shared_memory(self) -> set[Path]:
        """The shared memory regions of Triton and its stubs, running or left."""
        prefix = self.shared_memory_prefix
        return {path for path in SHARED_MEMORY.iterdir() if path.name.startswith(prefix)}

    @cached_property
    def shared_memory_prefix(self) -> str:
        """How the names of the regions begin, read from Triton's command line while it runs."""
        command = dict(children(self.pid))[self.triton]
        return command.partition("shm-region-prefix-name=")[2].split()[0]

    @property
    def ready(self) -> bool:
        """Whether /ping answers 200."""
        return is_ready(self.adapter_url)

    def wait_ready(self, timeout: float = START_TIMEOUT) -> None:
        """Wait until /ping answers 200; fail with what the launcher printed when it ends first, or after `timeout`."""
        if not eventually(lambda: self.ready or self.process.poll() is not None, timeout) or not self.ready:
            raise AssertionError(f"the server is not ready:\n{self.log.read_text()}")

    def wait_loaded(self, timeout: float = LOAD_TIMEOUT) -> None:
        """The same, and until the vision-language models that the environment names are loaded, or cannot be."""
        self.wait_ready()
        self._wait_said("Ready after ", timeout)

    def wait_warm(self, timeout: float = LOAD_TIMEOUT) -> None:
        """The same, and until the warm-up, which asks Triton, too, has ended."""
        self.wait_ready()
        self._wait_said("Warm after ", timeout)

    def _wait_said(self, words: str, timeout: float) -> None:
        """Wait until the launcher has printed a line that begins so."""
        if not eventually(lambda: f"\n{words}" in self.log.read_text(errors="replace"), timeout):
            raise AssertionError(f"no word of {words!r}:\n{self.log.read_text(errors='replace')}")


@contextmanager
def launched(log: Path, *, within: Sequence[str] = (), **settings: str) -> Iterator[Launched]:
    """Start a server on free ports; it need not be ready yet. It is stopped at the end if it still runs.

    `settings` are put into its environment; `within` is a command that runs the command that follows it.
    """
    listeners = Listeners.free(drop_in=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*within, *LAUNCH],
            cwd=ROOT,
            env=environment(listeners, **settings),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Launched(process, log, listeners)
    finally:
        process.terminate()
        process.wait()


def environment(listeners: Listeners, **settings: str) -> dict[str, str]:
    """The environment that makes the launcher listen there."""
    ports = {setting: str(port) for setting, port in listeners.by_setting.items()}
    return {**os.environ, **ports, "OCR_HOST": listeners.host, **settings}


def children(parent: int) -> list[tuple[int, str]]:
    """Process id and command line of each living child."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        pid = int(process.name)
        if alive(pid) and _state_and_parent(pid)[1] == parent:
            with suppress(FileNotFoundError, ProcessLookupError):
                found.append((pid, (process / "cmdline").read_text().replace("\0", " ")))
    return found


def descendants(parent: int) -> list[int]:
    """Process ids of all living descendants."""
    below = [pid for pid, _ in children(parent)]
    return below + [pid for child in below for pid in descendants(child)]


def alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    return _state_and_parent(pid)[0] not in {"Z", "X", ""}


def _state_and_parent(pid: int) -> tuple[str, int]:
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except (FileNotFoundError, ProcessLookupError):
        return "", 0
    return state, int(parent)


def eventually(condition: Callable[[], bool], timeout: float, interval: float = 0.05) -> bool:
    """Whether the condition comes true in time."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(interval)
    return condition()
