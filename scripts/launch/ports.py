"""Which addresses the server listens on, and whether they are free."""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# setting: (what listens there, default)
SETTINGS = {
    "OCR_PORT": ("the HTTP APIs", 8080),
    "OCR_TRITON_HTTP_PORT": ("Triton's HTTP protocol", 8000),
    "OCR_TRITON_GRPC_PORT": ("Triton's gRPC protocol", 8001),
    "OCR_TRITON_METRICS_PORT": ("Triton's metrics", 8002),
}


class PortError(Exception):
    """A port setting is no port number, is given twice, or is in use; the message names the setting."""


@dataclass(frozen=True)
class Listeners:
    """The address that everything binds, and a port for each listener."""

    host: str
    adapter: int
    http: int
    grpc: int
    metrics: int

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Listeners:
        """OCR_HOST and the four ports.

        Raises:
            PortError: a value is not a number from 1 to 65535.
        """
        return cls(
            environment.get("OCR_HOST") or "0.0.0.0",  # noqa: S104 - a server is there to be reached
            *(_port(environment, setting, default) for setting, (_, default) in SETTINGS.items()),
        )

    @classmethod
    def free(cls, host: str = "127.0.0.1") -> Listeners:
        """Ports that nothing listens on at this moment.

        They lie below those that Linux gives outgoing connections (32768 on): one of these could take the port of a
        service while it is being started again.
        """
        shuffled = iter(random.sample(range(20000, 32768), 12768))
        ports: list[int] = []
        while len(ports) < len(SETTINGS):
            with suppress(OSError):
                _bind(host, port := next(shuffled))
                ports.append(port)
        return cls(host, *ports)

    @property
    def by_setting(self) -> dict[str, int]:
        """Port by the name of its setting."""
        return dict(zip(SETTINGS, (self.adapter, self.http, self.grpc, self.metrics), strict=True))

    @property
    def local_host(self) -> str:
        """The address under which a process on this machine reaches the listeners."""
        return "127.0.0.1" if self.host == "0.0.0.0" else self.host  # noqa: S104

    def check_free(self) -> None:
        """Raise PortError, naming every setting whose port cannot be bound and, where it can be told, who holds it."""
        problems = []
        owner: dict[int, str] = {}
        for setting, port in self.by_setting.items():
            if port in owner:
                problems.append(f"{setting} and {owner[port]} are both {port}")
                continue
            owner[port] = setting
            try:
                _bind(self.host, port)
            except OSError as error:
                problems.append(f"{setting}={port} ({SETTINGS[setting][0]}) {_why(error, port, self.host)}")
        if problems:
            raise PortError("\n".join(problems))


def _port(environment: Mapping[str, str], setting: str, default: int) -> int:
    value = environment.get(setting) or str(default)
    if not (value.isascii() and value.isdigit() and 0 < int(value) < 65536):
        raise PortError(f"{setting}={value!r} is not a port number (1 to 65535)")
    return int(value)


def _bind(host: str, port: int) -> None:
    with socket.socket() as listener:
        # As the servers do: connections of an earlier run that are still in TIME_WAIT are no hindrance.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))


def _why(error: OSError, port: int, host: str) -> str:
    if error.errno != errno.EADDRINUSE:
        return f"cannot be opened on {host}: {error.strerror or error}"
    holders = ", ".join(f"{name} (process {pid})" for pid, name in _holders(port))
    return f"is in use by {holders}" if holders else "is in use by another process"


def _holders(port: int) -> Iterator[tuple[int, str]]:
    """Process id and name of each process with a socket that listens on the port, as far as /proc may be read."""
    wanted = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    for process in Path("/proc").glob("[0-9]*"):
        # What may not be read belongs to another user; what is not found has just been closed or ended.
        with suppress(PermissionError, FileNotFoundError):
            if any(_target(descriptor) in wanted for descriptor in (process / "fd").iterdir()):
                yield int(process.name), (process / "comm").read_text().strip()


def _target(descriptor: Path) -> str | None:
    with suppress(FileNotFoundError):
        return str(descriptor.readlink())
    return None


def _listening_inodes(port: int) -> Iterator[str]:
    # Columns of /proc/net/tcp (proc(5)): 1 local address:port in hex, 3 state (0A: LISTEN), 9 inode.
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            columns = row.split()
            if columns[3] == "0A" and int(columns[1].rpartition(":")[2], 16) == port:
                yield columns[9]
