"""How clients' connections are taken, and how long they are borne."""

import asyncio
import resource
import socket
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Milliseconds that what is sent may wait for a client who does not read it, or whose network is gone.
_UNREAD = 30_000
# Seconds.
_LAST_LOOK = 0.5
KEEP_ALIVE = 75
"""How long a connection may be idle: longer than clients and proxies keep theirs, so that it is they who close it, and
never the server while the next request is on its way."""

# Descriptors for everything but clients' connections: Triton, open PDFs, URLs that are fetched.
_RESERVED = 128
_ENOUGH = 65_536


def listening(descriptor: int) -> socket.socket:
    """A socket that was bound by the parent process and handed down."""
    return socket.socket(fileno=descriptor)


def give_up_unread(listener: socket.socket) -> None:
    """Have the kernel cut connections of clients who do not read: closing one waits until all it holds is sent."""
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNREAD)  # its connections inherit it


def most_connections() -> int:
    """How many connections there may be, after as many descriptors as may be had have been asked for.

    Beyond it a request has to be refused: without a descriptor its connection could not even be closed in good order.
    """
    at_present, allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(at_present, _ENOUGH if allowed == resource.RLIM_INFINITY else min(allowed, _ENOUGH))
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, allowed))
    return max(most - _RESERVED, 1)


class Connection(HttpToolsProtocol):
    """uvicorn's, which would wait for the head of a request for ever; the rest of it has the request's own deadline."""

    def __init__(self, *arguments: Any, head_timeout: float, **named: Any) -> None:
        """`head_timeout` is in seconds; the other arguments are uvicorn's."""
        super().__init__(*arguments, **named)
        self._head_timeout = head_timeout
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._expect_head()

    def on_headers_complete(self) -> None:
        self._forget()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def _expect_head(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self._head_timeout, self._last_look)

    def _last_look(self) -> None:
        # A loop that was kept from running sees its timers before what has come meanwhile.
        self._deadline = self.loop.call_later(_LAST_LOOK, self.transport.abort)

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
