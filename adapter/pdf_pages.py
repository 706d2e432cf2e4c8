"""The pages of a PDF as pictures, by MuPDF. A hostile file may hang or crash it: to be run in a reader process only."""

import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import pymupdf
from pymupdf import mupdf

from adapter.pdf_protocol import Fault, Layout, Limits, PageImage

_POINTS_PER_INCH = 72
# A page that does not fit at this resolution is refused: smaller print could not be read any more.
_MIN_DPI = 36
# What the OCR models can work on.
_MAX_SIDE = 32_766
# In points. Pictures with a shorter side (a quarter of an inch) are decoration; what lies closer together is the strips
# or tiles of one picture.
_MIN_PICTURE = 18.0
_MIN_GAP = 1.0
_MAX_PICTURES = 64
# How much of its length a side of a picture may lean and yet be called straight.
_STRAIGHT = 1e-3
# How much the two resolutions of a picture may differ before its pixels are made square.
_SQUARE = 1.02

# Part of what MuPDF says when malloc, calloc or realloc has failed.
_OUT_OF_MEMORY = "alloc"
# Rows that are encoded together.
_BAND = 64

# What makes a page more than pictures.
_NO_PICTURES = (
    "fill_path",
    "stroke_path",
    "clip_stroke_path",
    "fill_text",
    "stroke_text",
    "clip_text",
    "clip_stroke_text",
    "fill_shade",
    "fill_image_mask",
    "begin_mask",
    "begin_tile",
)

_EVERYWHERE = mupdf.FzRect(mupdf.FzRect.Fixed_INFINITE)
_IDENTITY = mupdf.FzMatrix()


class PdfError(Exception):
    """The document or a page of it cannot be shown."""

    def __init__(self, fault: Fault, message: str) -> None:
        super().__init__(message)
        self.fault = fault


def open_pdf(data: bytes, limits: Limits) -> pymupdf.Document:
    """Raises `PdfError`: no PDF, broken, encrypted, without pages or with too many, too much for the memory."""
    with failures_told("not a PDF, or a broken one", limits):
        document = pymupdf.open(stream=data, filetype="pdf")
        if not document.is_pdf:  # MuPDF knows better than to believe a type that is given
            raise PdfError(Fault.UNREADABLE, "not a PDF")
        if document.needs_pass:
            raise PdfError(Fault.ENCRYPTED, "the PDF is encrypted and needs a password")
        count = document.page_count
    if not count:
        raise PdfError(Fault.UNREADABLE, "the PDF has no pages, or is broken")
    if count > limits.max_pages:
        raise PdfError(
            Fault.TOO_LARGE, f"the PDF has {count} pages, more than the limit of {limits.max_pages} (OCR_PDF_MAX_PAGES)"
        )
    return document


def page_images(document: pymupdf.Document, layout: Layout, limits: Limits) -> Iterator[PageImage]:
    """The pages in order, each made when it is asked for. Raises `PdfError`."""
    for number in range(1, document.page_count + 1):
        with failures_told(f"page {number} of the PDF is broken", limits):
            page = document[number - 1]
            painting = page.get_displaylist().this
            width, height = page.rect.width, page.rect.height
            pictures = _pictures(painting, width, height, limits) if layout is Layout.PICTURES else []
            if not pictures:
                yield _whole_page(painting, number, width, height, limits)
            for index, picture in enumerate(pictures):
                yield picture.extracted(painting, number, index)


@contextmanager
def failures_told(what: str, limits: Limits) -> Iterator[None]:
    """Whatever MuPDF raises in the block as `PdfError`: the document is broken, as `what` says, or takes too much."""
    try:
        yield
    except PdfError:
        raise
    except Exception as error:
        if isinstance(error, MemoryError) or _OUT_OF_MEMORY in str(error):
            raise PdfError(
                Fault.TOO_LARGE, f"the PDF takes more memory than the limit of {limits.memory} bytes (OCR_PDF_MEMORY)"
            ) from error
        raise PdfError(Fault.UNREADABLE, what) from error


def _whole_page(painting: mupdf.FzDisplayList, number: int, width: float, height: float, limits: Limits) -> PageImage:
    largest = min(math.sqrt(limits.max_pixels / (width * height)), _MAX_SIDE / max(width, height))
    dpi = min(float(limits.dpi), math.floor(largest * _POINTS_PER_INCH * 10) / 10)
    if dpi < _MIN_DPI:
        raise PdfError(
            Fault.TOO_LARGE,
            f"page {number} of the PDF measures {width / _POINTS_PER_INCH:.0f} x {height / _POINTS_PER_INCH:.0f} "
            f"inches: even at {_MIN_DPI} dpi it is larger than the limit of {limits.max_pixels} pixels "
            f"(OCR_PDF_MAX_PIXELS) or {_MAX_SIDE} a side",
        )
    columns, rows = (max(1, int(side * dpi / _POINTS_PER_INCH)) for side in (width, height))
    pixels = _paint(painting, (0.0, 0.0, width, height), columns, rows, gray=False)
    bbox = (0.0, 0.0, round(width, 2), round(height, 2))
    return PageImage(number, 0, bbox, columns, rows, dpi, _png(pixels))


@dataclass(frozen=True)
class _Picture:
    """A picture on a page: where it is seen (x0, y0, x1, y1, points), and how many pixels it has there."""

    region: tuple[float, float, float, float]
    columns: int
    rows: int
    gray: bool
    jpeg: bytes | None
    """Its file, where that is exactly what is seen."""

    def extracted(self, painting: mupdf.FzDisplayList, number: int, index: int) -> PageImage:
        x0, y0, x1, y1 = self.region
        encoded = self.jpeg or _png(_paint(painting, self.region, self.columns, self.rows, self.gray))
        dpi = round(self.columns / (x1 - x0) * _POINTS_PER_INCH, 1)
        bbox = (round(x0, 2), round(y0, 2), round(x1 - x0, 2), round(y1 - y0, 2))
        return PageImage(number, index, bbox, self.columns, self.rows, dpi, encoded)


def _pictures(painting: mupdf.FzDisplayList, width: float, height: float, limits: Limits) -> list[_Picture]:
    """The pictures that a page consists of, from top to bottom.

    None where the page shows anything else, and where its pictures are but pieces, decoration, or turned at an angle.
    """
    survey = _Survey()
    mupdf.fz_run_display_list(painting, survey, _IDENTITY, _EVERYWHERE, survey.cookie)
    mupdf.fz_close_device(survey)
    if survey.mixed or not 0 < len(survey.images) <= _MAX_PICTURES:
        return []
    pictures = []
    for image, matrix in survey.images:
        picture = _placed(image, matrix, survey, width, height)
        if picture is None or picture.columns * picture.rows > limits.max_pixels:
            return []
        pictures.append(picture)
    if any(_touch(a.region, b.region) for a, b in combinations(pictures, 2)):
        return []
    return sorted(pictures, key=lambda picture: (picture.region[1], picture.region[0]))


def _placed(
    image: mupdf.FzImage, matrix: mupdf.FzMatrix, survey: "_Survey", width: float, height: float
) -> _Picture | None:
    """The picture that `matrix` puts on a page of `width` x `height` points, unless it is at an angle or too small."""
    # The unit square's upper sides become these vectors.
    across, down = (matrix.a, matrix.b), (matrix.c, matrix.d)
    upright = abs(across[1]) + abs(down[0]) < _STRAIGHT * (abs(across[0]) + abs(down[1]))
    lying = abs(across[0]) + abs(down[1]) < _STRAIGHT * (abs(across[1]) + abs(down[0]))
    if not (upright or lying):
        return None
    bounds = mupdf.fz_transform_rect(mupdf.FzRect(mupdf.FzRect.Fixed_UNIT), matrix)
    x0, y0 = max(bounds.x0, 0.0), max(bounds.y0, 0.0)
    x1, y1 = min(bounds.x1, width), min(bounds.y1, height)
    if min(x1 - x0, y1 - y0) < _MIN_PICTURE:
        return None
    # Pixels per point.
    stored = (image.w(), image.h()) if upright else (image.h(), image.w())
    horizontal, vertical = stored[0] / (bounds.x1 - bounds.x0), stored[1] / (bounds.y1 - bounds.y0)
    if not 1 / _SQUARE < horizontal / vertical < _SQUARE:
        horizontal = vertical = max(horizontal, vertical)
    columns, rows = max(1, round((x1 - x0) * horizontal)), max(1, round((y1 - y0) * vertical))
    if max(columns, rows) > _MAX_SIDE:
        return None
    as_stored = upright and matrix.a > 0 and matrix.d > 0 and (columns, rows) == stored
    region = (x0, y0, x1, y1)
    colours = _colorspace(image)
    return _Picture(
        region,
        columns,
        rows,
        gray=bool(colours and mupdf.fz_colorspace_is_gray(colours)),
        jpeg=_jpeg(image) if as_stored and survey.shows_unaltered(region) else None,
    )


def _touch(a: Sequence[float], b: Sequence[float]) -> bool:
    return all(a[i] < b[i + 2] + _MIN_GAP and b[i] < a[i + 2] + _MIN_GAP for i in (0, 1))


def _colorspace(image: mupdf.FzImage) -> mupdf.FzColorspace | None:
    colours = image.m_internal.colorspace
    return mupdf.FzColorspace(mupdf.ll_fz_keep_colorspace(colours)) if colours else None


def _jpeg(image: mupdf.FzImage) -> bytes | None:
    """The picture's file, where it is a JPEG that any decoder shows as this PDF does."""
    stored, colours = image.m_internal, _colorspace(image)
    compressed = mupdf.fz_compressed_image_buffer(image).m_internal
    if not (compressed and compressed.params.type == mupdf.FZ_IMAGE_JPEG and colours):
        return None
    if stored.mask or stored.use_decode or stored.use_colorkey or stored.imagemask:
        return None
    # A CMYK JPEG, or one whose numbers mean other colours, is shown as the PDF says only by those who know the PDF.
    if not (mupdf.fz_colorspace_is_gray(colours) or mupdf.fz_colorspace_is_rgb(colours)):
        return None
    data = mupdf.FzBuffer(mupdf.ll_fz_keep_buffer(compressed.buffer))
    alone = mupdf.fz_new_image_from_buffer(data)
    # Decoders turn a picture as its EXIF orientation says; a PDF does not know it. 0: none, 1: upright.
    if (alone.w(), alone.h()) != (image.w(), image.h()) or mupdf.fz_image_orientation(alone) > 1:
        return None
    return bytes(mupdf.fz_buffer_extract_copy(data))


class _Survey(mupdf.FzDevice2):
    """A device that paints nothing, and notes what there is to be painted.

    Invisible text, the layer that other OCR leaves on a scan, is not noted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.cookie = mupdf.FzCookie()
        self.mixed = False
        self.images: list[tuple[mupdf.FzImage, mupdf.FzMatrix]] = []
        self._altered = False
        self._clips: list[mupdf.FzRect] = []
        for operation in ("fill_image", "clip_path", "clip_image_mask", "begin_group", *_NO_PICTURES):
            getattr(self, f"use_virtual_{operation}")()

    def shows_unaltered(self, region: Sequence[float]) -> bool:
        """Whether nothing is cut off the region or blended with it."""
        x0, y0, x1, y1 = region
        slack = 0.5
        return not self._altered and all(
            clip.x0 - slack <= x0 and clip.y0 - slack <= y0 and clip.x1 + slack >= x1 and clip.y1 + slack >= y1
            for clip in self._clips
        )

    def fill_image(self, _: object, image: Any, matrix: Any, alpha: float, *__: object) -> None:
        self._altered |= alpha < 1
        self.images.append((mupdf.FzImage(mupdf.ll_fz_keep_image(image)), mupdf.FzMatrix(matrix)))

    def clip_path(self, _: object, path: Any, even_odd: int, matrix: Any, scissor: object) -> None:
        outline = mupdf.FzPath(mupdf.ll_fz_keep_path(path))
        transform = mupdf.FzMatrix(matrix)
        if mupdf.fz_path_is_rect(outline, transform):
            self._clips.append(mupdf.fz_bound_path(outline, mupdf.FzStrokeState(), transform))
        else:
            self._altered = True

    def clip_image_mask(self, *_: object) -> None:
        self._altered = True

    def begin_group(self, *arguments: Any) -> None:
        *_, blend_mode, alpha = arguments
        self._altered |= alpha < 1 or blend_mode != 0

    def _note_other(self, *_: object) -> int:
        self.mixed = True
        # Nothing further is wanted, and there may be much of it.
        self.cookie.m_internal.abort = 1
        return 0

    fill_path = stroke_path = fill_text = stroke_text = fill_shade = fill_image_mask = _note_other
    clip_stroke_path = clip_text = clip_stroke_text = begin_mask = begin_tile = _note_other


def _paint(
    painting: mupdf.FzDisplayList, region: Sequence[float], columns: int, rows: int, gray: bool
) -> pymupdf.Pixmap:
    """A region of a page (x0, y0, x1, y1, points), on white."""
    x0, y0, x1, y1 = region
    across, down = columns / (x1 - x0), rows / (y1 - y0)
    matrix = mupdf.FzMatrix(across, 0, 0, down, -x0 * across, -y0 * down)
    colours = mupdf.FzColorspace(mupdf.FzColorspace.Fixed_GRAY if gray else mupdf.FzColorspace.Fixed_RGB)
    pixels = mupdf.fz_new_pixmap_with_bbox(colours, mupdf.FzIrect(0, 0, columns, rows), mupdf.FzSeparations(), 0)
    mupdf.fz_clear_pixmap_with_value(pixels, 0xFF)
    cookie = mupdf.FzCookie()
    pymupdf.TOOLS.reset_mupdf_warnings()
    device = mupdf.fz_new_draw_device(matrix, pixels)
    mupdf.fz_run_display_list(painting, device, _IDENTITY, _EVERYWHERE, cookie)
    mupdf.fz_close_device(device)
    # MuPDF leaves out what it cannot paint. That is right for a damaged picture, as every viewer does it, and wrong
    # for one that is only too large for this process.
    if cookie.m_internal.errors and _OUT_OF_MEMORY in pymupdf.TOOLS.mupdf_warnings():
        raise MemoryError
    return pymupdf.Pixmap("raw", pixels)


def _png(pixels: pymupdf.Pixmap) -> bytes:
    """The pixels as a PNG, gray where they all are: 3 to 10 times faster than MuPDF's own, and a fifth larger."""
    samples, stride = pixels.samples_mv, pixels.stride

    def bands() -> Iterator[bytes]:
        for start in range(0, len(samples), _BAND * stride):
            yield bytes(samples[start : start + _BAND * stride])

    coloured = pixels.n == 3 and not all(band[::3] == band[1::3] == band[2::3] for band in bands())
    step = 3 if pixels.n == 3 and not coloured else 1
    row = stride // step
    squeeze = zlib.compressobj(level=1)
    parts = []
    for band in bands():
        plain = band[::step]
        # Each row begins with the number of its filter (RFC 2083, section 6): none.
        parts.append(squeeze.compress(b"".join(b"\0" + plain[i : i + row] for i in range(0, len(plain), row))))
    parts.append(squeeze.flush())
    # 8 bits a sample; colour type 2 is RGB, 0 is gray.
    header = struct.pack(">IIBBBBB", pixels.width, pixels.height, 8, 2 if coloured else 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", b"".join(parts)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
