"""The PaddleOCR API service."""

import re
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Request, Response, UploadFile
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from adapter import languages
from adapter.apis.base import EXAMPLE_PICTURE, Api, JsonRoute, Services, ServicesDep, ndjson
from adapter.documents import Layout, kind
from adapter.errors import ServiceError, UnreadableImageError
from adapter.pictures import SizeLimit, picture_size
from adapter.recognizer import Angle, DocumentPage, Line, Page, Quad, RecognitionOptions, Span
from adapter.settings import Settings
from adapter.sources import FileLimit, from_base64, from_upload

_HEALTH_TIMEOUT = 1.5
_NDJSON = "application/x-ndjson"
_MULTIPART = "multipart/form-data"

router = APIRouter()
json_router = APIRouter(route_class=JsonRoute)


class _Model(BaseModel):
    # So that the notes below a field stand in the API documentation, too.
    model_config = ConfigDict(use_attribute_docstrings=True)


Threshold = Annotated[float, Field(ge=0, le=1)]
UnclipRatio = Annotated[float, Field(ge=0.5, le=10)]
Base64Picture = Annotated[str, Field(examples=[EXAMPLE_PICTURE])]


class PageOptions(_Model):
    """What every path that reads has in common."""

    use_doc_orientation_classify: bool = False
    """Set a page upright that lies on its side or its head, and tell its `page_angle`."""
    reading_order: bool = False
    """Give the lines as a person reads them, column by column, and the page's whole `text`."""
    profile: str | None = None
    """The weights to read with; the server's default where none are named."""


class Options(PageOptions):
    """What `/upload`, `/upload_pdf` and `/v1/ocr` have in common."""

    use_det: bool = True
    """Look for text; without it the whole picture is one line."""
    use_cls: bool = True
    """Turn lines that stand on their heads; without `use_rec`, `angle` tells which do."""
    use_rec: bool = True
    """Read the lines; without it there are boxes alone."""
    text_score: Threshold | None = None
    """The least confidence of a line; OCR_TEXT_SCORE where it is not given."""
    box_thresh: Threshold | None = None
    """The least score of a box; OCR_BOX_THRESH where it is not given, the profile's own where that is not set."""
    unclip_ratio: UnclipRatio | None = None
    """How far boxes are widened; OCR_UNCLIP_RATIO where it is not given, the profile's own where that is not set."""
    return_word_box: bool = False
    """Give the words of each line, and the characters of each word, with their boxes."""

    def recognition(self, settings: Settings) -> RecognitionOptions:
        return RecognitionOptions(
            profile=self.profile,
            use_doc_orientation_classify=self.use_doc_orientation_classify,
            reading_order=self.reading_order,
            use_det=self.use_det,
            use_cls=self.use_cls,
            use_rec=self.use_rec,
            return_word_box=self.return_word_box,
            text_score=_or(self.text_score, settings.text_score),
            box_thresh=_or(self.box_thresh, settings.box_thresh),
            unclip_ratio=_or(self.unclip_ratio, settings.unclip_ratio),
        )


class UploadForm(Options):
    file: UploadFile


class OcrRequest(Options):
    image: Base64Picture


class PaddleOcrRequest(PageOptions):
    image: Base64Picture
    use_angle_cls: bool = True
    """Turn lines that stand on their heads."""
    lang: str = "ch"
    """Refused where the profile does not read it; beyond that it changes nothing: a profile reads all its languages."""
    det_db_thresh: Threshold | None = None
    """Above it a pixel is text; the profile's own where it is not given."""
    det_db_box_thresh: Threshold | None = None
    """As `box_thresh`."""
    det_db_unclip_ratio: UnclipRatio | None = None
    """As `unclip_ratio`."""


class EasyOcrRequest(PageOptions):
    image: Base64Picture
    languages: list[str] = Field(default=["ch_sim", "en"], examples=[["ch_sim", "en"]])
    """Refused where the profile does not read one of them; beyond that they change nothing."""
    gpu: bool = True
    """Without effect: what the models run on is decided where Triton is started, and told by `/health`."""
    text_threshold: Threshold | None = None
    """The least confidence of a line; OCR_TEXT_SCORE where it is not given."""


class SpanResult(_Model):
    text: str
    confidence: float
    bbox: Quad


class WordResult(SpanResult):
    characters: list[SpanResult]


class LineResult(SpanResult):
    """`confidence` is the recognition's; the detection's where recognition was not asked for."""

    angle: Literal[0, 180] | None = None
    """How the line stands; with `use_cls` and without `use_rec` only."""
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
    page_angle: Angle | None = None
    """By how many degrees the page is turned clockwise; with `use_doc_orientation_classify` only."""
    text: str | None = None
    """With `reading_order` only: rows are lines, blocks stand apart by an empty line."""
    more_frames: Literal[True] | None = None
    """The file holds further pictures, of which only the first was read."""


class PdfPicture(_Model):
    """A page of a PDF, or one of the pictures that it consists of."""

    page: int
    """From 1."""
    index: int
    """From 0, among the pictures of the page."""
    result: list[LineResult]
    """In pixels of the picture."""
    bbox_image: tuple[float, float, float, float]
    """Where the picture lies on the page: x, y, width, height in points (1/72 inch) from the upper left corner."""
    processing_time: float
    """Seconds."""
    image_size: ImageSize
    profile: str
    """The weights that read it."""
    page_angle: Angle | None = None
    """By how many degrees the picture is turned clockwise; with `use_doc_orientation_classify` only."""
    text: str | None = None
    """With `reading_order` only: rows are lines, blocks stand apart by an empty line."""


class PdfRecognition(_Model):
    success: Literal[True] = True
    results: list[PdfPicture]


class PdfEnd(_Model):
    """The last line of an answer in NDJSON; without it the answer is not whole."""

    success: Literal[True] = True
    pages: int


class Health(_Model):
    status: Literal["healthy", "unhealthy"]
    model: str | None = None
    """The profile that reads where a request names none."""
    model_version: str | None = Field(default=None, examples=["v6"])
    gpu_support: bool | None = None
    """Whether a network runs on a GPU."""
    providers: list[str] | None = Field(default=None, examples=[["OpenVINOExecutionProvider"]])
    """What the networks run on, by ONNX Runtime's names."""
    environment: Literal["production"] = "production"
    supported_languages: list[str] | None = Field(default=None, examples=[["ch", "en"]])


class RecognitionFailure(_Model):
    success: Literal[False] = False
    error: str


_FAILURES: dict[int | str, dict[str, Any]] = {
    400: {"model": RecognitionFailure, "description": "A field is missing or invalid, or the file cannot be read."},
    401: {"model": RecognitionFailure, "description": "OCR_API_KEYS is set, and the request brought none of them."},
    413: {"model": RecognitionFailure, "description": "The file or the picture is over a limit."},
    "4XX": {"model": RecognitionFailure, "description": "Any other fault of the request."},
    500: {"model": RecognitionFailure, "description": "A fault of the server."},
    503: {"model": RecognitionFailure, "description": "The queue is full, Triton is away, or a model is not loaded."},
    504: {"model": RecognitionFailure, "description": "The request took longer than it may."},
}
_WITHOUT_NULLS: dict[str, Any] = {"response_model_exclude_none": True, "responses": _FAILURES}


@router.get(
    "/health",
    response_model_exclude_none=True,
    responses={503: {"model": Health, "description": "Triton or one of the OCR models is not ready."}},
)
async def health(services: ServicesDep, response: Response) -> Health:
    """Whether pictures can be read, and what reads them."""
    try:
        if not await services.recognizer.ready(_HEALTH_TIMEOUT):
            response.status_code = 503
            return Health(status="unhealthy")
        runtime = await services.probe.runtime()
    except ServiceError:
        response.status_code = 503
        return Health(status="unhealthy")
    version = re.search(r"v\d+", runtime.default_profile)
    return Health(
        status="healthy",
        model=runtime.default_profile,
        model_version=version and version[0],
        gpu_support=runtime.gpu,
        providers=list(runtime.providers),
        supported_languages=list(languages.languages(runtime.default_profile)),
    )


@json_router.post("/paddleocr", **_WITHOUT_NULLS)
async def paddleocr(services: ServicesDep, body: PaddleOcrRequest) -> Recognition:
    """Read a picture, with PaddleOCR's options."""
    settings = services.settings
    picture = from_base64(body.image, "image", _file_limit(settings))
    await _check_languages(services, [body.lang], "lang", body.profile)
    options = RecognitionOptions(
        profile=body.profile,
        use_doc_orientation_classify=body.use_doc_orientation_classify,
        reading_order=body.reading_order,
        use_cls=body.use_angle_cls,
        text_score=settings.text_score,
        det_thresh=body.det_db_thresh,
        box_thresh=_or(body.det_db_box_thresh, settings.box_thresh),
        unclip_ratio=_or(body.det_db_unclip_ratio, settings.unclip_ratio),
    )
    return await _read(services, picture, "image", options)


@json_router.post("/easyocr", **_WITHOUT_NULLS)
async def easyocr(services: ServicesDep, body: EasyOcrRequest) -> Recognition:
    """Read a picture, with EasyOCR's options."""
    settings = services.settings
    picture = from_base64(body.image, "image", _file_limit(settings))
    await _check_languages(services, body.languages, "languages", body.profile)
    options = RecognitionOptions(
        profile=body.profile,
        use_doc_orientation_classify=body.use_doc_orientation_classify,
        reading_order=body.reading_order,
        text_score=_or(body.text_threshold, settings.text_score),
        box_thresh=settings.box_thresh,
        unclip_ratio=settings.unclip_ratio,
    )
    return await _read(services, picture, "image", options)


@json_router.post("/v1/ocr", **_WITHOUT_NULLS)
async def v1_ocr(services: ServicesDep, body: OcrRequest) -> Recognition:
    """Read a picture in base64."""
    picture = from_base64(body.image, "image", _file_limit(services.settings))
    return await _read(services, picture, "image", body.recognition(services.settings))


@router.post("/upload", **_WITHOUT_NULLS)
async def upload(services: ServicesDep, form: Annotated[UploadForm, Form(media_type=_MULTIPART)]) -> Recognition:
    """Read an uploaded picture."""
    picture = await from_upload(form.file, "file", _file_limit(services.settings))
    return await _read(services, picture, "file", form.recognition(services.settings))


@router.post(
    "/upload_pdf",
    response_model=PdfRecognition,
    response_model_exclude_none=True,
    responses={**_FAILURES, 200: {"content": {_NDJSON: {"schema": {"type": "string"}}}}},
)
async def upload_pdf(
    request: Request, services: ServicesDep, form: Annotated[UploadForm, Form(media_type=_MULTIPART)]
) -> PdfRecognition | Response:
    """Read an uploaded PDF: all its pages, in order.

    A page that consists of pictures alone gives an entry for each of them, at its native resolution; any other page
    is rendered and gives one. With `Accept: application/x-ndjson` each entry is a line of its own, sent as soon as it
    is read; the last line is `{"success": true, "pages": …}`, or `{"success": false, "error": …}` where reading failed
    on the way.
    """
    file = await from_upload(form.file, "file", _file_limit(services.settings))
    entries = _pdf_entries(services, file, form.recognition(services.settings))
    if _NDJSON in request.headers.get("accept", ""):
        return await ndjson(entries, render_error)
    async with aclosing(entries):
        return PdfRecognition(results=[entry async for entry in entries if isinstance(entry, PdfPicture)])


async def _read(services: Services, picture: bytes, name: str, options: RecognitionOptions) -> Recognition:
    start = time.perf_counter()
    if kind(picture) == "pdf":
        raise UnreadableImageError(f"{name}: a PDF; /upload_pdf reads those")
    settings = services.settings
    SizeLimit(settings.max_image_width, settings.max_image_height).check(picture_size(picture, name), name)
    page = await services.recognizer.read(picture, options)
    return Recognition(
        results=_line_results(page, options),
        processing_time=round(time.perf_counter() - start, 4),
        image_size=ImageSize(width=page.width, height=page.height),
        profile=page.profile,
        page_angle=page.angle if options.use_doc_orientation_classify else None,
        text=page.text if options.reading_order else None,
        more_frames=page.more_frames or None,
    )


async def _pdf_entries(
    services: Services, file: bytes, options: RecognitionOptions
) -> AsyncGenerator[PdfPicture | PdfEnd, None]:
    async with services.recognizer.reading(file, "file", Layout.PICTURES, options) as document:
        async for read in document.pages:
            yield _pdf_picture(read, options)
        yield PdfEnd(pages=document.page_count)


def _pdf_picture(read: DocumentPage, options: RecognitionOptions) -> PdfPicture:
    picture, page = read.picture, read.page
    x, y, width, height = (round(value, 2) for value in picture.bbox)
    return PdfPicture(
        page=picture.page,
        index=picture.index,
        result=_line_results(page, options),
        bbox_image=(x, y, width, height),
        processing_time=round(sum(page.times.values()), 4),
        image_size=ImageSize(width=page.width, height=page.height),
        profile=page.profile,
        page_angle=page.angle if options.use_doc_orientation_classify else None,
        text=page.text if options.reading_order else None,
    )


def _line_results(page: Page, options: RecognitionOptions) -> list[LineResult]:
    return [_line_result(line, options) for line in page.lines]


def _line_result(line: Line, options: RecognitionOptions) -> LineResult:
    words = [
        WordResult(**_span(word), characters=[SpanResult(**_span(character)) for character in word.characters])
        for word in line.words
    ]
    return LineResult(
        text=line.text,
        confidence=line.box_score if options.use_rec is False else line.score,
        bbox=line.quad,
        angle=(180 if line.angle else 0) if options.use_cls and options.use_rec is False else None,
        words=words if options.return_word_box else None,
    )


def _span(span: Span) -> dict[str, Any]:
    return {"text": span.text, "confidence": span.score, "bbox": span.quad}


async def _check_languages(services: Services, wanted: list[str], name: str, profile: str | None) -> None:
    languages.check(wanted, profile or (await services.probe.runtime()).default_profile, name)


def _or(given: float | None, setting: float | None) -> float | None:
    return setting if given is None else given


def render_error(error: ServiceError) -> Response:
    return JSONResponse(RecognitionFailure(error=error.message).model_dump(), error.status, dict(error.headers))


def _file_limit(settings: Settings) -> FileLimit:
    return FileLimit(settings.max_file_size, "OCR_MAX_FILE_SIZE")


router.routes.extend(json_router.routes)
API = Api(
    name="paddleocr_service",
    title="PaddleOCR API service",
    prefix="/paddleocr-service",
    root_paths=frozenset({"/paddleocr", "/easyocr", "/v1/ocr", "/upload", "/upload_pdf"}),
    router=router,
    render_error=render_error,
    file_limit=lambda settings, path: _file_limit(settings),
    own_port=lambda settings: settings.paddleocr_service_port,
    timeout=lambda settings: settings.document_timeout,
    open_paths=frozenset({"/health"}),
)
