"""The DotsOCR server."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from enum import Enum
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, JsonValue, WithJsonSchema

from adapter.apis.base import EXAMPLE_PICTURE, Api, JsonRoute, Services, ServicesDep, ndjson
from adapter.dots.prompts import PromptType
from adapter.dots.reader import Piece, Task
from adapter.errors import BusyError, InvalidRequestError, ModelUnavailableError, ServiceError
from adapter.settings import Settings
from adapter.sources import FileLimit, from_base64
from adapter.vlm import Sampling

_HEALTH_TIMEOUT = 1.5
# Seconds beyond the deadline of the model's work.
_GRACE = 5.0
_NDJSON = "application/x-ndjson"
_MODEL: Literal["dots-ocr"] = "dots-ocr"
_PROMPT_TYPES: list[JsonValue] = [kind.value for kind in PromptType]

router = APIRouter(route_class=JsonRoute)


class ImageFormat(str, Enum):
    PATH = "path"
    URL = "url"
    BASE64 = "base64"


_IMAGE_FORMATS: list[JsonValue] = [form.value for form in ImageFormat]


class _Model(BaseModel):
    # So that the notes below a field stand in the API documentation, too.
    model_config = ConfigDict(use_attribute_docstrings=True)


class DotsRequest(_Model):
    # The document has its own words for these fields' faults: they are checked in the route.
    model_config = ConfigDict(json_schema_extra={"required": ["image"]})

    image: Annotated[str | None, WithJsonSchema({"type": "string", "examples": [EXAMPLE_PICTURE]})] = None
    """A path, a URL, or base64 with or without `data:`, as `image_format` says."""
    image_format: str = Field(default="path", json_schema_extra={"enum": _IMAGE_FORMATS}, examples=["base64"])
    """`path`: below OCR_IMAGE_ROOT. `url`: http or https, of a public host or one that OCR_URL_ALLOW names."""
    prompt_type: str = Field(default=PromptType.LAYOUT_ALL.value, json_schema_extra={"enum": _PROMPT_TYPES})
    """What is asked for: the layout with its texts, the layout alone, the text, or the text in `bbox`."""
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.1
    """0: always the likeliest token."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_new_tokens: Annotated[int, Field(ge=1)] = 12000
    """At most OCR_DOTS_MAX_NEW_TOKENS."""
    stream: bool = False
    """Answer line by line, as the model writes."""
    bbox: tuple[float, float, float, float] | None = Field(default=None, examples=[[40, 60, 600, 120]])
    """For `prompt_grounding_ocr`, and for that only: x1, y1, x2, y2 in pixels of the picture."""


class DotsRemarks(_Model):
    """What has to be said of some answers, and only of those."""

    repaired: Literal[True] | None = None
    """The model wrote a broken layout, or the same without end: `response` is what could be made of it."""
    truncated: Literal[True] | None = None
    """The model had not done when `max_new_tokens` were used up."""
    more_frames: Literal[True] | None = None
    """The file holds further pictures, of which only the first was read."""

    @classmethod
    def of(cls, last: Piece) -> "DotsRemarks":
        return cls(
            repaired=last.repaired or None, truncated=last.truncated or None, more_frames=last.more_frames or None
        )


class DotsResponse(DotsRemarks):
    model: Literal["dots-ocr"] = _MODEL
    response: str = Field(examples=['[{"bbox": [40, 60, 600, 120], "category": "Title", "text": "# Report"}]'])
    """What the model wrote; the boxes of a layout are in pixels of the picture that was sent."""
    prompt_type: str = Field(examples=[PromptType.LAYOUT_ALL.value])


class DotsLine(DotsRemarks):
    """A line of a streamed answer; the remarks come with the last."""

    model: Literal["dots-ocr"] = _MODEL
    created_at: str
    response: str
    done: bool


class DotsHealth(_Model):
    status: Literal["healthy"] = "healthy"
    model_loaded: bool


class DotsFailure(_Model):
    error: str


_EXAMPLE_STREAM = "\n".join(
    DotsLine(created_at="2024-01-01T10:00:00.000000", response=text, done=not text).model_dump_json(exclude_none=True)
    for text in ('[{"bbox": [40, 60, 600, 120], "category": "Title", "text": "# Report"}', "]", "")
)
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"content": {_NDJSON: {"schema": {"type": "string"}, "example": _EXAMPLE_STREAM}}},
    400: {
        "model": DotsFailure,
        "description": "A field is missing or invalid, or the picture cannot be had or read.",
        "content": {"application/json": {"example": {"error": "No image data provided"}}},
    },
    401: {"model": DotsFailure, "description": "OCR_API_KEYS is set, and the request brought none of them."},
    403: {"model": DotsFailure, "description": "The URL or path is not to be fetched by this server."},
    413: {"model": DotsFailure, "description": "The file or the picture is over a limit."},
    429: {
        "model": DotsFailure,
        "description": "The queue is full.",
        "content": {"application/json": {"example": {"error": "Server is busy processing another request"}}},
    },
    "4XX": {"model": DotsFailure, "description": "Any other fault of the request."},
    500: {
        "model": DotsFailure,
        "description": "The model is not loaded, or a fault of the server.",
        "content": {"application/json": {"example": {"error": "Model not loaded"}}},
    },
    503: {"model": DotsFailure, "description": "Triton is away, or the model is out of memory."},
    504: {"model": DotsFailure, "description": "The request took longer than it may."},
}


@router.get("/health")
async def health(services: ServicesDep) -> DotsHealth:
    """Whether Triton has the model loaded."""
    return DotsHealth(model_loaded=await services.dots.loaded(_HEALTH_TIMEOUT))


@router.post("/ocr", response_model=DotsResponse, response_model_exclude_none=True, responses=_RESPONSES)
async def ocr(services: ServicesDep, body: DotsRequest) -> DotsResponse | Response:
    """Read a picture.

    A streamed answer comes as NDJSON. For plain text a line holds what the model has written since the line before;
    for a layout, one or more whole elements with their boxes mapped. In either case all `response` joined are the text
    that `stream: false` would have given. What fails on the way is the last line: `{"error": …, "done": true}`.
    """
    task = _task(body, services.settings)
    pieces = services.dots.read(await _picture(body, services), task)
    if body.stream:
        return await ndjson(_lines(pieces), _render_stream_error)
    async with aclosing(pieces):
        answer = [piece async for piece in pieces]
    return DotsResponse(
        response="".join(piece.text for piece in answer),
        prompt_type=body.prompt_type,
        **DotsRemarks.of(answer[-1]).model_dump(),
    )


def _task(body: DotsRequest, settings: Settings) -> Task:
    if not body.image:
        raise InvalidRequestError("No image data provided")
    if body.image_format not in _IMAGE_FORMATS:
        raise InvalidRequestError(f"Invalid image_format. Must be one of: {_IMAGE_FORMATS}")
    if body.prompt_type not in _PROMPT_TYPES:
        raise InvalidRequestError(f"Invalid prompt_type. Must be one of: {_PROMPT_TYPES}")
    kind = PromptType(body.prompt_type)
    if (kind is PromptType.GROUNDING) != (body.bbox is not None):
        raise InvalidRequestError(f"bbox: [x1, y1, x2, y2] belongs to {PromptType.GROUNDING.value}, and to that only")
    if body.max_new_tokens > settings.dots_max_new_tokens:
        raise InvalidRequestError(
            f"max_new_tokens: must be at most {settings.dots_max_new_tokens} (OCR_DOTS_MAX_NEW_TOKENS)"
        )
    return Task(kind, Sampling(body.max_new_tokens, body.temperature, body.top_p), body.bbox)


async def _picture(body: DotsRequest, services: Services) -> bytes:
    image, limit = body.image or "", _file_limit(services.settings)
    match ImageFormat(body.image_format):
        case ImageFormat.PATH:
            return await services.sources.read_path(image, "image", limit)
        case ImageFormat.URL:
            return await services.sources.fetch_url(image, "image", limit)
        case ImageFormat.BASE64:
            return from_base64(image, "image", limit)


async def _lines(pieces: AsyncGenerator[Piece, None]) -> AsyncGenerator[DotsLine, None]:
    async with aclosing(pieces):
        # The first line, be it empty, tells that the model is at work.
        piece = await anext(pieces)
        yield DotsLine(created_at=_now(), response=piece.text, done=False)
        async for piece in pieces:
            if piece.text:
                yield DotsLine(created_at=_now(), response=piece.text, done=False)
        yield DotsLine(created_at=_now(), response="", done=True, **DotsRemarks.of(piece).model_dump())


def _now() -> str:
    return datetime.now().isoformat(timespec="microseconds")


def _render_stream_error(error: ServiceError) -> Response:
    failure = DotsFailure(error=_message(error)).model_dump()
    return JSONResponse({"model": _MODEL, "created_at": _now(), **failure, "done": True})


def render_error(error: ServiceError) -> Response:
    status: int = error.status
    if isinstance(error, BusyError):
        status = 429
    elif isinstance(error, ModelUnavailableError):
        status = 500
    return JSONResponse(DotsFailure(error=_message(error)).model_dump(), status, dict(error.headers))


def _message(error: ServiceError) -> str:
    if isinstance(error, BusyError):
        return "Server is busy processing another request"
    return "Model not loaded" if isinstance(error, ModelUnavailableError) else error.message


def _file_limit(settings: Settings) -> FileLimit:
    return FileLimit(settings.dots_max_file_size, "OCR_DOTS_MAX_FILE_SIZE")


API = Api(
    name="dots_ocr_server",
    title="DotsOCR server",
    prefix="/dots",
    root_paths=frozenset(),
    router=router,
    render_error=render_error,
    file_limit=lambda settings, path: _file_limit(settings),
    # A stream that takes too long is to end with a line that says so.
    own_port=lambda settings: settings.dots_port,
    timeout=lambda settings: settings.generation_timeout + _GRACE,
    open_paths=frozenset({"/health"}),
)
