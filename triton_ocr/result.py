"""What was read off one picture or page, as PaddleX gives it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from PIL import Image

from triton_ocr.errors import DrawingError, OCRError

_JPEG = (".jpg", ".jpeg")
_SUFFIXES = (*_JPEG, ".png", ".bmp", ".webp", ".tif", ".tiff")


class OCRResult(dict[str, Any]):
    """`input_path` (None where it was no file), `dt_polys` (four corners each, in pixels of the upright picture,
    clockwise from the text's upper left), `dt_scores`, `rec_text`, `rec_score`: one entry of each list a line. A page
    of a PDF also has its `page_index`, from 0.

    Attributes:
        width, height: of the upright picture, in pixels.
        drawing: the picture with the quads over it, and beside it the texts, as a JPEG; None where none was drawn.
        stem: how the files are called that are saved into a folder.
        suffix: that of the input file.
    """

    def __init__(
        self,
        values: dict[str, Any],
        *,
        width: int,
        height: int,
        drawing: bytes | None,
        in_order: str | None,
        stem: str,
        suffix: str,
    ) -> None:
        super().__init__(values)
        self.width = width
        self.height = height
        self.drawing = drawing
        self._in_order = in_order
        self.stem = stem
        self.suffix = suffix

    @property
    def text(self) -> str:
        """All of it, in reading order where that was asked for, else a line of text a line."""
        lines = "\n".join(self["rec_text"]) if self._in_order is None else self._in_order
        return f"{lines}\n" if lines else ""

    def print(self, format_json: bool = True, indent: int = 4, ensure_ascii: bool = False) -> None:
        """Print it: as JSON, or as Python writes a dict on one line, for which the other two do not count."""
        print(self._json(indent, ensure_ascii) if format_json else dict(self))

    def save_to_json(self, save_path: str | Path, indent: int = 4, ensure_ascii: bool = False) -> Path:
        """Save it as `save_path`, where that ends in .json; else into that folder, named after the input file.

        Returns the file. Raises OCRError where it would take the place of the input.
        """
        path = self._path(save_path, (".json",), ".json")
        path.write_text(self._json(indent, ensure_ascii) + "\n", encoding="utf-8")
        return path

    def save_to_img(self, save_path: str | Path) -> Path:
        """Save the drawing as `save_path`, where that ends like a picture; else into that folder, named after the input
        file, as a picture of its type (a JPEG where it is none that is written).

        Returns the file. Raises DrawingError where there is no drawing, OCRError where it would take the place of the
        input.
        """
        if self.drawing is None:
            raise DrawingError(
                f"{self['input_path'] or self.stem}: no picture was drawn: of PDFs of more than 50 pages none are"
            )
        path = self._path(save_path, _SUFFIXES, self.suffix if self.suffix.lower() in _SUFFIXES else ".jpg")
        if path.suffix.lower() in _JPEG:
            path.write_bytes(self.drawing)
        else:
            Image.open(io.BytesIO(self.drawing)).save(path)
        return path

    def _json(self, indent: int, ensure_ascii: bool) -> str:
        text = json.dumps(self, indent=indent, ensure_ascii=ensure_ascii)
        # The bytes of a file's name that are no UTF-8 are surrogates in Python, for which JSON has the same escapes.
        return text.encode(errors="backslashreplace").decode()

    def _path(self, save_path: str | Path, suffixes: tuple[str, ...], suffix: str) -> Path:
        path = Path(save_path)
        if path.suffix.lower() not in suffixes or path.is_dir():
            path /= f"{self.stem}{suffix}"
        return place(path, self["input_path"])


def place(path: Path, input_path: str | None) -> Path:
    """The path of a file to be saved about that input, in a folder that is there now.

    Raises OCRError where it would take the place of the input, under whatever name.
    """
    if input_path is not None and _is_same(path, input_path):
        raise OCRError(f"{path}: is what was read; save somewhere else")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _is_same(path: Path, other: str) -> bool:
    try:
        return path.samefile(other)
    except (OSError, ValueError):
        # One of them is not there, or a URL.
        return False
