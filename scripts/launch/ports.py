"""Which addresses the server listens on, and whether they are free."""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple


class Port(NamedTuple):
    """What listens on it, and its number: where nothing is set (None: not open), and in the place of the documents'
    own servers."""

    what: str
    default: int | None
    drop_in: int


# By setting, in the order of the fields of `Listeners`.
SETTINGS = {
    "OCR_PORT": Port("the HTTP APIs", 8080, 8080),
    "OCR_TRITON_HTTP_PORT": Port("Triton's HTTP protocol", 8000, 8100),
    "OCR_TRITON_GRPC_PORT": Port("Triton's gRPC protocol", 8001, 8101),
    "OCR_TRITON_METRICS_PORT": Port("Triton's metrics", 8002, 8102),
    "OCR_PADDLEOCR_SERVICE_PORT": Port("the PaddleOCR service's API", None, 7861),
    "OCR_INTERNVL_PORT": Port("InternVL's API", None, 8000),
    "OCR_DOTS_PORT": Port("DotsOCR's API", None, 5000),
}

_TRITON_SETTINGS = ("OCR_TRITON_HTTP_PORT", "OCR_TRITON_GRPC_PORT", "OCR_TRITON_METRICS_PORT")

_EVERY_IPV4, _EVERY_IPV6 = "0.0.0.0", "::"  # noqa: S104 - a server is there to be reached


class PortError(Exception):
    """A port setting is no port number, is given twice, or is in use, or OCR_HOST is no address; the message names the
    setting."""


@dataclass(frozen=True)
class Listeners:
    """The address that everything binds, and a port for each listener; the last three need not be there.

    Where that address stands for all of its family, the adapter binds all of the other family too: clients look
    `localhost` up, and some go to ::1 alone.
    """

    host: str
    adapter: int
    http: int
    grpc: int
    metrics: int
    paddleocr_service: int | None = None
    internvl: int | None = None
    dots: int | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], drop_in: bool = False) -> Listeners:
        """OCR_HOST and the ports.

        Args:
            environment: where the settings are.
            drop_in: whether a port that is not set is the one that the documents' own servers have.

        Raises:
            PortError: a value is not a number from 1 to 65535, or the host cannot be resolved.
        """
        # None only where the field may be None.
        ports: list[Any] = [
            _port(environment, setting, port.drop_in if drop_in else port.default) for setting, port in SETTINGS.items()
        ]
        return cls(_address(environment.get("OCR_HOST") or _EVERY_IPV4), *ports)

    @classmethod
    def free(cls, host: str = "127.0.0.1", drop_in: bool = False) -> Listeners:
        """Ports that nothing listens on at this moment; with `drop_in` for the listeners that need not be there too.

        They lie below those that Linux gives outgoing connections (32768 on): one of these could take the port of a
        service while it is being started again.
        """
        shuffled = iter(random.sample(range(20000, 32768), 12768))
        wanted = [port for port in SETTINGS.values() if drop_in or port.default]
        ports: list[int] = []
        while len(ports) < len(wanted):
            with suppress(OSError):
                _bound(host, port := next(shuffled)).close()
                ports.append(port)
        return cls(host, *ports)

    @property
    def by_setting(self) -> dict[str, int]:
        """Port by the name of its setting, of all listeners that there are."""
        ports = (
            self.adapter,
            self.http,
            self.grpc,
            self.metrics,
            self.paddleocr_service,
            self.internvl,
            self.dots,
        )
        return {setting: port for setting, port in zip(SETTINGS, ports, strict=True) if port is not None}

    @property
    def local_host(self) -> str:
        """The host under which a process on this machine reaches the listeners, as it stands in a URL."""
        return in_url({_EVERY_IPV4: "127.0.0.1", _EVERY_IPV6: "::1"}.get(self.host, self.host))

    @property
    def _adapters(self) -> list[int]:
        """The ports that the adapter serves."""
        ports = (self.adapter, self.paddleocr_service, self.internvl, self.dots)
        return [port for port in ports if port is not None]

    def open_adapter(self) -> list[socket.socket]:
        """The adapter's sockets, bound and not yet listening. Raises OSError."""
        return [_bound(host, port) for port in self._adapters for host in self._adapter_hosts]

    @property
    def _adapter_hosts(self) -> list[str]:
        if self.host not in (_EVERY_IPV4, _EVERY_IPV6):
            return [self.host]
        return [host for host in (_EVERY_IPV4, _EVERY_IPV6) if host == self.host or _has(host)]

    def check_free(self, *, triton: bool = True, adapter: bool = True) -> None:
        """Raise PortError, naming every setting whose port cannot be bound and, where it can be told, who holds it.

        Args:
            triton: whether Triton's ports matter.
            adapter: whether the adapter's ports matter.
        """
        problems = []
        owner: dict[int, str] = {}
        for setting, port in self.by_setting.items():
            of_triton = setting in _TRITON_SETTINGS
            if not (triton if of_triton else adapter):
                continue
            if port in owner:
                problems.append(f"{setting} and {owner[port]} are both {port}")
                continue
            owner[port] = setting
            for host in [self.host] if of_triton else self._adapter_hosts:
                try:
                    _bound(host, port).close()
                except OSError as error:
                    problems.append(f"{setting}={port} ({SETTINGS[setting].what}) {_why(error, port, host)}")
                    break
        if problems:
            raise PortError("\n".join(problems))


def _port(environment: Mapping[str, str], setting: str, default: int | None) -> int | None:
    value = environment.get(setting) or str(default or "")
    if not value:
        return None
    if not (value.isascii() and value.isdigit() and 0 < int(value) < 65536):
        raise PortError(f"{setting}={value!r} is not a port number (1 to 65535)")
    return int(value)


def in_url(host: str) -> str:
    """The host as it stands before a port: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def _address(host: str) -> str:
    """What the name stands for; of two families, IPv4's. (Triton knows no names.)"""
    try:
        return str(min(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))[4][0])
    except (OSError, UnicodeError) as error:
        raise PortError(f"OCR_HOST={host!r} is no address: {getattr(error, 'strerror', None) or error}") from error


def _has(host: str) -> bool:
    """Whether this machine has the family of that address."""
    with suppress(OSError):
        _bound(host, 0).close()
        return True
    return False


def _bound(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        if listener.family == socket.AF_INET6:
            # IPv4 has sockets of its own: there its clients have IPv4's addresses.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # As the servers do: connections of an earlier run that are still in TIME_WAIT are no hindrance.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


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
