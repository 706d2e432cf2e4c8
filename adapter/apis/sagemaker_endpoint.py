"""The SageMaker endpoint: the container's contract, and the path on which AWS's own clients call an endpoint."""

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from adapter.apis.base import EXAMPLE_PICTURE, Api, Services, ServicesDep
from adapter.documents import Layout, kind
from adapter.errors import (
    MethodNotAllowedError,
    ModelUnavailableError,
    NotFoundError,
    ServiceError,
    UnauthorizedError,
    UnavailableError,
)
from adapter.pictures import SizeLimit, picture_size
from adapter.recognizer import Angle, Page, Quad, RecognitionOptions
from adapter.settings import Settings
from adapter.sources import FileLimit, from_base64, from_body

# SageMaker wants the answer within two seconds.
_PING_TIMEOUT = 1.5
_RAW_TYPES = re.compile(r"image/|application/(x-image|pdf|octet-stream)")
# Headers as SageMaker defines them.
_ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
_INFERENCE_ID = "X-Amzn-SageMaker-Inference-Id"
_VARIANT = "x-Amzn-Invoked-Production-Variant"

_Raw = TypeVar("_Raw")
_Options = TypeVar("_Options", bound=BaseModel)

router = APIRouter()


class _Model(BaseModel):
    # So that the notes below a field stand in the API documentation, too.
    model_config = ConfigDict(use_attribute_docstrings=True)


class ReadingOptions(_Model):
    profile: str | None = None
    """The weights to read with; the server's default where none are named."""
    use_doc_orientation_classify: bool | None = None
    """Set pages upright that lie on their side or their head, and tell their `page_angles`; false if not given."""
    reading_order: bool | None = None
    """Give the lines as a person reads them, column by column, and the whole `text`; false where it is not given."""

    def before(self, others: "ReadingOptions") -> "ReadingOptions":
        """These options, and of the others those that are not given here."""
        given = {name: value for name in _OPTIONS if (value := getattr(self, name)) is not None}
        return others.model_copy(update=given)


_OPTIONS = tuple(ReadingOptions.model_fields)
_ATTRIBUTE = re.compile(rf"(?:^|[,;\s])({'|'.join(_OPTIONS)})=([^,;\s]+)")


class InvocationRequest(ReadingOptions):
    image: str = Field(examples=[EXAMPLE_PICTURE])
    """A picture or a PDF in base64."""


class Detection(_Model):
    bbox: Quad
    """In pixels; of a PDF, in pixels of the rendered page."""
    text: str
    confidence: float
    page: int | None = None
    """Of a PDF, from 1."""


class Invocation(_Model):
    detections: list[Detection]
    count: int
    status: Literal["success"] = "success"
    gpu_enabled: bool
    """Whether the networks run on a GPU."""
    profile: str
    """The weights that read it."""
    page_angles: list[Angle] | None = None
    """By how many degrees each page is turned clockwise; with `use_doc_orientation_classify` only. A picture is one
    page."""
    text: str | None = None
    """With `reading_order` only: rows are lines, blocks and pages stand apart by an empty line."""
    more_frames: Literal[True] | None = None
    """The file holds further pictures, of which only the first was read."""


class InvocationFailure(_Model):
    status: Literal["error"] = "error"
    error: str


class EndpointFailure(_Model):
    """As SageMaker has it; `x-amzn-ErrorType` names the kind. `Original…` are the model's answer, of a ModelError."""

    Message: str
    OriginalStatusCode: int | None = None
    OriginalMessage: str | None = None
    LogStreamArn: str | None = None


_FILE = {"schema": {"type": "string", "format": "binary"}}
_REQUEST_BODY = {
    "required": True,
    "content": {
        "application/json": {"schema": InvocationRequest.model_json_schema()},
        **{type_: _FILE for type_ in ("image/*", "application/x-image", "application/pdf", "application/octet-stream")},
    },
}
_INVOCATION_FAILURES: dict[int | str, dict[str, Any]] = {
    400: {"model": InvocationFailure, "description": "The body or a field is invalid, or the file cannot be read."},
    401: {"model": InvocationFailure, "description": "OCR_API_KEYS is set, and the request brought none of them."},
    413: {"model": InvocationFailure, "description": "The file or the picture is over a limit."},
    "4XX": {"model": InvocationFailure, "description": "Any other fault of the request."},
    500: {"model": InvocationFailure, "description": "A fault of the server."},
    503: {"model": InvocationFailure, "description": "The queue is full, Triton is away, or a model is not loaded."},
    504: {"model": InvocationFailure, "description": "The request took longer than it may."},
}
_ENDPOINT_FAILURES: dict[int | str, dict[str, Any]] = {
    401: {"model": EndpointFailure, "description": "AccessDeniedException"},
    424: {"model": EndpointFailure, "description": "ModelError: what `/invocations` would have answered is within."},
    429: {"model": EndpointFailure, "description": "ModelNotReadyException: a model is not loaded."},
    "4XX": {"model": EndpointFailure, "description": "Any other fault of the request."},
    503: {"model": EndpointFailure, "description": "ServiceUnavailable: the queue is full, or Triton is away."},
}

# Visible characters of ASCII, as SageMaker has it: they go back in a header.
_Attributes = Annotated[
    str | None,
    Header(
        alias=_ATTRIBUTES,
        max_length=1024,
        pattern=r"^[\x20-\x7e]*$",
        description="Goes back with the answer; `profile=…`, and the other options, within it do what the fields do.",
    ),
]
_InferenceId = Annotated[
    str | None,
    Header(alias=_INFERENCE_ID, max_length=64, pattern=r"^[\x20-\x7e]*$", description="Goes back with the answer."),
]


async def _echo(response: Response, attributes: _Attributes = None, inference_id: _InferenceId = None) -> None:
    for name, value in ((_ATTRIBUTES, attributes), (_INFERENCE_ID, inference_id)):
        if value:
            response.headers[name] = value


async def _options(
    query: Annotated[ReadingOptions, Query(description="What the fields do, for bodies that have none.")],
    attributes: _Attributes = None,
) -> ReadingOptions:
    within = _validated(ReadingOptions.model_validate, dict(_ATTRIBUTE.findall(attributes or "")), _ATTRIBUTES)
    return query.before(within)


_OptionsDep = Annotated[ReadingOptions, Depends(_options)]


@router.get(
    "/ping",
    response_class=Response,
    responses={503: {"model": InvocationFailure, "description": "Triton or one of the OCR models is not ready."}},
)
async def ping(services: ServicesDep) -> Response:
    """200 when Triton and every loaded OCR model are ready."""
    if not await services.recognizer.ready(_PING_TIMEOUT):
        raise UnavailableError("the models are not ready")
    return Response()


@router.post(
    "/invocations",
    response_model_exclude_none=True,
    responses=_INVOCATION_FAILURES,
    dependencies=[Depends(_echo)],
    openapi_extra={"requestBody": _REQUEST_BODY},
)
async def invocations(request: Request, services: ServicesDep, options: _OptionsDep) -> Invocation:
    """Read a picture or a PDF: in base64 within JSON, or as the body itself where its Content-Type says so."""
    return await _invocation(request, services, options)


@router.post(
    "/endpoints/{name}/invocations",
    response_model_exclude_none=True,
    responses=_ENDPOINT_FAILURES,
    dependencies=[Depends(_echo)],
    openapi_extra={"requestBody": _REQUEST_BODY},
)
async def endpoint_invocations(
    name: str, request: Request, response: Response, services: ServicesDep, options: _OptionsDep
) -> Invocation:
    """The same for `invoke_endpoint` of AWS's clients: every name is an endpoint, and failures are SageMaker's."""
    response.headers[_VARIANT] = "AllTraffic"
    return await _invocation(request, services, options)


async def _invocation(request: Request, services: Services, wanted: ReadingOptions) -> Invocation:
    settings = services.settings
    body = await request.body()
    if _RAW_TYPES.match(request.headers.get("content-type", "").lower()):
        name, file = "body", from_body(body, _file_limit(settings))
    else:
        fields = _validated(InvocationRequest.model_validate_json, body, "body")
        name, file = "image", from_base64(fields.image, "image", _file_limit(settings))
        wanted = fields.before(wanted)
    options = RecognitionOptions(**{name: getattr(wanted, name) for name in _OPTIONS})
    read = _read_document if kind(file) == "pdf" else _read_picture
    detections, pages = await read(services, file, name, options)
    return Invocation(
        detections=detections,
        count=len(detections),
        gpu_enabled=(await services.probe.runtime()).gpu,
        profile=pages[-1].profile,
        page_angles=[page.angle for page in pages] if options.use_doc_orientation_classify else None,
        text="\n\n".join(page.text for page in pages if page.text) if options.reading_order else None,
        more_frames=pages[-1].more_frames or None,
    )


def _validated(validate: Callable[[_Raw], _Options], raw: _Raw, place: str) -> _Options:
    try:
        return validate(raw)
    except ValidationError as error:
        # As FastAPI has it where it parses a request itself.
        raise RequestValidationError(
            [{**fault, "loc": (place, *fault["loc"])} for fault in error.errors(include_url=False)]
        ) from error


async def _read_picture(
    services: Services, picture: bytes, name: str, options: RecognitionOptions
) -> tuple[list[Detection], list[Page]]:
    settings = services.settings
    SizeLimit(settings.max_image_width, settings.max_image_height).check(picture_size(picture, name), name)
    page = await services.recognizer.read(picture, options)
    return _detections(page), [page]


async def _read_document(
    services: Services, document: bytes, name: str, options: RecognitionOptions
) -> tuple[list[Detection], list[Page]]:
    async with services.recognizer.reading(document, name, Layout.WHOLE, options) as reading:
        pages = [read async for read in reading.pages]
    detections = [detection for read in pages for detection in _detections(read.page, read.picture.page)]
    return detections, [read.page for read in pages]


def _detections(page: Page, number: int | None = None) -> list[Detection]:
    return [Detection(bbox=line.quad, text=line.text, confidence=line.score, page=number) for line in page.lines]


def render_error(error: ServiceError) -> Response:
    return JSONResponse(InvocationFailure(error=error.message).model_dump(), error.status, dict(error.headers))


def _render_endpoint_error(error: ServiceError) -> Response:
    failure = EndpointFailure(Message=error.message)
    status: int = error.status
    match error:
        case ModelUnavailableError():
            status, type_ = 429, "ModelNotReadyException"
        case UnavailableError():
            type_ = "ServiceUnavailable"
        case UnauthorizedError():
            type_ = "AccessDeniedException"
        case NotFoundError() | MethodNotAllowedError():
            type_ = "UnknownOperationException"
        case _:
            status, type_ = 424, "ModelError"
            failure = EndpointFailure(
                Message=f"the model answered {error.status:d}: {error.message}",
                OriginalStatusCode=error.status,
                OriginalMessage=InvocationFailure(error=error.message).model_dump_json(),
                LogStreamArn="",
            )
    headers = {**error.headers, "x-amzn-ErrorType": type_}
    return JSONResponse(failure.model_dump(exclude_none=True), status, headers)


def _file_limit(settings: Settings) -> FileLimit:
    return FileLimit(settings.max_file_size, "OCR_MAX_FILE_SIZE")


API = Api(
    name="sagemaker_endpoint",
    title="SageMaker endpoint",
    prefix="/sagemaker",
    root_paths=frozenset({"/ping", "/invocations", "/endpoints/{name}/invocations"}),
    router=router,
    render_error=render_error,
    file_limit=lambda settings, path: _file_limit(settings),
    timeout=lambda settings: settings.request_timeout,
    open_paths=frozenset({"/ping"}),
    render_error_at={"/endpoints/{name}/invocations": _render_endpoint_error},
)
