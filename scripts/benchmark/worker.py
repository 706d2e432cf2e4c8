"""A process that answers questions, one line each way: JSON out of it, lines of text into it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scripts.benchmark.errors import BenchmarkError
from scripts.benchmark.processes import running

_LAST_WORDS = 5


class Worker:
    """The process."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, timeout: float) -> None:
        self._process = process
        self._log = log
        self._timeout = timeout

    def ask(self, question: str) -> dict[str, Any]:
        """Put a question (one line), and wait for the answer.

        Raises:
            BenchmarkError: the process ended, or took too long; the message has its last words.
        """
        assert self._process.stdin is not None  # noqa: S101 - `working` has opened it
        try:
            self._process.stdin.write(question.encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101 - as above
        alarm = threading.Timer(self._timeout, self._process.kill)
        alarm.start()
        try:
            line = self._process.stdout.readline()
        finally:
            alarm.cancel()
        if not line:
            raise self._ended()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _ended(self) -> BenchmarkError:
        status = self._process.wait()
        words = self._log.read_text(errors="replace").strip().splitlines()[-_LAST_WORDS:]
        how = f"was ended by signal {-status}" if status < 0 else f"ended with exit status {status}"
        return BenchmarkError("\n".join([f"its process {how}", *(f"  {word}" for word in words)]))


@contextmanager
def working(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str],
    log: Path,
    memory: int | None = None,
    timeout: float = 600.0,
) -> Iterator[Worker]:
    """Run a worker until the end of the block.

    Args:
        command: program and arguments.
        environment: what is added to this process' own.
        log: takes what it prints beside its answers; begun anew.
        memory: bytes of address space; None: no limit.
        timeout: seconds that an answer may take.
    """
    log.unlink(missing_ok=True)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with running(command, environment=environment, log=log, memory=memory, **pipes) as process:
        try:
            yield Worker(process, log, timeout)
        finally:
            for pipe in (process.stdin, process.stdout):
                # What could not be written is not wanted any more.
                with contextlib.suppress(BrokenPipeError):
                    if pipe:
                        pipe.close()
