"""What an API module is made of, and what its routes may ask for."""

import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.routing import compile_path
from starlette.types import Receive, Scope, Send

from adapter.documents import Documents
from adapter.dots.reader import DotsReader
from adapter.drawing import Draughtsman
from adapter.errors import InternalError, ServiceError
from adapter.internvl.reader import InternvlReader
from adapter.recognizer import Recognizer
from adapter.runtime import RuntimeProbe
from adapter.settings import Settings
from adapter.sources import FileLimit, Sources

logger = logging.getLogger(__name__)

# For the examples of the API documentation: a PNG, 64x36, that says OCR.
EXAMPLE_PICTURE = (
    "iVBORw0KGgoAAAANSUhEUgAAAEAAAAAkAQAAAAARdwE/AAAAcElEQVR42rWPoQ3DMBREn08FAQGGDvMURQUZzaOZZIds0MAPIsUhcYBrVtgeejo9"
    "nXSu0iL+B2c8o0BsVqyCeK+HvRJiGDcEIl+5yX7wX3au9IGlN+rwBGHFqCBmzTxAlL2ghJji5AERQvAu4359+QYnhhz3X7uV+AAAAABJRU5ErkJg"
    "gg=="
)


@dataclass(frozen=True)
class Api:
    """One documented API. Adding one is writing its module and naming it in `adapter.apis.APIS`."""

    name: str
    """In logs and metrics."""
    title: str
    """In the API documentation."""
    prefix: str
    """Where the whole API is served, beside the documented paths."""
    root_paths: frozenset[str]
    """The paths of `router` that are served at the root too: those that no other API claims."""
    router: APIRouter
    render_error: Callable[[ServiceError], Response]
    """A failure in the API's own form."""
    file_limit: Callable[[Settings, str], FileLimit]
    """How large a file may be in a request for a path; bounds the request's body."""
    timeout: Callable[[Settings], float]
    """Seconds that a request may take."""
    open_paths: frozenset[str] = frozenset()
    """The paths of `router` that ask for no API key: the probes."""
    own_port: Callable[[Settings], int | None] = lambda _: None
    """A port on which this API alone is served, whole, at the root."""
    render_error_at: Mapping[str, Callable[[ServiceError], Response]] = field(default_factory=dict)
    """For the paths of `router` whose failures have a form of their own."""

    def __post_init__(self) -> None:
        served = {route.path for route in self.router.routes}  # type: ignore[attr-defined]
        missing = (self.root_paths | self.open_paths | self.render_error_at.keys()) - served
        if missing:
            raise ValueError(f"{self.name}: no route has the path {sorted(missing)}")

    def owns(self, path: str) -> bool:
        """Whether a request for `path` is this API's to answer, be it with a 404."""
        within = path == self.prefix or path.startswith(f"{self.prefix}/")
        return within or any(pattern.match(path) for pattern in self._root_patterns)

    def is_open(self, path: str) -> bool:
        """Whether a request for `path` needs no API key."""
        return path.removeprefix(self.prefix) in self.open_paths

    def render(self, path: str, error: ServiceError) -> Response:
        """A failure of a request for `path`."""
        within = path.removeprefix(self.prefix)
        for template, render_error in self.render_error_at.items():
            if compile_path(template)[0].match(within):
                return render_error(error)
        return self.render_error(error)

    @cached_property
    def _root_patterns(self) -> tuple[re.Pattern[str], ...]:
        return tuple(compile_path(path)[0] for path in self.root_paths)


@dataclass(frozen=True)
class Services:
    """What the application lends to the routes of every API."""

    settings: Settings
    sources: Sources
    documents: Documents
    recognizer: Recognizer
    probe: RuntimeProbe
    draughtsman: Draughtsman
    dots: DotsReader
    internvl: InternvlReader


async def _services(request: Request) -> Services:
    services: Services = request.state.services
    return services


class JsonRoute(APIRoute):
    """A route that takes its body for JSON whatever the Content-Type says: `APIRouter(route_class=JsonRoute)`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            headers = [(name, value) for name, value in request.scope["headers"] if name != b"content-type"]
            headers.append((b"content-type", b"application/json"))
            return await handler(Request({**request.scope, "headers": headers}, request.receive))

        return handle


async def ndjson(
    entries: AsyncGenerator[BaseModel, None], render_error: Callable[[ServiceError], Response]
) -> Response:
    """Answer with a line of JSON for each entry, as soon as it is there; fields that are None are left out.

    What fails before the first entry is raised, and answered with its status; what fails later is the last line, in
    the API's own form. `entries` is closed when the client leaves.
    """
    return _Lines(await anext(entries, None), entries, render_error)


class _Lines(Response):
    media_type = "application/x-ndjson"

    def __init__(
        self,
        first: BaseModel | None,
        others: AsyncGenerator[BaseModel, None],
        render_error: Callable[[ServiceError], Response],
    ) -> None:
        super().__init__()
        # The length is not known.
        del self.headers["content-length"]
        self._first = first
        self._others = others
        self._render_error = render_error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._others):
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async for line in self._lines():
                await send({"type": "http.response.body", "body": line + b"\n", "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _lines(self) -> AsyncIterator[bytes]:
        if self._first:
            yield _json(self._first)
        try:
            async for entry in self._others:
                yield _json(entry)
        except ServiceError as error:
            logger.warning(error.message, extra={"fields": {"error": type(error).__name__}})
            yield bytes(self._render_error(error).body)
        except Exception as error:
            logger.error("internal error", exc_info=error)
            yield bytes(self._render_error(InternalError("internal error")).body)


def _json(entry: BaseModel) -> bytes:
    return entry.model_dump_json(exclude_none=True).encode()


ServicesDep = Annotated[Services, Depends(_services)]
