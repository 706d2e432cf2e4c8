"""What every request passes through on its way to a route: `Observer`, `Guard`, `KeyGuard`, `BodyLimit`.

They are plain ASGI applications. Starlette's BaseHTTPMiddleware puts a queue of its own between the client and the
route: it hides the client's leaving, and it hands the request on before its body can be measured as it arrives.
"""

import asyncio
import hashlib
import hmac
import logging
import re
import time
import uuid
from collections.abc import Callable, Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from adapter.context import api_name, request_id
from adapter.errors import (
    BusyError,
    DeadlineExceededError,
    InternalError,
    ServiceError,
    TooLargeError,
    UnauthorizedError,
    UnavailableError,
)
from adapter.metrics import Metrics

logger = logging.getLogger(__name__)

Renderer = Callable[[str, ServiceError], Response]
"""A failure of a request for a path, in the form of the API that the path belongs to."""

# A client may name its request, in characters that are safe in a log line and in a header.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
_AUTHORIZATION = re.compile(
    r"bearer\s+(?P<bearer>\S+)\s*$|AWS4-HMAC-SHA256\s+(?:.*[\s,])?Credential=(?P<access_key>[^/\s,]+)/", re.IGNORECASE
)
# Nobody is there to receive it; the log and the metrics want a number, and nginx has made this one common.
_CLIENT_LEFT = 499


class Observer:
    """Names the request, and logs and counts it when it is done."""

    def __init__(self, app: ASGIApp, metrics: Metrics, api_name_of: Callable[[str], str]) -> None:
        """`api_name_of` gives the name of the API that a path belongs to."""
        self._app = app
        self._metrics = metrics
        self._api_name_of = api_name_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        start = time.perf_counter()
        given = Headers(scope=scope).get("x-request-id", "")
        request_id.set(given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex)
        api_name.set(self._api_name_of(scope["path"]))
        status = _CLIENT_LEFT

        async def named_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                MutableHeaders(scope=message)["X-Request-Id"] = request_id.get()
            await send(message)

        try:
            await self._app(scope, receive, named_send)
        finally:
            self._record(scope, status, time.perf_counter() - start)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        api, route = api_name.get(), getattr(scope.get("route"), "path", "")
        self._metrics.requests.labels(api, route, status).inc()
        self._metrics.seconds.labels(api, route).observe(seconds)
        fields = {
            "api": api,
            "method": scope["method"],
            "path": scope["path"],
            "status": status,
            "seconds": round(seconds, 4),
            "client": (scope.get("client") or ("",))[0],
        }
        logger.info("request", extra={"fields": fields})


class Guard:
    """Ends a request at its deadline or when its client leaves, and answers every failure that comes this far.

    The work runs as a task of its own and ends by cancellation, which reaches the call to Triton that it awaits.
    """

    def __init__(self, app: ASGIApp, timeout_of: Callable[[str], float], render: Renderer) -> None:
        """`timeout_of` gives, for a path, the seconds from the first byte of the request to the last of its answer."""
        self._app = app
        self._timeout_of = timeout_of
        self._render = render

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        timeout = self._timeout_of(scope["path"])
        exchange = _Exchange(receive, send)
        work = asyncio.ensure_future(self._app(scope, exchange.receive, exchange.send))
        left = asyncio.ensure_future(exchange.client_left())
        try:
            await asyncio.wait({work, left}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if left.done() and exchange.answered:
                # An answered request looks like one whose client left; let the application tidy up.
                await asyncio.wait({work}, timeout=timeout)
            if not work.done() and left.done():
                return
            error = _failure(work, timeout)
        except asyncio.CancelledError:
            # The server stops, and has waited for as long as it may.
            error = UnavailableError("the server is stopping; try again later")
        finally:
            work.cancel()
            left.cancel()
            await asyncio.gather(work, left, return_exceptions=True)
        if error is None:
            return
        if exchange.started:
            # Too late for an answer of our own: the server logs the error and cuts the connection.
            raise error
        await self._render(scope["path"], error)(scope, receive, send)


def _failure(work: "asyncio.Future[None]", timeout: float) -> ServiceError | None:
    if not work.done():
        return DeadlineExceededError(f"the request was not done within {timeout:g} s")
    error = work.exception()
    if error is None or isinstance(error, ServiceError):
        return error
    internal = InternalError("internal error")
    internal.__cause__ = error
    return internal


class _Exchange:
    """Both directions of one request, with an eye on the client.

    ASGI tells that a client has left only to those who ask for the next part of the request. As long as the
    application reads the body it asks by itself; afterwards, and once it answers, `client_left` asks in its stead.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._body_read = asyncio.Event()
        self._amid_body = False
        self._left = asyncio.Event()
        self.started = False
        self.answered = False

    async def receive(self) -> Message:
        if self._body_read.is_set():
            await self._left.wait()
            return {"type": "http.disconnect"}
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._left.set()
        self._amid_body = message.get("more_body", False)
        if not self._amid_body:
            self._body_read.set()
        return message

    async def send(self, message: Message) -> None:
        self.started = True
        if not self._amid_body:
            # It answers without having asked for the body, and will not ask any more.
            self._body_read.set()
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.answered = True
        await self._send(message)

    async def client_left(self) -> None:
        """Return when the client has left, or has its whole answer."""
        await self._body_read.wait()
        while not self._left.is_set():
            if (await self._receive())["type"] == "http.disconnect":
                self._left.set()


class KeyGuard:
    """Lets in who brings an API key, where there are any.

    A key comes as `Authorization: Bearer KEY`, as `X-API-Key: KEY`, or as the access key id of a request signed by
    AWS's rules (Signature Version 4), which is how the clients of SageMaker send it: they cannot send another header.
    Their signature is not looked at, since the key alone lets in.
    """

    def __init__(self, app: ASGIApp, keys: Sequence[str], is_open: Callable[[str], bool]) -> None:
        """`is_open` tells which paths ask for no key."""
        self._app = app
        self._digests = [_digest(key.encode()) for key in keys]
        self._is_open = is_open

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._digests and not self._is_open(scope["path"]):
            given = _given_key(Headers(scope=scope))
            if not given:
                raise UnauthorizedError("an API key is required: Authorization: Bearer KEY, or X-API-Key: KEY")
            digest = _digest(given.encode("latin-1"))
            # As long for a wrong key as for a right one, whichever it is.
            if not any([hmac.compare_digest(digest, known) for known in self._digests]):
                raise UnauthorizedError("the API key is not known")
        await self._app(scope, receive, send)


def _given_key(headers: Headers) -> str:
    match = _AUTHORIZATION.match(headers.get("authorization", ""))
    return headers.get("x-api-key") or (match and (match["bearer"] or match["access_key"])) or ""


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


class BodyMemory:
    """What the bodies of all requests in hand may take together."""

    def __init__(self, size: int) -> None:
        """`size` is in bytes."""
        self._size = self._free = size

    def take(self, size: int) -> None:
        """Raises `BusyError` when there is not so much left."""
        if size > self._free:
            raise BusyError(f"the requests in hand take {self._size} bytes (OCR_MAX_BODY_MEMORY); try again later")
        self._free -= size

    def give_back(self, size: int) -> None:
        self._free += size


class BodyLimit:
    """Refuses a body over the limit: before a byte of it is read where its length is declared, else as it arrives.

    Refuses it as well, as it arrives, when it does not fit beside those of the other requests.
    """

    def __init__(self, app: ASGIApp, limit: Callable[[str], tuple[int, str]], memory: BodyMemory) -> None:
        """`limit` gives, for a path, the bytes that a body may have, and says in words where they come from."""
        self._app = app
        self._limit = limit
        self._memory = memory

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        limit, origin = self._limit(scope["path"])
        refusal = TooLargeError(f"the request's body is larger than {limit} bytes ({origin})")
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            raise refusal
        received = 0

        async def limited_receive() -> Message:
            nonlocal received
            message = await receive()
            size = len(message.get("body", b""))
            if received + size > limit:
                raise refusal
            self._memory.take(size)
            received += size
            return message

        try:
            await self._app(scope, limited_receive, send)
        finally:
            self._memory.give_back(received)
