"""What the page at `/` asks for that no documented API gives: pages with their pictures as they are read, a searchable
PDF, the words of InternVL as it writes them, and what there is to choose from."""

import base64
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Response, UploadFile
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from adapter.apis.base import Api, Services, ServicesDep, ndjson
from adapter.documents import Layout, kind
from adapter.errors import InvalidRequestError, ModelUnavailableError, ServiceError, UnreadableImageError
from adapter.internvl.reader import LastPassage, Passage
from adapter.labels import Label, TextLayer
from adapter.pictures import picture_size
from adapter.recognizer import Angle, Page, Quad, RecognitionOptions
from adapter.settings import Settings
from adapter.sources import FileLimit, from_upload

_READY_TIMEOUT = 1.5
_NDJSON = "application/x-ndjson"
_PDF = "application/pdf"
_MULTIPART = "multipart/form-data"
# Pillow's names of what browsers show by themselves.
_SHOWN_BY_BROWSERS = frozenset({"JPEG", "MPO", "PNG", "GIF", "WEBP", "BMP"})

router = APIRouter()


class _Model(BaseModel):
    # So that the notes below a field stand in the API documentation, too.
    model_config = ConfigDict(use_attribute_docstrings=True)


Threshold = Annotated[float, Field(ge=0, le=1)]
UnclipRatio = Annotated[float, Field(ge=0.5, le=10)]
Pixels = Annotated[float, Field(gt=0, le=1e6)]


class Models(_Model):
    profiles: list[str]
    """The weights that may be named, by name; none while the OCR models are not loaded."""
    default_profile: str | None
    dots: bool
    """Whether dots.ocr is loaded."""
    internvl: bool
    """Whether InternVL is loaded."""
    max_file_size: int
    """Bytes of one file, OCR_MAX_FILE_SIZE."""


class ReadForm(_Model):
    file: UploadFile
    """A picture or a PDF."""
    profile: str | None = None
    """The weights to read with; the server's default where none are named."""
    use_doc_orientation_classify: bool = False
    """Set a page upright that lies on its side or its head, and tell its `page_angle`."""
    reading_order: bool = False
    """Give the lines as a person reads them, column by column, and the page's whole `text`."""
    use_cls: bool = True
    """Turn lines that stand on their heads."""
    text_score: Threshold | None = None
    """The least confidence of a line; OCR_TEXT_SCORE where it is not given."""
    box_thresh: Threshold | None = None
    """The least score of a box; OCR_BOX_THRESH where it is not given, the profile's own where that is not set."""
    unclip_ratio: UnclipRatio | None = None
    """How far boxes are widened; OCR_UNCLIP_RATIO where it is not given, the profile's own where that is not set."""
    pictures: bool = True
    """Send along the pictures that a browser cannot show by itself: the pages of a PDF, and TIFF, JPEG 2000 and PNM."""

    def recognition(self, settings: Settings) -> RecognitionOptions:
        return RecognitionOptions(
            profile=self.profile,
            use_doc_orientation_classify=self.use_doc_orientation_classify,
            reading_order=self.reading_order,
            use_cls=self.use_cls,
            text_score=settings.text_score if self.text_score is None else self.text_score,
            box_thresh=settings.box_thresh if self.box_thresh is None else self.box_thresh,
            unclip_ratio=settings.unclip_ratio if self.unclip_ratio is None else self.unclip_ratio,
        )


class Start(_Model):
    """The first line of an answer."""

    type: Literal["pdf", "image"]
    pages: int
    """As many lines follow."""


class ReadLine(_Model):
    text: str
    confidence: float
    bbox: Quad
    """In pixels of the upright picture, clockwise from the text's upper left."""


class ReadPage(_Model):
    page: int
    """From 1."""
    width: int
    """Pixels."""
    height: int
    lines: list[ReadLine]
    profile: str
    """The weights that read it."""
    seconds: float
    page_angle: Angle | None = None
    """By how many degrees the page is turned clockwise; with `use_doc_orientation_classify` only."""
    text: str | None = None
    """With `reading_order` only: rows are lines, blocks stand apart by an empty line."""
    more_frames: Literal[True] | None = None
    """The file holds further pictures, of which only the first was read."""
    picture: str | None = None
    """A JPEG in base64, its longer side 2000 pixels at most."""


class TextLine(_Model):
    text: str
    bbox: Quad


class TextPage(_Model):
    """What was read off a page, as in `ReadPage`."""

    page: Annotated[int, Field(ge=1)]
    width: Pixels
    height: Pixels
    lines: list[TextLine]


class SearchableForm(_Model):
    file: UploadFile
    """The picture or PDF that was read."""
    pages: UploadFile
    """What was read: a list of `ReadPage` (JSON), of which only what stands in `TextPage` is looked at."""


class AskForm(_Model):
    file: UploadFile
    """A picture."""
    prompt: Annotated[str, Field(min_length=1)]


class Written(_Model):
    """A line of InternVL's answer; what follows `text` comes with the last."""

    text: str
    done: bool = False
    confidence: float | None = None
    """The geometric mean of the probabilities that the model gave to the tokens it wrote."""
    truncated: Literal[True] | None = None
    """OCR_INTERNVL_MAX_NEW_TOKENS cut the text off."""
    repaired: Literal[True] | None = None
    """The model repeated itself without end, and was stopped."""


class PageFailure(_Model):
    error: str


_FAILURES: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": PageFailure, "description": "A fault of the request."},
    "5XX": {"model": PageFailure, "description": "A fault of the server, or it is busy, or a model is not loaded."},
}
_LINES: dict[int | str, dict[str, Any]] = {200: {"content": {_NDJSON: {"schema": {"type": "string"}}}}, **_FAILURES}


@router.get("/models", responses=_FAILURES)
async def models(services: ServicesDep) -> Models:
    """What there is to choose from."""
    try:
        runtime = await services.probe.runtime()
    except ModelUnavailableError:
        runtime = None
    return Models(
        profiles=list(runtime.profiles) if runtime else [],
        default_profile=runtime.default_profile if runtime else None,
        dots=await services.dots.loaded(_READY_TIMEOUT),
        internvl=await services.internvl.model.loaded(_READY_TIMEOUT),
        max_file_size=services.settings.max_file_size,
    )


@router.post("/read", response_class=Response, responses=_LINES)
async def read(services: ServicesDep, form: Annotated[ReadForm, Form(media_type=_MULTIPART)]) -> Response:
    """Read a picture or a PDF.

    The answer is NDJSON: a line that says how many pages there are (`Start`), then one for each page (`ReadPage`), in
    order, as soon as it is read. What fails on the way is the last line: `{"error": …}`.
    """
    file = await from_upload(form.file, "file", _file_limit(services.settings))
    options = form.recognition(services.settings)
    entries = (
        _pdf_entries(services, file, options, form.pictures)
        if kind(file) == "pdf"
        else _picture_entries(services, file, options, form.pictures)
    )
    return await ndjson(entries, render_error)


@router.post("/searchable_pdf", response_class=Response, responses={200: {"content": {_PDF: {}}}, **_FAILURES})
async def searchable_pdf(
    services: ServicesDep, form: Annotated[SearchableForm, Form(media_type=_MULTIPART)]
) -> Response:
    """The file as a PDF, with what was read laid invisibly over its pages, so that it can be searched and copied.

    A picture becomes one page. In a PDF, lines that lie over text of its own are left out.
    """
    limit = _file_limit(services.settings)
    file = await from_upload(form.file, "file", limit)
    layers = _layers(await from_upload(form.pages, "pages", limit))
    if kind(file) == "pdf":
        async with services.documents.open(file, "file") as document:
            return Response(await document.searchable(layers), media_type=_PDF)
    if [layer.page for layer in layers] != [1]:
        raise InvalidRequestError("pages: a picture has one page")
    picture_size(file, "file")
    return Response(await services.draughtsman.searchable_pdf(file, layers[0]), media_type=_PDF)


@router.post("/ask", response_class=Response, responses=_LINES)
async def ask(services: ServicesDep, form: Annotated[AskForm, Form(media_type=_MULTIPART)]) -> Response:
    """Ask InternVL about a picture. The answer is NDJSON, a line (`Written`) for what the model has written since the
    line before; what fails on the way is the last line: `{"error": …}`."""
    picture = await from_upload(form.file, "file", _file_limit(services.settings))
    if kind(picture) == "pdf":
        raise UnreadableImageError("file: a PDF; /ocr/process reads those")
    return await ndjson(_written(services.internvl.write(picture, "file", form.prompt)), render_error)


async def _picture_entries(
    services: Services, file: bytes, options: RecognitionOptions, pictures: bool
) -> AsyncGenerator[Start | ReadPage, None]:
    size = picture_size(file, "file")
    yield Start(type="image", pages=1)
    page = await services.recognizer.read(file, options)
    shown = await _jpeg(services, file) if pictures and size.format not in _SHOWN_BY_BROWSERS else None
    yield _read_page(1, page, options, shown)


async def _pdf_entries(
    services: Services, file: bytes, options: RecognitionOptions, pictures: bool
) -> AsyncGenerator[Start | ReadPage, None]:
    async with services.recognizer.reading(file, "file", Layout.WHOLE, options) as document:
        yield Start(type="pdf", pages=document.page_count)
        async for read in document.pages:
            shown = await _jpeg(services, read.picture.encoded) if pictures else None
            yield _read_page(read.picture.page, read.page, options, shown)


async def _jpeg(services: Services, picture: bytes) -> str:
    return base64.b64encode(await services.draughtsman.jpeg(picture)).decode()


def _read_page(number: int, page: Page, options: RecognitionOptions, picture: str | None) -> ReadPage:
    return ReadPage(
        page=number,
        width=page.width,
        height=page.height,
        lines=[ReadLine(text=line.text, confidence=line.score, bbox=line.quad) for line in page.lines],
        profile=page.profile,
        seconds=round(sum(page.times.values()), 4),
        page_angle=page.angle if options.use_doc_orientation_classify else None,
        text=page.text if options.reading_order else None,
        more_frames=page.more_frames or None,
        picture=picture,
    )


def _layers(encoded: bytes) -> list[TextLayer]:
    try:
        pages = TypeAdapter(list[TextPage]).validate_json(encoded)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, ("pages", *fault["loc"])))
        raise InvalidRequestError(f"{where}: {fault['msg']}") from error
    return [
        TextLayer(page.page, page.width, page.height, [Label(line.text, line.bbox) for line in page.lines])
        for page in pages
    ]


async def _written(passages: AsyncGenerator[Passage, None]) -> AsyncGenerator[Written, None]:
    async with aclosing(passages):
        async for passage in passages:
            if isinstance(passage, LastPassage):
                yield Written(
                    text=passage.text,
                    done=True,
                    confidence=passage.confidence,
                    truncated=passage.truncated or None,
                    repaired=passage.repaired or None,
                )
            else:
                yield Written(text=passage.text)


def render_error(error: ServiceError) -> Response:
    return JSONResponse(PageFailure(error=error.message).model_dump(), error.status, dict(error.headers))


def _file_limit(settings: Settings) -> FileLimit:
    return FileLimit(settings.max_file_size, "OCR_MAX_FILE_SIZE")


def _body_limit(settings: Settings, path: str) -> FileLimit:
    one = _file_limit(settings)
    # The file, and what was read off it.
    return FileLimit(2 * one.size, f"2 times {one.setting}") if path.endswith("/searchable_pdf") else one


API = Api(
    name="page",
    title="The page",
    prefix="/page",
    root_paths=frozenset(),
    router=router,
    render_error=render_error,
    file_limit=_body_limit,
    timeout=lambda settings: max(settings.document_timeout, settings.generation_timeout),
)
