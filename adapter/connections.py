"""How clients' connections are taken, and how long they are borne."""

import asyncio
import resource
import socket
from collections.abc import Callable
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Milliseconds that what is sent may wait for a client who does not read it, or whose network is gone.
_UNREAD = 30_000
# Seconds.
_LAST_LOOK = 0.5
# Seconds that a client may go on sending after its request was answered; nginx's lingering_time.
_LINGER = 30.0
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


class _Lingering:
    """A transport that lets a client who is still sending read its answer before the connection is closed.

    Closed at once, the connection would be reset by the kernel when more comes, and a client that meets the reset
    before it has read the answer loses it (RFC 9112, section 9.6). So this side is shut first, and what comes is for
    nobody, until the client has closed its own or `_LINGER` is over. Whoever closes again does not want to wait.
    """

    def __init__(self, transport: asyncio.Transport, is_sending: Callable[[], bool]) -> None:
        """`is_sending` tells whether more of a request is to come."""
        self.lingers = False
        self._transport = transport
        self._is_sending = is_sending

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self.lingers or self._transport.is_closing()

    def close(self) -> None:
        if self.is_closing() or not self._is_sending():
            self._transport.close()
            return
        self.lingers = True
        self._transport.write_eof()
        self._transport.resume_reading()
        asyncio.get_running_loop().call_later(_LINGER, self._transport.abort)


class Connection(HttpToolsProtocol):
    """uvicorn's, which would bear a client for ever that does not come to the end of its request.

    The head has a time of its own, the rest of it the request's own deadline. A request that is answered before it has
    come whole is its connection's last: uvicorn would wait for the rest, to throw it away.
    """

    def __init__(self, *arguments: Any, head_timeout: float, **named: Any) -> None:
        """`head_timeout` is in seconds; the other arguments are uvicorn's."""
        super().__init__(*arguments, **named)
        self._head_timeout = head_timeout
        self._deadline: asyncio.TimerHandle | None = None
        self._lingering: _Lingering
        # Of the request that is coming: whether all of it has come, and whether others may follow it.
        self._whole = True
        self._keep_alive = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._lingering = _Lingering(transport, lambda: not self._whole)
        super().connection_made(cast(asyncio.Transport, self._lingering))
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        if not self._lingering.lingers:
            super().data_received(data)

    def on_message_begin(self) -> None:
        self._whole = False
        super().on_message_begin()
        self._expect_head()

    def on_headers_complete(self) -> None:
        self._forget()
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:
            self._keep_alive, self.cycle.keep_alive = self.cycle.keep_alive, False

    def on_message_complete(self) -> None:
        self._whole = True
        if self.cycle and not self.cycle.response_started:
            self.cycle.keep_alive = self._keep_alive
        super().on_message_complete()

    def shutdown(self) -> None:
        self._keep_alive = False
        super().shutdown()

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
