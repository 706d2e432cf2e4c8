"""The InternVL document service."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Response, UploadFile
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from adapter.apis.base import Api, Services, ServicesDep
from adapter.documents import kind
from adapter.errors import InvalidRequestError, ServiceError, TritonUnavailableError, UnreadableImageError
from adapter.internvl.reader import FileReading, PageReading, confidence
from adapter.internvl.structure import Kind
from adapter.ordered import ordered
from adapter.pictures import picture_size
from adapter.settings import MIB, Settings
from adapter.sources import FileLimit, from_upload

_HEALTH_TIMEOUT = 1.5
# Seconds beyond the deadline of the model's work, and of its unloading.
_GRACE = 10.0
_MULTIPART = "multipart/form-data"
_MODEL: Literal["internvl3-8b"] = "internvl3-8b"
# Files of a batch, which wait for each other's answers, not for each other's turns.
_FILES_AT_ONCE = 4

_SUPPORTED_FORMATS = [".jpg", ".jpeg", ".png", ".pdf", ".bmp", ".tiff"]
# Pillow's names of what those extensions stand for; an MPO is a JPEG that holds several pictures.
_PICTURE_FORMATS = ("JPEG", "MPO", "PNG", "BMP", "TIFF")

_DEFAULT_PROMPT = (
    "Describe the technical content of this picture in detail. Give all text word for word, and tables in Markdown. "
    "Under the headings Diagrams, Annotations and Specifications, list what the picture holds of each; leave out a "
    "heading that has nothing below it."
)

# Kept with the code: the service's own first page.
_START_PAGE = Path(__file__).with_name("internvl_start.html")

router = APIRouter()


class _Model(BaseModel):
    # So that the notes below a field stand in the API documentation, too.
    model_config = ConfigDict(use_attribute_docstrings=True, protected_namespaces=())


class InternvlHealth(_Model):
    status: Literal["healthy", "unhealthy"]
    """`unhealthy`: Triton is away."""
    service: Literal["InterVL OCR"] = "InterVL OCR"
    model: Literal["internvl3-8b"] = _MODEL
    model_loaded: bool
    device: Literal["cuda", "cpu"] | None
    """What the model runs on; null while it is not loaded."""
    gpu_available: bool
    """Whether there is a GPU: one that the model runs on, or one that this machine has."""
    timestamp: str = Field(examples=["2025-01-27T10:30:00"])


class ModelInfo(_Model):
    model_name: Literal["internvl3-8b"] = _MODEL
    model_path: str | None = Field(examples=["/models/InternVL3-8B-hf"])
    """MODEL_PATH; null where it is not set."""
    device: Literal["cuda", "cpu"] | None
    is_loaded: bool
    supported_formats: list[str] = Field(examples=[_SUPPORTED_FORMATS])
    max_file_size_mb: float = Field(examples=[50])
    gpu_available: bool


class ProcessForm(_Model):
    file: UploadFile
    """A picture or a PDF."""
    prompt: str = ""
    """What to ask about each page; without it, for a detailed description of its technical content."""


class BatchForm(_Model):
    files: list[UploadFile]
    prompt: str = ""


class Detected(_Model):
    type: Literal["detected_table", "detected_diagram", "detected_annotation", "detected_specification"]
    content: str
    confidence: float
    """Of the tokens of `content`."""


class StructuredContent(_Model):
    """What the model set apart in its text: tables in Markdown or HTML, diagrams in fenced blocks, and what stands
    under a heading or a label that says what it is. Empty where it set nothing apart."""

    tables: list[Detected]
    diagrams: list[Detected]
    annotations: list[Detected]
    specifications: list[Detected]


class Metadata(_Model):
    model: Literal["internvl3-8b"] = _MODEL
    device: Literal["cuda", "cpu"]
    prompt: str
    """The prompt that was used."""
    processing_time: float
    """Seconds until the model had done."""
    image_patches: int
    """The tiles that the model was shown, of all pages."""
    total_processing_time: float
    """Seconds, reading the upload and taking the answer apart included."""
    timestamp: str = Field(examples=["2025-01-27T10:30:00"])
    truncated: Literal[True] | None = None
    """Where OCR_INTERNVL_MAX_NEW_TOKENS cut a page's text off."""
    repaired: Literal[True] | None = None
    """Where the model repeated itself without end, and was stopped."""


class FileInfo(_Model):
    filename: str
    size: int
    """Bytes."""
    format: str = Field(examples=[".jpg"])
    image_size: str = Field(examples=["1920x1080"])
    """Pixels, upright; of a PDF's first page as it was rendered."""
    pages: int | None = None
    """Of a PDF."""
    more_frames: Literal[True] | None = None
    """Where the file holds further pictures, of which only the first was read."""


class PageText(_Model):
    """A page of a PDF."""

    page: int
    """From 1."""
    raw_text: str
    confidence: float
    image_patches: int


class Processed(_Model):
    status: Literal["success"] = "success"
    raw_text: str
    """Of a PDF: its pages' texts, each after a line `--- Page N ---`."""
    confidence: float
    """The geometric mean of the probabilities that the model gave to the tokens it wrote."""
    metadata: Metadata
    structured_content: StructuredContent
    file_info: FileInfo
    pages: list[PageText] | None = None
    """Of a PDF."""


class InternvlFailure(_Model):
    status: Literal["error"] = "error"
    error: str


class FailedFile(InternvlFailure):
    file_info: dict[Literal["filename"], str]


class Batch(_Model):
    status: Literal["success", "partial", "error"]
    """`partial`: some files failed; `error`: all of them did."""
    error: str | None = None
    """Where all files failed: what was wrong with the first."""
    results: list[Processed | FailedFile]
    """One a file, in order."""
    total: int
    succeeded: int
    failed: int
    total_processing_time: float
    """Seconds."""


class Reloaded(_Model):
    status: Literal["success"] = "success"
    message: str = "Model reloaded"
    model: Literal["internvl3-8b"] = _MODEL
    model_loaded: Literal[True] = True
    device: Literal["cuda", "cpu"] | None
    load_time: float
    """Seconds, the end of what was running included."""
    timestamp: str


_FAILURES: dict[int | str, dict[str, Any]] = {
    400: {"model": InternvlFailure, "description": "A field is missing or invalid, or the file cannot be read."},
    401: {"model": InternvlFailure, "description": "OCR_API_KEYS is set, and the request brought none of them."},
    413: {"model": InternvlFailure, "description": "The file or the picture is over a limit."},
    "4XX": {"model": InternvlFailure, "description": "Any other fault of the request."},
    500: {"model": InternvlFailure, "description": "A fault of the server."},
    503: {
        "model": InternvlFailure,
        "description": "The model is not loaded or out of memory, the queue is full, or Triton is away.",
        "content": {
            "application/json": {
                "example": {"status": "error", "error": "the model 'internvl_python' is not loaded"},
            }
        },
    },
    504: {"model": InternvlFailure, "description": "The request took longer than it may."},
}
_WITHOUT_NULLS: dict[str, Any] = {"response_model_exclude_none": True, "responses": _FAILURES}


@router.get("/", response_class=HTMLResponse)
async def start() -> Response:
    """A page that says what is here, and takes a file to try it with."""
    return HTMLResponse(_START_PAGE.read_text(encoding="utf-8"))


@router.get("/health", responses={503: {"model": InternvlHealth, "description": "Triton is away."}})
async def health(services: ServicesDep, response: Response) -> InternvlHealth:
    """The model's state, as Triton tells it."""
    state = await _state(services)
    response.status_code = 200 if state.reachable else 503
    return InternvlHealth(
        status="healthy" if state.reachable else "unhealthy",
        model_loaded=state.loaded,
        device=state.device,
        gpu_available=state.gpu_available,
        timestamp=_now(),
    )


@router.get("/model/info", responses={401: _FAILURES[401], "4XX": _FAILURES["4XX"]})
async def model_info(services: ServicesDep) -> ModelInfo:
    """The model, and what it may be given."""
    state = await _state(services)
    return ModelInfo(
        model_path=services.settings.model_path,
        device=state.device,
        is_loaded=state.loaded,
        supported_formats=_SUPPORTED_FORMATS,
        max_file_size_mb=services.settings.internvl_max_file_size / MIB,
        gpu_available=state.gpu_available,
    )


@router.post("/ocr/process", **_WITHOUT_NULLS)
async def process(services: ServicesDep, form: Annotated[ProcessForm, Form(media_type=_MULTIPART)]) -> Processed:
    """Ask the model about a picture, or about each page of a PDF."""
    return await _processed(services, form.file, "file", form.prompt)


@router.post("/ocr/batch", **_WITHOUT_NULLS)
async def batch(
    services: ServicesDep, form: Annotated[BatchForm, Form(media_type=_MULTIPART)], response: Response
) -> Batch:
    """Ask the model about several files. Each is answered on its own: one that fails does so alone.

    When every file has failed, the answer has the status of the first failure.
    """
    start = time.perf_counter()
    limit = services.settings.internvl_max_files
    if len(form.files) > limit:
        raise InvalidRequestError(
            f"files: {len(form.files)} are more than the limit of {limit} (OCR_INTERNVL_MAX_FILES)"
        )

    async def files() -> AsyncIterator[UploadFile]:
        for file in form.files:
            yield file

    async def answer(file: UploadFile) -> Processed | ServiceError:
        try:
            return await _processed(services, file, "files", form.prompt)
        except ServiceError as error:
            return error

    async with aclosing(ordered(files(), answer, _FILES_AT_ONCE)) as answers:
        found = [answer async for answer in answers]
    errors = [entry for entry in found if isinstance(entry, ServiceError)]
    all_failed = len(errors) == len(found)
    if all_failed:
        response.status_code = errors[0].status
        response.headers.update(errors[0].headers)
    return Batch(
        status="error" if all_failed else "partial" if errors else "success",
        error=errors[0].message if all_failed else None,
        results=[_entry(file, entry) for file, entry in zip(form.files, found, strict=True)],
        total=len(found),
        succeeded=len(found) - len(errors),
        failed=len(errors),
        total_processing_time=_since(start),
    )


@router.post("/model/reload", responses=_FAILURES)
async def reload(services: ServicesDep) -> Reloaded:
    """Load the model anew: new weights are picked up.

    What is running is finished first, what arrives waits, and two copies are never in memory.
    """
    start = time.perf_counter()
    await services.internvl.model.reload()
    state = await _state(services)
    return Reloaded(device=state.device, load_time=_since(start), timestamp=_now())


@dataclass(frozen=True)
class _State:
    reachable: bool
    device: Literal["cuda", "cpu"] | None

    @property
    def loaded(self) -> bool:
        return self.device is not None

    @property
    def gpu_available(self) -> bool:
        # NVIDIA's and AMD's device files.
        return self.device == "cuda" or any(Path(node).exists() for node in ("/dev/nvidiactl", "/dev/kfd"))


async def _state(services: Services) -> _State:
    model = services.internvl.model
    try:
        if await model.loaded(_HEALTH_TIMEOUT):
            return _State(reachable=True, device=await _device(services))
        return _State(reachable=await model.reachable(_HEALTH_TIMEOUT), device=None)
    except ServiceError as error:
        return _State(reachable=not isinstance(error, TritonUnavailableError), device=None)


async def _device(services: Services) -> Literal["cuda", "cpu"]:
    # PyTorch calls AMD's GPUs cuda, too.
    return "cuda" if await services.internvl.model.on_gpu() else "cpu"


async def _processed(services: Services, upload: UploadFile, name: str, asked: str) -> Processed:
    start = time.perf_counter()
    prompt = asked.strip() or _DEFAULT_PROMPT
    file = await from_upload(upload, name, _file_limit(services.settings))
    _check_format(file, upload.filename or "", name)
    asking = time.perf_counter()
    reading = await services.internvl.read(file, name, prompt)
    answered = time.perf_counter()
    pages = reading.pages
    return Processed(
        raw_text=_joined(pages) if reading.is_document else pages[0].text,
        confidence=reading.confidence,
        structured_content=_structured(pages),
        file_info=_file_info(upload, file, reading),
        pages=[_page_text(number, page) for number, page in enumerate(pages, 1)] if reading.is_document else None,
        metadata=Metadata(
            device=await _device(services),
            prompt=prompt,
            processing_time=round(answered - asking, 4),
            image_patches=sum(page.image_patches for page in pages),
            truncated=any(page.truncated for page in pages) or None,
            repaired=any(page.repaired for page in pages) or None,
            total_processing_time=_since(start),
            timestamp=_now(),
        ),
    )


def _check_format(file: bytes, filename: str, name: str) -> None:
    """By extension and by content."""
    supported = f"supported are {', '.join(_SUPPORTED_FORMATS)}"
    extension = _extension(filename)
    if extension not in _SUPPORTED_FORMATS:
        raise InvalidRequestError(f"{name}: {filename!r} has an unsupported format; {supported}")
    if kind(file) == "pdf":
        return
    try:
        found = picture_size(file, name).format
    except UnreadableImageError as error:
        raise InvalidRequestError(f"{error.message}; {supported}") from error
    if found not in _PICTURE_FORMATS:
        raise InvalidRequestError(f"{name}: {filename!r} holds a {found}, an unsupported format; {supported}")


def _extension(filename: str) -> str:
    return PurePath(filename).suffix.lower()


def _file_info(upload: UploadFile, file: bytes, reading: FileReading) -> FileInfo:
    return FileInfo(
        filename=upload.filename or "",
        size=len(file),
        format=_extension(upload.filename or ""),
        image_size=f"{reading.width}x{reading.height}",
        pages=len(reading.pages) if reading.is_document else None,
        more_frames=reading.more_frames or None,
    )


def _joined(pages: Sequence[PageReading]) -> str:
    return "\n\n".join(f"--- Page {number} ---\n{page.text}" for number, page in enumerate(pages, 1))


def _page_text(number: int, page: PageReading) -> PageText:
    return PageText(
        page=number, raw_text=page.text, confidence=confidence(page.logprobs), image_patches=page.image_patches
    )


def _structured(pages: Sequence[PageReading]) -> StructuredContent:
    def of(wanted: Kind) -> list[Detected]:
        return [
            Detected(type=f"detected_{wanted.value}", content=found.content, confidence=found.confidence)  # type: ignore[arg-type]
            for page in pages
            for found in page.findings
            if found.kind is wanted
        ]

    return StructuredContent(
        tables=of(Kind.TABLE),
        diagrams=of(Kind.DIAGRAM),
        annotations=of(Kind.ANNOTATION),
        specifications=of(Kind.SPECIFICATION),
    )


def _entry(file: UploadFile, answer: Processed | ServiceError) -> Processed | FailedFile:
    if isinstance(answer, ServiceError):
        return FailedFile(error=answer.message, file_info={"filename": file.filename or ""})
    return answer


def _since(start: float) -> float:
    return round(time.perf_counter() - start, 4)


def _now() -> str:
    return datetime.now().isoformat(timespec="seconds")


def render_error(error: ServiceError) -> Response:
    return JSONResponse(InternvlFailure(error=error.message).model_dump(), error.status, dict(error.headers))


def _file_limit(settings: Settings) -> FileLimit:
    return FileLimit(settings.internvl_max_file_size, "OCR_INTERNVL_MAX_FILE_SIZE")


def _body_limit(settings: Settings, path: str) -> FileLimit:
    one = _file_limit(settings)
    if not path.endswith("/batch"):
        return one
    files = settings.internvl_max_files
    return FileLimit(files * one.size, f"OCR_INTERNVL_MAX_FILES times {one.setting}")


API = Api(
    name="internvl_service",
    title="InternVL document service",
    prefix="/internvl",
    root_paths=frozenset({"/ocr/process", "/ocr/batch", "/model/info", "/model/reload"}),
    router=router,
    render_error=render_error,
    file_limit=_body_limit,
    own_port=lambda settings: settings.internvl_port,
    # What fails at the model's own deadline says more than that it took too long.
    timeout=lambda settings: settings.generation_timeout + _GRACE,
    open_paths=frozenset({"/", "/health"}),
)
