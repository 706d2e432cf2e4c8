"""PaddleX's OCR pipeline as a service: `/ocr` of its first serving (`image`) and of the current one (`file`)."""

# ruff: noqa: N815 - the fields are named as PaddleX has them

import base64
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator
from typing_extensions import Self

from adapter.apis.base import EXAMPLE_PICTURE, Api, JsonRoute, Services, ServicesDep, ndjson
from adapter.context import request_id
from adapter.documents import Layout, kind
from adapter.errors import InvalidRequestError, ServiceError, UnavailableError
from adapter.labels import Label
from adapter.recognizer import Angle, Line, Page, Quad, RecognitionOptions
from adapter.settings import Settings
from adapter.sources import FileLimit

_HEALTH_TIMEOUT = 1.5
_NDJSON = "application/x-ndjson"
# Drawings of a page are some MB, and an answer holds those of all its pages.
_MOST_DRAWN_PAGES = 50
# PaddleX leaves out no line for its score unless it is asked to.
_NO_SCORE = 0.0

router = APIRouter(route_class=JsonRoute)


class _Model(BaseModel):
    # So that the notes below a field stand in the API documentation, too.
    model_config = ConfigDict(use_attribute_docstrings=True)


Threshold = Annotated[float, Field(ge=0, le=1)]
UnclipRatio = Annotated[float, Field(ge=0.5, le=10)]
Side = Annotated[int, Field(ge=32, le=10_000)]
BatchSize = Annotated[int, Field(ge=1, le=32)]
Box = tuple[int, int, int, int]
"""Left, top, right, bottom."""
IntegerQuad = tuple[tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, int]]


class InferenceParams(_Model):
    maxLongSide: Side | None = None
    """Text is looked for in the picture made smaller, so that its longer side has as many pixels."""
    useDocOrientationClassify: bool | None = None
    """Set a page upright that lies on its side or its head, and tell its `pageAngle`."""
    readingOrder: bool | None = None
    """Give the lines as a person reads them, column by column, and the page's whole `text`."""


class ImageRequest(_Model):
    """PaddleX 3.0.0-beta."""

    image: str = Field(examples=[EXAMPLE_PICTURE])
    """A picture: its URL, or base64."""
    inferenceParams: InferenceParams | None = None
    profile: str | None = None
    """The weights to read with; the server's default where none are named."""


class FileRequest(_Model):
    """PaddleX 3."""

    file: str = Field(examples=[EXAMPLE_PICTURE])
    """A picture or a PDF: its URL, or base64."""
    fileType: Literal[0, 1] | None = Field(default=None, examples=[1])
    """0: a PDF, 1: a picture. Without it the file behind a URL tells itself; with base64 it is needed."""
    useDocOrientationClassify: bool | None = None
    """Set a page upright that lies on its side or its head; as in PaddleX, results are in pixels of the page as it was
    set upright. False where it is not given."""
    useDocUnwarping: bool | None = None
    """Refused where true."""
    useTextlineOrientation: bool | None = None
    """Turn lines that stand on their heads; true where it is not given."""
    textDetLimitSideLen: Side | None = None
    """Pixels of the side that `textDetLimitType` bounds, in the picture as text is looked for in it."""
    textDetLimitType: Literal["min", "max"] | None = None
    """`min`, as in PaddleX where it is not given: the shorter side has at least so many pixels. `max`: the longer side
    has at most so many."""
    textDetThresh: Threshold | None = None
    """Above it a pixel is text; the profile's own where it is not given, as the next two."""
    textDetBoxThresh: Threshold | None = None
    textDetUnclipRatio: UnclipRatio | None = None
    textRecScoreThresh: Threshold | None = None
    """The least score of a line; 0 where it is not given."""
    returnWordBox: bool | None = None
    readingOrder: bool | None = None
    """Give the lines as a person reads them, column by column, and the whole `text` of each page."""
    visualize: bool | None = None
    """Whether pictures go back; where it is not given, they do for pictures and PDFs of up to 50 pages."""
    logId: str | None = None
    """Goes back with the answer; the request's id where it is not given."""
    profile: str | None = None
    """The weights to read with; the server's default where none are named."""
    recProfile: str | None = None
    """The profile whose weights recognise, where it is not that of `profile`."""
    textRecBatchSize: BatchSize | None = None
    """Lines that recognition is given in one call; the profile's own where it is not given."""

    @model_validator(mode="after")
    def _can_be_served(self) -> Self:
        if self.useDocUnwarping:
            raise ValueError("useDocUnwarping: this server has no model for it; leave it out or false")
        return self


def _form(body: Any) -> str:
    return "file" if isinstance(body, dict) and "file" in body else "image"


OcrRequest = Annotated[
    Annotated[ImageRequest, Tag("image")] | Annotated[FileRequest, Tag("file")], Discriminator(_form)
]


class Text(_Model):
    poly: IntegerQuad
    text: str
    score: float


class ImageResult(_Model):
    texts: list[Text]
    image: str
    """A JPEG in base64: the quads over the picture, and beside it the texts in their places."""
    profile: str
    """The weights that read it."""
    pageAngle: Angle | None = None
    """By how many degrees the page is turned clockwise; with `useDocOrientationClassify` only."""
    text: str | None = None
    """With `readingOrder` only: rows are lines, blocks stand apart by an empty line."""
    moreFrames: Literal[True] | None = None
    """The file holds further pictures, of which only the first was read."""


class DocPreprocessorResult(_Model):
    model_settings: dict[str, bool]
    angle: Angle
    """By how many degrees the page was turned counter-clockwise to stand upright."""


class PrunedResult(_Model):
    model_settings: dict[str, bool]
    doc_preprocessor_res: DocPreprocessorResult | None = None
    """With `useDocOrientationClassify` only."""
    dt_polys: list[IntegerQuad]
    dt_scores: list[float]
    """The mean probability of text within each of `dt_polys`."""
    text_det_params: dict[str, float | int | str]
    """Those that were asked for; the others are the profile's own."""
    text_type: Literal["general"] = "general"
    textline_orientation_angles: list[int]
    """For each of `dt_polys`: 1 where it stands on its head; -1 where that was not looked at."""
    text_rec_score_thresh: float
    return_word_box: bool
    rec_texts: list[str]
    rec_scores: list[float]
    rec_polys: list[IntegerQuad]
    rec_boxes: list[Box]
    text_word: list[list[str]] | None = None
    text_word_boxes: list[list[Box]] | None = None


class OcrResult(_Model):
    prunedResult: PrunedResult
    text: str | None = None
    """With `readingOrder` only: rows are lines, blocks stand apart by an empty line."""
    ocrImage: str | None = None
    """A JPEG in base64: the quads over the page, and beside it the texts in their places."""
    docPreprocessingImage: str | None = None
    """A JPEG in base64: the page set upright; with `useDocOrientationClassify` only."""
    inputImage: str | None = None
    """A JPEG in base64."""


class Size(_Model):
    width: int
    height: int


class ImageInfo(Size):
    type: Literal["image"] = "image"


class PdfInfo(_Model):
    type: Literal["pdf"] = "pdf"
    numPages: int
    pages: list[Size]


class FileStart(_Model):
    """The first line of an answer as NDJSON."""

    type: Literal["image", "pdf"]
    numPages: int


class FilePage(Size):
    """A line of an answer as NDJSON."""

    ocrResult: OcrResult
    profile: str
    """The weights that read it."""
    moreFrames: Literal[True] | None = None
    """The file holds further pictures, of which only the first was read."""


class FileResult(_Model):
    ocrResults: list[OcrResult]
    """One a page."""
    dataInfo: ImageInfo | PdfInfo
    profile: str
    """The weights that read it."""
    moreFrames: Literal[True] | None = None
    """The file holds further pictures, of which only the first was read."""


class Success(_Model):
    logId: str
    errorCode: Literal[0] = 0
    errorMsg: Literal["Success"] = "Success"
    result: ImageResult | FileResult


class Healthy(_Model):
    logId: str
    errorCode: Literal[0] = 0
    errorMsg: Literal["Healthy"] = "Healthy"


class PipelineFailure(_Model):
    logId: str
    errorCode: int
    """The HTTP status."""
    errorMsg: str


_FAILURES: dict[int | str, dict[str, Any]] = {
    401: {"model": PipelineFailure, "description": "OCR_API_KEYS is set, and the request brought none of them."},
    403: {"model": PipelineFailure, "description": "The URL is one that this server is not to fetch."},
    413: {"model": PipelineFailure, "description": "The file, the picture or the document is over a limit."},
    422: {"model": PipelineFailure, "description": "A field is missing or invalid, or the file cannot be read."},
    "4XX": {"model": PipelineFailure, "description": "Any other fault of the request."},
    500: {"model": PipelineFailure, "description": "A fault of the server."},
    503: {"model": PipelineFailure, "description": "The queue is full, Triton is away, or a model is not loaded."},
    504: {"model": PipelineFailure, "description": "The request took longer than it may."},
}


@router.get("/health", responses={503: {"model": PipelineFailure, "description": "Triton or a model is not ready."}})
async def health(services: ServicesDep) -> Healthy:
    """200 when Triton and every loaded OCR model are ready."""
    if not await services.recognizer.ready(_HEALTH_TIMEOUT):
        raise UnavailableError("the models are not ready")
    return Healthy(logId=request_id.get())


@router.post(
    "/ocr",
    response_model=Success,
    response_model_exclude_none=True,
    responses={**_FAILURES, 200: {"content": {_NDJSON: {"schema": {"type": "string"}}}}},
)
async def ocr(request: Request, services: ServicesDep, body: OcrRequest) -> Success | Response:
    """Read a picture, or in the current form a picture or a PDF, and draw what was found.

    With `file` and `Accept: application/x-ndjson` the answer is a line of JSON that says how many pages there are, then
    one for each page, sent as soon as it is read, and where reading fails on the way a last one in the form of a
    failure.
    """
    if isinstance(body, ImageRequest):
        return Success(logId=request_id.get(), result=await _image_result(services, body))
    entries = _file_entries(services, body)
    if _NDJSON in request.headers.get("accept", ""):
        return await ndjson(entries, render_error)
    return Success(logId=body.logId or request_id.get(), result=await _file_result(entries))


async def _image_result(services: Services, body: ImageRequest) -> ImageResult:
    picture = await services.sources.url_or_base64(body.image, "image", _file_limit(services.settings))
    params = body.inferenceParams or InferenceParams()
    options = RecognitionOptions(
        profile=body.profile,
        use_doc_orientation_classify=params.useDocOrientationClassify,
        reading_order=params.readingOrder,
        max_side=params.maxLongSide,
        text_score=_NO_SCORE,
    )
    page = await services.recognizer.read(picture, options)
    return ImageResult(
        texts=[Text(poly=_rounded(line.quad), text=line.text, score=line.score) for line in page.lines],
        image=await _annotated(services, picture, page.lines),
        profile=page.profile,
        pageAngle=page.angle if params.useDocOrientationClassify else None,
        text=page.text if params.readingOrder else None,
        moreFrames=page.more_frames or None,
    )


async def _file_result(entries: AsyncGenerator[FileStart | FilePage, None]) -> FileResult:
    async with aclosing(entries):
        start = await anext(entries)
        pages = [entry async for entry in entries if isinstance(entry, FilePage)]
    assert isinstance(start, FileStart)  # noqa: S101 - the first entry is
    sizes = [Size(width=page.width, height=page.height) for page in pages]
    return FileResult(
        ocrResults=[page.ocrResult for page in pages],
        dataInfo=PdfInfo(numPages=start.numPages, pages=sizes)
        if start.type == "pdf"
        else ImageInfo(width=sizes[0].width, height=sizes[0].height),
        profile=pages[-1].profile if pages else "",
        moreFrames=pages[0].moreFrames if pages else None,
    )


async def _file_entries(services: Services, body: FileRequest) -> AsyncGenerator[FileStart | FilePage, None]:
    if body.fileType is None and "://" not in body.file:
        raise InvalidRequestError("File type cannot be determined: fileType is needed with base64")
    file = await services.sources.url_or_base64(body.file, "file", _file_limit(services.settings))
    is_pdf = kind(file) == "pdf" if body.fileType is None else body.fileType == 0
    options = RecognitionOptions(
        profile=body.profile,
        rec_profile=body.recProfile,
        rec_batch_size=body.textRecBatchSize,
        use_doc_orientation_classify=body.useDocOrientationClassify,
        reading_order=body.readingOrder,
        use_cls=body.useTextlineOrientation,
        return_word_box=body.returnWordBox,
        min_side=None if body.textDetLimitType == "max" else body.textDetLimitSideLen,
        max_side=body.textDetLimitSideLen if body.textDetLimitType == "max" else None,
        det_thresh=body.textDetThresh,
        box_thresh=body.textDetBoxThresh,
        unclip_ratio=body.textDetUnclipRatio,
        # Lines of a low score are left out here: what was detected is told apart from what was read. In the text of a
        # page it cannot be.
        text_score=(body.textRecScoreThresh or _NO_SCORE) if body.readingOrder else _NO_SCORE,
    )
    if not is_pdf:
        page = await services.recognizer.read(file, options)
        yield FileStart(type="image", numPages=1)
        yield await _file_page(services, body, file, page, body.visualize is not False)
        return
    async with services.recognizer.reading(file, "file", Layout.WHOLE, options) as document:
        drawn = _is_drawn(body, document.page_count)
        yield FileStart(type="pdf", numPages=document.page_count)
        async for read in document.pages:
            yield await _file_page(services, body, read.picture.encoded, read.page, drawn)


async def _file_page(services: Services, body: FileRequest, picture: bytes, page: Page, drawn: bool) -> FilePage:
    return FilePage(
        ocrResult=await _result(services, body, picture, page, drawn),
        width=page.width,
        height=page.height,
        profile=page.profile,
        moreFrames=page.more_frames or None,
    )


def _is_drawn(body: FileRequest, pages: int) -> bool:
    if body.visualize and pages > _MOST_DRAWN_PAGES:
        raise InvalidRequestError(
            f"visualize: {pages} pages are more than the {_MOST_DRAWN_PAGES} that are drawn; leave it out or false"
        )
    return body.visualize is not False and pages <= _MOST_DRAWN_PAGES


async def _result(services: Services, body: FileRequest, picture: bytes, page: Page, drawn: bool) -> OcrResult:
    least = body.textRecScoreThresh or _NO_SCORE
    turned = bool(body.useDocOrientationClassify)
    angle = page.angle
    page = page.set_upright()
    kept = [line for line in page.lines if line.score >= least]
    params = {
        "limit_side_len": body.textDetLimitSideLen,
        "limit_type": body.textDetLimitType,
        "thresh": body.textDetThresh,
        "box_thresh": body.textDetBoxThresh,
        "unclip_ratio": body.textDetUnclipRatio,
    }
    oriented = body.useTextlineOrientation is not False
    pruned = PrunedResult(
        model_settings={"use_doc_preprocessor": turned, "use_textline_orientation": oriented},
        doc_preprocessor_res=DocPreprocessorResult(
            model_settings={"use_doc_orientation_classify": True, "use_doc_unwarping": False}, angle=angle
        )
        if turned
        else None,
        dt_polys=[_rounded(line.quad) for line in page.lines],
        dt_scores=[line.box_score for line in page.lines],
        text_det_params={name: value for name, value in params.items() if value is not None},
        textline_orientation_angles=[line.angle // 180 if oriented else -1 for line in page.lines],
        text_rec_score_thresh=least,
        return_word_box=bool(body.returnWordBox),
        rec_texts=[line.text for line in kept],
        rec_scores=[line.score for line in kept],
        rec_polys=[_rounded(line.quad) for line in kept],
        rec_boxes=[_box(line.quad) for line in kept],
        text_word=[[word.text for word in line.words] for line in kept] if body.returnWordBox else None,
        text_word_boxes=[[_box(word.quad) for word in line.words] for line in kept] if body.returnWordBox else None,
    )
    text = page.text if body.readingOrder else None
    if not drawn:
        return OcrResult(prunedResult=pruned, text=text)
    return OcrResult(
        prunedResult=pruned,
        text=text,
        ocrImage=await _annotated(services, picture, kept, angle),
        docPreprocessingImage=_base64(await services.draughtsman.jpeg(picture, angle)) if turned else None,
        inputImage=_base64(await services.draughtsman.jpeg(picture)),
    )


async def _annotated(services: Services, picture: bytes, lines: Sequence[Line], angle: int = 0) -> str:
    labels = [Label(line.text, line.quad) for line in lines]
    return _base64(await services.draughtsman.annotated(picture, labels, angle))


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _rounded(quad: Quad) -> IntegerQuad:
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = ((round(x), round(y)) for x, y in quad)
    return ((x0, y0), (x1, y1), (x2, y2), (x3, y3))


def _box(quad: Quad) -> Box:
    xs, ys = zip(*_rounded(quad), strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def render_error(error: ServiceError) -> Response:
    # PaddleX knows no 400: what is wrong with a request is a 422.
    status = 422 if error.status == 400 else int(error.status)
    failure = PipelineFailure(logId=request_id.get(), errorCode=status, errorMsg=error.message)
    return JSONResponse(failure.model_dump(), status, dict(error.headers))


def _file_limit(settings: Settings) -> FileLimit:
    return FileLimit(settings.max_file_size, "OCR_MAX_FILE_SIZE")


API = Api(
    name="paddlex_ocr",
    title="PaddleX OCR pipeline",
    prefix="/paddlex",
    root_paths=frozenset({"/ocr"}),
    router=router,
    render_error=render_error,
    file_limit=lambda settings, path: _file_limit(settings),
    timeout=lambda settings: settings.document_timeout,
    open_paths=frozenset({"/health"}),
)
