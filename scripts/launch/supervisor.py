"""Child processes that are kept running, and that leave nothing behind when they are stopped."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

# linux/prctl.h
_PR_SET_CHILD_SUBREAPER = 36

_LIBC = ctypes.CDLL(None, use_errno=True)

_HEALTH_INTERVAL = 0.5
_STOP_INTERVAL = 0.1
_OUTPUT_TIMEOUT = 1.0


class GaveUp(Exception):  # noqa: N818 - it reads as what happened
    """A service is not started again; the message says which and why."""


@dataclass
class Restarts:
    """When a service that died is started again: at once, and after a delay that doubles with each further death of the
    last minute.

    Attributes:
        limit: deaths within `window` that are borne.
        window: seconds after which a death is forgotten.
        first_delay: seconds before the second restart.
    """

    limit: int = 5
    window: float = 60.0
    first_delay: float = 0.5
    _deaths: list[float] = field(default_factory=list)

    def delay(self, now: float) -> float | None:
        """Seconds to wait after a death at `now` (of a monotonic clock); None when it was one too many."""
        self._deaths = [*(death for death in self._deaths if now - death < self.window), now]
        if len(self._deaths) > self.limit:
            return None
        return self.first_delay * float(2 ** (len(self._deaths) - 2)) if len(self._deaths) > 1 else 0.0


@dataclass(frozen=True)
class Service:
    """A process to keep running.

    Attributes:
        name: what messages call it.
        command: program and arguments.
        environment: the whole environment.
        stop_timeout: seconds between SIGTERM and SIGKILL.
        drained: asked meanwhile; whether it has no more work in hand, so that SIGKILL need not wait.
        ailment: asked twice a second with the process id; what is wrong when the process must be replaced although
            it lives, else None.
        refusal: asked when it has ended before it was ready; what it has said that keeps it from starting, if anything.
        clean_up: called whenever the process and all its descendants have ended.
        output: takes each line of what the process prints (without the line's end); None leaves the terminal to it.
        descriptors: what the process inherits under the same numbers, beside the standard three.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    stop_timeout: float
    drained: Callable[[], bool] = lambda: False
    ailment: Callable[[int], str | None] = lambda pid: None
    refusal: Callable[[], str | None] = lambda: None
    clean_up: Callable[[], None] = lambda: None
    output: Callable[[str], None] | None = None
    descriptors: Sequence[int] = ()


def adopt_orphans() -> None:
    """Make this process the parent of its descendants' orphans, so that it can wait for the end of every one."""
    if _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


async def keep_running(service: Service, started: Callable[[], bool], say: Callable[[str], None]) -> None:
    """Run the service until cancelled, starting it again when it dies. On return nothing of it is left.

    Args:
        service: what to run.
        started: whether the whole server has been ready once. Before that an exit is final, and so is what comes after
            a refusal: it would happen again. A crash is not: Triton has been seen to abort, if rarely, while it loads
            models on a busy machine.
        say: takes the messages.

    Raises:
        GaveUp: it ended by itself before it was ready, or died too often.
    """
    restarts = Restarts()
    while True:
        end = await _run_once(service)
        reason = end.reason
        if not started():
            if refusal := service.refusal():
                raise GaveUp(f"{service.name} cannot start: {refusal}")
            reason += " while starting"
            if not end.by_signal:
                raise GaveUp(f"{service.name} {reason}")
        delay = restarts.delay(time.monotonic())
        if delay is None:
            raise GaveUp(
                f"{service.name} {reason}; more than {restarts.limit} times within {restarts.window:.0f} s, "
                "so it is not started again"
            )
        say(f"{service.name} {reason}; it is started again {f'in {delay:g} s' if delay else 'at once'}")
        await asyncio.sleep(delay)


@dataclass(frozen=True)
class _End:
    reason: str
    by_signal: bool


async def _run_once(service: Service) -> _End:
    """Start the process, and return why it has to be started again once it and its descendants have ended."""
    process = subprocess.Popen(  # noqa: ASYNC220 - fork and exec take a millisecond
        service.command,
        env=service.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if service.output else None,
        stderr=subprocess.STDOUT if service.output else None,
        start_new_session=True,
        pass_fds=service.descriptors,
    )
    guard = _guard(process.pid)
    exited = _exit_of(process.pid)
    lines = _Lines(service.output) if service.output else None
    try:
        if lines:
            await asyncio.get_running_loop().connect_read_pipe(lambda: lines, process.stdout)
        ailment = await _ailment(service, process.pid, exited)
        return _End(ailment, by_signal=False) if ailment else _how_it_ended(process.pid)
    except asyncio.CancelledError:
        if not exited.done():
            await _stop(service, process.pid, exited)
        raise
    finally:
        await _end_group(process, exited, guard)
        if lines:
            await asyncio.wait([lines.closed], timeout=_OUTPUT_TIMEOUT)
        service.clean_up()


def _guard(group: int) -> subprocess.Popen[bytes]:
    """A process that kills the group as soon as this process is gone, however it went.

    It waits at a pipe whose other end nobody but this process holds. (PR_SET_PDEATHSIG would reach the group's leader
    only, and a Python stub that Triton's death has caught with a lock of their shared memory waits for ever.)
    """
    return subprocess.Popen(
        ["sh", "-c", 'read _; kill -KILL "-$1"', "sh", str(group)],  # noqa: S607
        stdin=subprocess.PIPE,
        start_new_session=True,
    )


def _exit_of(pid: int) -> asyncio.Future[None]:
    """A future that is done when the process has ended. It is not reaped: its process group stays its own."""
    loop = asyncio.get_running_loop()
    exited = loop.create_future()
    descriptor = os.pidfd_open(pid)

    def ended() -> None:
        loop.remove_reader(descriptor)
        os.close(descriptor)
        exited.set_result(None)

    loop.add_reader(descriptor, ended)
    return exited


async def _ailment(service: Service, pid: int, exited: asyncio.Future[None]) -> str | None:
    """Wait until the process has ended (None), or has to be replaced although it has not (why)."""
    while not await _done_within(exited, _HEALTH_INTERVAL):
        ailment = service.ailment(pid)
        if ailment:
            return ailment
    return None


async def _stop(service: Service, pid: int, exited: asyncio.Future[None]) -> None:
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + service.stop_timeout
    while not (await _done_within(exited, _STOP_INTERVAL) or service.drained() or time.monotonic() > deadline):
        pass


async def _done_within(exited: asyncio.Future[None], seconds: float) -> bool:
    done, _ = await asyncio.wait([exited], timeout=seconds)
    return bool(done)


def _how_it_ended(pid: int) -> _End:
    result = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert result is not None  # noqa: S101 - it has ended, and WNOHANG is not given
    if result.si_code == os.CLD_EXITED:
        return _End(f"ended with exit status {result.si_status}", by_signal=False)
    return _End(f"was ended by {signal.Signals(result.si_status).name}", by_signal=True)


async def _end_group(
    process: subprocess.Popen[bytes], exited: asyncio.Future[None], guard: subprocess.Popen[bytes]
) -> None:
    """Kill what lives of the process and its descendants, and wait until all of them are gone."""
    # The process is not reaped yet, so its group's number cannot have passed to somebody else.
    os.killpg(process.pid, signal.SIGKILL)
    guard.kill()
    guard.communicate()
    await exited
    process.wait()
    # The rest of the group are orphans now, and this process has adopted them.
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitid(os.P_PGID, process.pid, os.WEXITED)  # noqa: ASYNC222 - they have been killed: no wait


class _Lines(asyncio.Protocol):
    """Cuts a byte stream into lines; `closed` is done at its end."""

    def __init__(self, output: Callable[[str], None]) -> None:
        self.closed = asyncio.get_running_loop().create_future()
        self._output = output
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._output(line.decode(errors="replace"))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._rest:
            self._output(self._rest.decode(errors="replace"))
        self.closed.set_result(None)
