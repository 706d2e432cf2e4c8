"""A server of one's own, started with scripts/serve for as long as it is needed."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from triton_ocr.client import Client
from triton_ocr.errors import ServerError

_ROOT = Path(__file__).resolve().parents[1]
_SERVE = _ROOT / "scripts" / "serve"
_PORTS = ("OCR_PORT", "OCR_TRITON_HTTP_PORT", "OCR_TRITON_GRPC_PORT", "OCR_TRITON_METRICS_PORT")
# Linux gives outgoing connections ports from 32768 on.
_FREE = range(20000, 32768)
_INTERVAL = 0.1
_LAST_WORDS = 20

# It serves nobody else: what protects a shared server from its callers only hinders here. Those that the caller's
# environment sets are left as they are.
_SETTINGS = {"OCR_MAX_FILE_SIZE": str(1 << 30), "OCR_DOCUMENT_TIMEOUT": "86400", "OCR_REQUEST_TIMEOUT": "600"}
# Of the caller's environment, what is meant for another server.
_NOT_INHERITED = ("OCR_API_KEYS", "MODEL_PATH", "DOTS_MODEL_PATH")


class EmbeddedServer:
    """A running server on this machine, on ports of its own; it ends with `stop`, or with this process."""

    def __init__(self, settings: dict[str, str], say: Callable[[str], None]) -> None:
        """Start it and wait until it is ready: seconds, and a minute or two the first time.

        Args:
            settings: environment variables, before all others.
            say: takes a line for a person's eyes.

        Raises ServerError, with its last words, where it cannot be started, or where this is not a checkout of the
        server.
        """
        if not _SERVE.exists():
            raise ServerError(
                "no server answers here, and this installation has none to start: name one with --server or "
                "OCR_SERVER, or run scripts/serve in a checkout"
            )
        ports = _free_ports(len(_PORTS))
        inherited = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
        addresses = {"OCR_HOST": "127.0.0.1", **dict(zip(_PORTS, map(str, ports)))}
        self.client = Client(f"http://127.0.0.1:{ports[0]}")
        say("starting a server")
        with tempfile.TemporaryFile() as log:
            self._process = subprocess.Popen(
                _command(),
                cwd=_ROOT,
                env={**_SETTINGS, **inherited, **addresses, **settings, "PYTHONPATH": str(_ROOT), "PYTHONUTF8": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for this process, which then stops it
            )
            self._finalizer = weakref.finalize(self, _stop, self._process, _guard(self._process.pid))
            try:
                self._wait(log)
            except BaseException:
                self.stop()
                raise

    def stop(self) -> None:
        """End it, and wait for that."""
        self._finalizer()

    def _wait(self, log: Any) -> None:
        while not self.client.is_ready():
            if self._process.poll() is not None:
                log.seek(0)
                words = log.read().decode(errors="replace").strip().splitlines()[-_LAST_WORDS:]
                raise ServerError("the server could not be started:\n" + "\n".join(f"  {line}" for line in words))
            time.sleep(_INTERVAL)


def _command() -> list[str]:
    if Path(sys.prefix).resolve() == _ROOT / ".venv":
        # Where the locks have changed, scripts/serve would make anew the environment that this process runs in.
        return ["sh", "-c", '"$0" -m scripts.weights && exec "$0" -m scripts.launch', sys.executable]
    return [str(_SERVE)]


def _guard(group: int) -> subprocess.Popen[bytes]:
    """A process that ends the group as soon as this process is gone, however it went: it waits at a pipe whose other
    end nobody else holds."""
    return subprocess.Popen(
        ["sh", "-c", 'read _; kill -s TERM -- "-$1"', "sh", str(group)],  # noqa: S607
        stdin=subprocess.PIPE,
        start_new_session=True,
    )


def _stop(process: subprocess.Popen[bytes], guard: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        # The set-up's children too, should it still be at that.
        os.killpg(process.pid, signal.SIGTERM)
    process.wait()
    guard.kill()
    guard.communicate()


def _free_ports(count: int) -> list[int]:
    """Ports that nothing listens on at this moment."""
    found: list[int] = []
    for port in random.sample(_FREE, len(_FREE)):
        with suppress(OSError), socket.socket() as listener:
            listener.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise ServerError(f"no {count} ports between {_FREE[0]} and {_FREE[-1]} are free")
