"""Text that was read, laid invisibly over the pages it was read from: the document then can be searched and copied.

MuPDF opens the document, and a hostile file may hang or crash it: to be run in a process of its own.
"""

import io
import struct
import unicodedata
from collections.abc import Iterable, Sequence

import pymupdf
from PIL import Image, ImageOps

from adapter.labels import TextLayer
from adapter.pixels import flat

# Points of the longer side of a page that is made of a picture: A4's.
_LONGER_SIDE = 842.0
# MuPDF knows them, and keeps their files as they are.
_KEPT_FORMATS = frozenset({"JPEG", "PNG"})
# A quad so much higher than wide holds a line that runs downwards.
_DOWNWARDS = 1.5
# Of a line's box; beyond it the document has text of its own there.
_COVERED = 0.5
# Of the font: in thousandths of its size, above and below the base line.
_ASCENT, _DESCENT = 800, -200
_WIDE, _NARROW = 1000, 500
# A code has two bytes, and 0 is no character.
_MAX_CODES = 0xFFFF

_Point = tuple[float, float]


def searchable_pdf(file: bytes, layers: Sequence[TextLayer]) -> bytes:
    """The PDF or encoded picture with the text over it, as a PDF.

    A picture becomes one page with the longer side of A4. Raises what PyMuPDF and Pillow raise of a broken file, and
    `ValueError` where a layer names a page that is not there.
    """
    document = pymupdf.open(stream=file, filetype="pdf") if b"%PDF-" in file[:1024] else _of_picture(file)
    return with_text(document, layers)


def with_text(document: pymupdf.Document, layers: Sequence[TextLayer]) -> bytes:
    """The PDF with the text over its pages. Lines that lie over text of the document's own are left out.

    Raises `ValueError` where a layer names a page that is not there, and where all of them together have more than
    65535 different characters.
    """
    beyond = [layer.page for layer in layers if not 1 <= layer.page <= document.page_count]
    if beyond:
        raise ValueError(f"page {beyond[0]} is not among the {document.page_count} of the document")
    font = _Font(character for layer in layers for line in layer.labels for character in line.text)
    overlay = pymupdf.open()
    reference = font.added_to(overlay)
    for number in sorted({layer.page for layer in layers}):
        page = document[number - 1]
        own = [pymupdf.Rect(word[:4]) for word in page.get_text("words")]
        operators = [
            operator for layer in layers if layer.page == number for operator in _operators(layer, page, own, font)
        ]
        if operators:
            rotation = page.rotation
            page.set_rotation(0)
            _add_page(overlay, page.rect, operators, reference)
            page.show_pdf_page(page.rect, overlay, -1)
            page.set_rotation(rotation)
    return bytes(document.tobytes())


def _of_picture(picture: bytes) -> pymupdf.Document:
    image = Image.open(io.BytesIO(picture))
    kind = image.format
    if kind not in _KEPT_FORMATS:
        encoded = io.BytesIO()
        flat(ImageOps.exif_transpose(image)).save(encoded, "PNG")
        picture, kind = encoded.getvalue(), "PNG"
    # Upright, as the EXIF orientation says.
    shown = pymupdf.open(stream=pymupdf.open(stream=picture, filetype=kind.lower()).convert_to_pdf())
    scale = _LONGER_SIDE / max(shown[0].rect.width, shown[0].rect.height)
    document = pymupdf.open()
    page = document.new_page(width=shown[0].rect.width * scale, height=shown[0].rect.height * scale)
    page.show_pdf_page(page.rect, shown, 0)
    return document


def _operators(layer: TextLayer, page: pymupdf.Page, own: Sequence[pymupdf.Rect], font: "_Font") -> Iterable[str]:
    """What writes the lines on the page before it is turned, but for those that lie over text that is there."""
    left, top, width, height = layer.bbox or (0.0, 0.0, page.rect.width, page.rect.height)
    page_height = (page.rect * page.derotation_matrix).height
    for line in layer.labels:
        if not line.text:
            continue
        shown = [(left + x * width / layer.width, top + y * height / layer.height) for x, y in line.quad]
        corners = [tuple(pymupdf.Point(point) * page.derotation_matrix) for point in shown]
        if not _is_covered(corners, own):
            yield _operator(line.text, corners, page_height, font)


def _is_covered(corners: Sequence[_Point], own: Sequence[pymupdf.Rect]) -> bool:
    xs, ys = zip(*corners, strict=True)
    box = pymupdf.Rect(min(xs), min(ys), max(xs), max(ys))
    # Words do not lie over each other.
    return sum((box & word).get_area() for word in own) > _COVERED * box.get_area()


def _operator(text: str, corners: Sequence[_Point], page_height: float, font: "_Font") -> str:
    """One text object (ISO 32000-1, 9.4): the matrix makes a font of size 1 fill the quad."""
    # PDF's y axis runs upwards.
    p0, p1, p2, p3 = ((x, page_height - y) for x, y in corners)
    if _distance(p0, p3) > _DOWNWARDS * _distance(p0, p1):
        p0, p1, p2, p3 = p1, p2, p3, p0
    advance = font.advance(text)
    along = ((p1[0] - p0[0]) / advance, (p1[1] - p0[1]) / advance)
    upwards = (p0[0] - p3[0], p0[1] - p3[1])
    x, y = (p3[i] - upwards[i] * _DESCENT / 1000 for i in (0, 1))
    matrix = " ".join(f"{value:.4f}" for value in (*along, *upwards, x, y))
    # Rendering mode 3: neither filled nor stroked.
    return f"BT 3 Tr /F 1 Tf {matrix} Tm <{font.codes(text)}> Tj ET"


def _distance(a: _Point, b: _Point) -> float:
    return ((a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2) ** 0.5


def _add_page(document: pymupdf.Document, size: pymupdf.Rect, operators: Sequence[str], font: int) -> None:
    page = document.new_page(width=size.width, height=size.height)
    document.xref_set_key(page.xref, "Resources", f"<< /Font << /F {font} 0 R >> >>")
    contents = _stream(document, "\n".join(operators).encode("ascii"))
    document.xref_set_key(page.xref, "Contents", f"{contents} 0 R")


class _Font:
    """A font whose glyphs are all empty, with a code for each character that is written.

    No font at hand has all the characters that the models read, and one that has most of them is some MB.
    """

    def __init__(self, characters: Iterable[str]) -> None:
        self._codes = {character: code for code, character in enumerate(dict.fromkeys(characters), 1)}
        if len(self._codes) > _MAX_CODES:
            raise ValueError(f"the text has {len(self._codes)} different characters, more than {_MAX_CODES}")

    def codes(self, text: str) -> str:
        """In hexadecimal, two bytes each."""
        return "".join(f"{self._codes[character]:04X}" for character in text)

    def advance(self, text: str) -> float:
        """The text's width at size 1."""
        return sum(map(_width, text)) / 1000

    def added_to(self, document: pymupdf.Document) -> int:
        """Its cross-reference number in the document."""
        program = _stream(document, _empty_truetype())
        to_unicode = _stream(document, self._to_unicode().encode("ascii"))
        # Every character is glyph 0.
        glyphs = _stream(document, bytes(2 * (len(self._codes) + 1)))
        descriptor = _object(
            document,
            f"<< /Type /FontDescriptor /FontName /Invisible /Flags 4 /FontBBox [0 {_DESCENT} {_WIDE} {_ASCENT}] "
            f"/ItalicAngle 0 /Ascent {_ASCENT} /Descent {_DESCENT} /CapHeight {_ASCENT} /StemV 80 "
            f"/FontFile2 {program} 0 R >>",
        )
        widths = " ".join(f"{code} [{_width(character)}]" for character, code in self._codes.items())
        descendant = _object(
            document,
            "<< /Type /Font /Subtype /CIDFontType2 /BaseFont /Invisible "
            "/CIDSystemInfo << /Registry (Adobe) /Ordering (Identity) /Supplement 0 >> "
            f"/FontDescriptor {descriptor} 0 R /DW {_WIDE} /W [{widths}] /CIDToGIDMap {glyphs} 0 R >>",
        )
        return _object(
            document,
            "<< /Type /Font /Subtype /Type0 /BaseFont /Invisible /Encoding /Identity-H "
            f"/DescendantFonts [{descendant} 0 R] /ToUnicode {to_unicode} 0 R >>",
        )

    def _to_unicode(self) -> str:
        """The CMap that gives the characters back (ISO 32000-1, 9.10.3)."""
        entries = [f"<{code:04X}> <{character.encode('utf-16-be').hex()}>" for character, code in self._codes.items()]
        # No section may have more.
        sections = [entries[start : start + 100] for start in range(0, len(entries), 100)]
        return "\n".join(
            [
                "/CIDInit /ProcSet findresource begin 12 dict begin begincmap",
                "/CIDSystemInfo << /Registry (Adobe) /Ordering (UCS) /Supplement 0 >> def",
                "/CMapName /Adobe-Identity-UCS def /CMapType 2 def",
                "1 begincodespacerange <0000> <FFFF> endcodespacerange",
                *("\n".join([f"{len(section)} beginbfchar", *section, "endbfchar"]) for section in sections),
                "endcmap CMapName currentdict /CMap defineresource pop end end",
            ]
        )


def _width(character: str) -> int:
    return _WIDE if unicodedata.east_asian_width(character) in "WF" else _NARROW


def _empty_truetype() -> bytes:
    """A TrueType font with one glyph, which is empty: the tables that PDF asks for (ISO 32000-1, 9.9)."""
    tables = {
        b"glyf": bytes(4),
        b"head": struct.pack(
            ">IIIIHHqqhhhhHHhhh",
            *(0x10000, 0x10000, 0, 0x5F0F3CF5, 0, 1000, 0, 0),
            *(0, _DESCENT, _WIDE, _ASCENT, 0, 8, 2, 0, 0),
        ),
        b"hhea": struct.pack(">IhhhH11hH", 0x10000, _ASCENT, _DESCENT, 0, _WIDE, *[0] * 11, 1),
        b"hmtx": struct.pack(">Hh", _WIDE, 0),
        b"loca": struct.pack(">HH", 0, 0),
        b"maxp": struct.pack(">IH13H", 0x10000, 1, *[0] * 13),
    }
    # For a binary search among 6 tables: 16 times the largest power of 2, its logarithm, and the rest.
    directory = struct.pack(">IHHHH", 0x10000, len(tables), 64, 2, 32)
    offset = len(directory) + 16 * len(tables)
    body = b""
    for tag, table in tables.items():
        directory += struct.pack(">4sIII", tag, _checksum(table), offset + len(body), len(table))
        body += table + bytes(-len(table) % 4)
    return directory + body


def _checksum(table: bytes) -> int:
    padded = table + bytes(-len(table) % 4)
    return sum(struct.unpack(f">{len(padded) // 4}I", padded)) & 0xFFFFFFFF


def _object(document: pymupdf.Document, definition: str) -> int:
    number = int(document.get_new_xref())
    document.update_object(number, definition)
    return number


def _stream(document: pymupdf.Document, data: bytes) -> int:
    number = _object(document, "<< >>")
    document.update_stream(number, data, new=True)
    return number
