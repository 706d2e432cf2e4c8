"""The PaddleOCR API service."""

import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Response, UploadFile
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict

from adapter.apis.base import Api, ServicesDep
from adapter.errors import ServiceError
from adapter.recognizer import Line, Page, Quad, RecognitionOptions, Span
from adapter.settings import Settings
from adapter.sources import FileLimit, from_upload

router = APIRouter()


class _Model(BaseModel):
    # So that the notes below a field stand in the API documentation, too.
    model_config = ConfigDict(use_attribute_docstrings=True)


class SpanResult(_Model):
    text: str
    confidence: float
    bbox: Quad


class WordResult(SpanResult):
    characters: list[SpanResult]


class LineResult(SpanResult):
    """`confidence` is the recognition's; the detection's where recognition was not asked for."""

    words: list[WordResult] | None = None
    """With `return_word_box` only."""


class ImageSize(_Model):
    width: int
    height: int


class Recognition(_Model):
    success: Literal[True] = True
    results: list[LineResult]
    processing_time: float
    """Seconds."""
    image_size: ImageSize
    profile: str
    """The weights that read it."""
    more_frames: Literal[True] | None = None
    """The file holds further pictures, of which only the first was read."""


class Failure(_Model):
    success: Literal[False] = False
    error: str


@router.post(
    "/upload",
    response_model_exclude_none=True,
    responses={
        400: {"model": Failure, "description": "A field is missing or invalid, or the file is no readable picture."},
        413: {"model": Failure, "description": "The file or the picture is over a limit."},
        "4XX": {"model": Failure, "description": "Any other fault of the request."},
        500: {"model": Failure, "description": "A fault of the server."},
        503: {"model": Failure, "description": "The queue is full, or Triton is away."},
        504: {"model": Failure, "description": "The request took longer than it may."},
    },
)
async def upload(
    *,
    services: ServicesDep,
    file: UploadFile,
    profile: Annotated[str | None, Form()] = None,
    use_det: Annotated[bool, Form()] = True,
    use_cls: Annotated[bool, Form()] = True,
    use_rec: Annotated[bool, Form()] = True,
    text_score: Annotated[float | None, Form()] = None,
    box_thresh: Annotated[float | None, Form()] = None,
    unclip_ratio: Annotated[float | None, Form()] = None,
    return_word_box: Annotated[bool, Form()] = False,
) -> Recognition:
    """Read an uploaded picture."""
    start = time.perf_counter()
    settings = services.settings
    picture = await from_upload(file, "file", file_limit(settings, "/upload"))
    options = RecognitionOptions(
        profile=profile,
        use_det=use_det,
        use_cls=use_cls,
        use_rec=use_rec,
        return_word_box=return_word_box,
        text_score=settings.text_score if text_score is None else text_score,
        box_thresh=settings.box_thresh if box_thresh is None else box_thresh,
        unclip_ratio=settings.unclip_ratio if unclip_ratio is None else unclip_ratio,
    )
    page = await services.recognizer.read(picture, options)
    return _recognition(page, options, time.perf_counter() - start)


def _recognition(page: Page, options: RecognitionOptions, seconds: float) -> Recognition:
    return Recognition(
        results=[_line_result(line, options) for line in page.lines],
        processing_time=round(seconds, 4),
        image_size=ImageSize(width=page.width, height=page.height),
        profile=page.profile,
        more_frames=page.more_frames or None,
    )


def _line_result(line: Line, options: RecognitionOptions) -> LineResult:
    words = [
        WordResult(**_span(word), characters=[SpanResult(**_span(character)) for character in word.characters])
        for word in line.words
    ]
    return LineResult(
        text=line.text,
        confidence=line.score if options.use_rec else line.box_score,
        bbox=line.quad,
        words=words if options.return_word_box else None,
    )


def _span(span: Span) -> dict[str, Any]:
    return {"text": span.text, "confidence": span.score, "bbox": span.quad}


def render_error(error: ServiceError) -> Response:
    return JSONResponse(Failure(error=error.message).model_dump(), error.status, dict(error.headers))


def file_limit(settings: Settings, path: str) -> FileLimit:
    return FileLimit(settings.max_file_size, "OCR_MAX_FILE_SIZE")


API = Api(
    name="paddleocr_service",
    title="PaddleOCR API service",
    prefix="/paddleocr-service",
    root_paths=frozenset({"/upload"}),
    router=router,
    render_error=render_error,
    file_limit=file_limit,
    timeout=lambda settings: settings.document_timeout,
)
