"""The application: the documented APIs over one recognizer, behind one set of rules."""

import logging
import re
from collections.abc import AsyncIterator, Callable, Container, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypedDict

from fastapi import APIRouter, FastAPI, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import APIKeyHeader
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Lifespan

from adapter import documentation, health
from adapter.apis import APIS
from adapter.apis.base import Api, Services
from adapter.decoding import Decoder
from adapter.documents import Documents
from adapter.dots.reader import DotsReader
from adapter.drawing import Draughtsman
from adapter.errors import (
    InternalError,
    InvalidRequestError,
    MethodNotAllowedError,
    NotFoundError,
    OutOfMemoryError,
    ServiceError,
    UnavailableError,
)
from adapter.gate import Gate
from adapter.heap import trimmed
from adapter.internvl.reader import InternvlReader
from adapter.listeners import ByPort
from adapter.metrics import CONTENT_TYPE, Metrics
from adapter.middleware import BodyLimit, BodyMemory, Guard, KeyGuard, Observer
from adapter.page import site
from adapter.recognizer import Recognizer
from adapter.runtime import RuntimeProbe
from adapter.settings import Settings
from adapter.sources import FileLimit, Sources
from adapter.triton import Triton
from adapter.tritons import Tritons
from adapter.vlm import Contract, InternvlContract, Sampling, VisionLanguageModel, VllmContract

logger = logging.getLogger(__name__)


_VERSION = "0.1.0"

# Ask for no API key: the probe, the metrics, what describes the rest, and the page, which asks its visitor for one.
_OPEN_PATHS = re.compile(r"/(health|metrics|openapi\.json|docs(/.*)?|page/(files/.*|example\.png))?")

# For the schema alone, so that /docs can send a key: KeyGuard is who asks for it.
_KEY = Security(APIKeyHeader(name="X-API-Key", auto_error=False))


class _State(TypedDict):
    services: Services


def create_app(settings: Settings | None = None, apis: Sequence[Api] = APIS) -> FastAPI:
    """The whole adapter, ready for an ASGI server; without `settings` they come from the environment."""
    settings = settings or Settings()
    return _main_app(settings, apis, Metrics(), BodyMemory(settings.max_body_memory))


def create_listeners() -> ASGIApp:
    """The whole adapter, and on each port that the environment names for one API that API alone."""
    settings = Settings()
    metrics, memory = Metrics(), BodyMemory(settings.max_body_memory)
    main = _main_app(settings, APIS, metrics, memory)
    return ByPort(
        main, {port: _listener_app(settings, api, metrics, memory) for port, api in own_ports(settings).items()}
    )


def own_ports(settings: Settings) -> Mapping[int, Api]:
    """The ports on which one API alone is served."""
    return {port: api for api in APIS if (port := api.own_port(settings)) is not None}


def _main_app(settings: Settings, apis: Sequence[Api], metrics: Metrics, memory: BodyMemory) -> FastAPI:
    """Every API under its prefix, and at the root where its document has it and no other claims the path."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[_State]:
        async with trimmed(), _running_services(settings, metrics) as services:
            yield {"services": services}

    def api_of(path: str) -> Api | None:
        return next((api for api in apis if api.owns(path)), None)

    app = _new_app("Triton OCR server", lifespan)
    _set_rules(app, settings, metrics, memory, api_of)
    app.add_api_route("/metrics", lambda: Response(metrics.text(), media_type=CONTENT_TYPE), include_in_schema=False)
    app.include_router(health.router)
    app.include_router(site.router)
    app.mount("/page/files", site.files)
    for api in apis:
        _include(app, api, settings, paths=api.root_paths)
        _include(app, api, settings, api.prefix)
    return app


def _listener_app(settings: Settings, api: Api, metrics: Metrics, memory: BodyMemory) -> FastAPI:
    """One API, whole, at the root. Its services are those that the lifespan of the main application has started."""
    app = _new_app(api.title)
    _set_rules(app, settings, metrics, memory, lambda _: api)
    _include(app, api, settings)
    return app


def _new_app(title: str, lifespan: Lifespan[FastAPI] | None = None) -> FastAPI:
    app = FastAPI(
        title=title,
        version=_VERSION,
        description=documentation.DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.include_router(documentation.router)
    return app


@asynccontextmanager
async def _running_services(settings: Settings, metrics: Metrics) -> AsyncIterator[Services]:
    def tritons(targets: Sequence[str]) -> Tritons:
        servers = [
            Triton(target, settings.request_timeout, settings.metrics_url(target), settings.triton_key)
            for target in targets
        ]
        return Tritons(servers, settings.request_timeout)

    triton = tritons(settings.triton_targets)
    vlm_triton = tritons(settings.vlm_triton_url) if settings.vlm_triton_url else triton
    gate = Gate(settings.max_in_flight, settings.max_waiting, metrics)
    sources, documents, draughtsman = Sources(settings), Documents(settings), Draughtsman()
    decoder = Decoder(settings.vlm_max_pixels)

    def writer(contract: Contract) -> VisionLanguageModel:
        own_gate = Gate(settings.vlm_max_in_flight, settings.vlm_max_waiting, metrics)
        return VisionLanguageModel(contract, vlm_triton, own_gate, metrics, settings.generation_timeout)

    try:
        recognizer = Recognizer(triton, documents, gate, metrics, settings.pdf_pages_in_flight)
        probe = RuntimeProbe(triton)
        dots = DotsReader(writer(VllmContract("dots_vllm")), decoder)
        internvl = InternvlReader(
            writer(InternvlContract(settings.max_image_patches)),
            decoder,
            documents,
            # The likeliest token each time: the same picture gives the same answer.
            Sampling(settings.internvl_max_new_tokens, temperature=0.0, top_p=1.0),
            settings.pdf_pages_in_flight,
        )
        yield Services(settings, sources, documents, recognizer, probe, draughtsman, dots, internvl)
    finally:
        await sources.close()
        await documents.close()
        draughtsman.close()
        decoder.close()
        await triton.close()
        await vlm_triton.close()


def _set_rules(
    app: FastAPI,
    settings: Settings,
    metrics: Metrics,
    memory: BodyMemory,
    api_of: Callable[[str], Api | None],
) -> None:
    """What holds for every request: who may ask, how much and for how long, and how failures are answered."""

    def api_name_of(path: str) -> str:
        api = api_of(path)
        return api.name if api else "server"

    def render(path: str, error: ServiceError) -> Response:
        _log(error)
        api = api_of(path)
        return api.render(path, error) if api else _render_error(error)

    def timeout_of(path: str) -> float:
        api = api_of(path)
        return api.timeout(settings) if api else settings.request_timeout

    def is_open(path: str) -> bool:
        api = api_of(path)
        return _OPEN_PATHS.fullmatch(path) is not None or (api is not None and api.is_open(path))

    def body_limit(path: str) -> tuple[int, str]:
        api = api_of(path)
        limit = api.file_limit(settings, path) if api else FileLimit(settings.max_file_size, "OCR_MAX_FILE_SIZE")
        return limit.body, f"what a file of {limit.size} bytes, {limit.setting}, can need"

    # The one added last is met first.
    app.add_middleware(BodyLimit, limit=body_limit, memory=memory)
    app.add_middleware(KeyGuard, keys=settings.api_keys, is_open=is_open)
    app.add_middleware(Guard, timeout_of=timeout_of, render=render)
    if settings.cors_origins:
        # Around everything that answers: a page is to see refusals, too.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["X-Request-Id", "Retry-After"],
        )
    app.add_middleware(Observer, metrics=metrics, api_name_of=api_name_of)
    for kind in (ServiceError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _handler(render))


def _include(app: FastAPI, api: Api, settings: Settings, prefix: str = "", paths: Container[str] | None = None) -> None:
    """Serve the routes of an API, of `paths` alone where they are given."""
    for route in api.router.routes:
        path = getattr(route, "path", "")
        if paths is None or path in paths:
            part = APIRouter()
            part.routes.append(route)
            asks_for_key = settings.api_keys and path not in api.open_paths
            app.include_router(part, prefix=prefix, tags=[api.title], dependencies=[_KEY] if asks_for_key else [])


def _handler(render: Callable[[str, ServiceError], Response]) -> Callable[[Request, Exception], Response]:
    def handle(request: Request, error: Exception) -> Response:
        return render(request.scope["path"], _as_service_error(request, error))

    return handle


def _as_service_error(request: Request, error: Exception) -> ServiceError:
    if isinstance(error, ServiceError):
        return error
    if isinstance(error, RequestValidationError):
        return InvalidRequestError("; ".join(map(_fault, error.errors())))
    assert isinstance(error, HTTPException)  # noqa: S101 - the three kinds registered above
    # FastAPI wraps what goes wrong while it reads a body, a refusal by the body's limit among it.
    if isinstance(error.__cause__, ServiceError):
        return error.__cause__
    match error.status_code:
        case 404:
            return NotFoundError(f"there is nothing at {request.scope['path']}")
        case 405:
            allow = (error.headers or {}).get("Allow", "")
            return MethodNotAllowedError(f"{request.scope['path']} takes {allow} only", allow)
    return InvalidRequestError(str(error.detail))


def _fault(fault: Mapping[str, Any]) -> str:
    if fault["type"] == "json_invalid":
        return f"the body is not JSON: {fault['ctx']['error']}"
    # The first word says where: in the body, the query or the headers.
    where = ".".join(map(str, fault["loc"][1:])) or "the body"
    return f"{where}: {fault['msg']}"


def _log(error: ServiceError) -> None:
    if isinstance(error, InternalError):
        logger.error(error.message, exc_info=error)
        return
    # To be told to come back is no event of its own: the metrics count it, and the Recognizer logs what has changed.
    routine = isinstance(error, UnavailableError) and not isinstance(error, OutOfMemoryError)
    level = logging.WARNING if error.status >= 500 and not routine else logging.INFO
    logger.log(
        level, error.message, extra={"fields": {"error": type(error).__name__, "cause": str(error.__cause__ or "")}}
    )


def _render_error(error: ServiceError) -> Response:
    return JSONResponse({"error": error.message}, error.status, dict(error.headers))
