"""What an API module is made of, and what its routes may ask for."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from starlette.routing import compile_path

from adapter.errors import ServiceError
from adapter.recognizer import Recognizer
from adapter.settings import Settings
from adapter.sources import FileLimit


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
    file_limit: Callable[[Settings], FileLimit]
    """How large a file may be; bounds the request's body."""

    def __post_init__(self) -> None:
        served = {route.path for route in self.router.routes}  # type: ignore[attr-defined]
        missing = self.root_paths - served
        if missing:
            raise ValueError(f"{self.name}: no route has the path {sorted(missing)}")

    def owns(self, path: str) -> bool:
        """Whether a request for `path` is this API's to answer, be it with a 404."""
        within = path == self.prefix or path.startswith(f"{self.prefix}/")
        return within or any(pattern.match(path) for pattern in self._root_patterns)

    @cached_property
    def _root_patterns(self) -> tuple[re.Pattern[str], ...]:
        return tuple(compile_path(path)[0] for path in self.root_paths)


@dataclass(frozen=True)
class Services:
    """What the application lends to the routes of every API."""

    settings: Settings
    recognizer: Recognizer


async def _services(request: Request) -> Services:
    services: Services = request.state.services
    return services


ServicesDep = Annotated[Services, Depends(_services)]
