"""The pictures of a run: labelled ones from a folder, or rendered ones; and copies of them that no cache can know."""

from __future__ import annotations

import itertools
import json
import os
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from scripts.benchmark.errors import BenchmarkError

Point = tuple[float, float]

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_HEADER_END = 33  # signature (8), and IHDR, which comes first and has 13 bytes: 4 + 4 + 13 + 4
_JPEG = b"\xff\xd8"


@dataclass(frozen=True)
class Line:
    """A line of text; `quad` has four corners in pixels of the upright picture, clockwise from the text's top-left, or
    is None where nobody knows them. `ignore` marks a line of the truth that nobody can be asked to read."""

    text: str
    quad: tuple[Point, ...] | None = None
    ignore: bool = False


@dataclass(frozen=True)
class Truth:
    """What stands on a picture.

    Attributes:
        lines: every line.
        ignored: quads of regions whose text does not count.
        fold_case: whether the truth does not tell capitals from small letters.
    """

    lines: tuple[Line, ...]
    ignored: tuple[tuple[Point, ...], ...] = ()
    fold_case: bool = False


@dataclass(frozen=True)
class Picture:
    """An encoded picture (JPEG or PNG), and what stands on it."""

    name: str
    data: bytes = field(repr=False)
    truth: Truth = field(repr=False)


class Copies:
    """Makes copies of pictures whose bytes never occur twice, though their pixels do."""

    def __init__(self) -> None:
        self._run = os.urandom(8).hex()
        self._number = itertools.count()

    def of(self, pictures: Iterable[Picture]) -> list[Picture]:
        """One fresh copy of each."""
        return [
            replace(picture, data=with_comment(picture.data, f"{self._run}-{next(self._number)}"))
            for picture in pictures
        ]


def with_comment(data: bytes, comment: str) -> bytes:
    """The file with a comment in it: a COM segment (JPEG, ITU-T T.81 B.2.4.5) or a tEXt chunk (PNG, 11.3.3.2).

    Raises:
        BenchmarkError: it is neither a JPEG nor a PNG.
    """
    text = comment.encode("ascii")
    if data.startswith(_JPEG):
        place = _after_application_segments(data)
        return data[:place] + b"\xff\xfe" + struct.pack(">H", len(text) + 2) + text + data[place:]
    if data.startswith(_PNG):
        body = b"tEXtComment\0" + text
        chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        return data[:_PNG_HEADER_END] + chunk + data[_PNG_HEADER_END:]
    raise BenchmarkError("only JPEG and PNG files can be told apart by a comment")


def _after_application_segments(data: bytes) -> int:
    """Where APP0 to APP15 end: readers look for JFIF and EXIF right behind the start of the image."""
    place = 2
    while data[place] == 0xFF and 0xE0 <= data[place + 1] <= 0xEF:
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return place


def labelled(folder: Path) -> list[Picture]:
    """The pictures of a folder whose text is known, in the order of its `manifest.jsonl`.

    Each line of that file is a JSON object: `file`, relative to the folder; `lines`, each with `text` and `poly` (four
    points or null) and, for what nobody can read, `ignore`; where they apply `ignore` (quads), `case_insensitive`.
    Only JPEG and PNG pictures with readable text are taken.

    Raises:
        BenchmarkError: there is no such file, or nothing in it that can be used.
    """
    manifest = folder / "manifest.jsonl"
    try:
        entries = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise BenchmarkError(f"{manifest} cannot be read: {error.strerror}") from error
    pictures = [
        Picture(entry["file"], data, _truth(entry))
        for entry in entries
        if _has_text(entry) and (data := (folder / entry["file"]).read_bytes()).startswith((_JPEG, _PNG))
    ]
    if not pictures:
        raise BenchmarkError(f"{manifest} names no JPEG or PNG picture whose text it gives")
    return pictures


def _has_text(entry: dict[str, Any]) -> bool:
    lines = entry.get("lines") or []
    return bool(lines) and all(line.get("ignore") or line["text"] is not None for line in lines)


def _truth(entry: dict[str, Any]) -> Truth:
    return Truth(
        tuple(Line(line["text"] or "", quad(line.get("poly")), bool(line.get("ignore"))) for line in entry["lines"]),
        tuple(corners for region in entry.get("ignore") or [] if (corners := quad(region))),
        bool(entry.get("case_insensitive")),
    )


def quad(points: Sequence[Sequence[float]] | None) -> tuple[Point, ...] | None:
    """Points as they stand in JSON."""
    return tuple((float(x), float(y)) for x, y in points) if points else None


def spread(pictures: Sequence[Picture], count: int) -> list[Picture]:
    """So many of them, from all parts of the list: neighbours are alike.

    Raises:
        BenchmarkError: there are not so many.
    """
    if count > len(pictures):
        raise BenchmarkError(f"{count} pictures are wanted, but there are {len(pictures)}")
    return [pictures[(2 * place + 1) * len(pictures) // (2 * count)] for place in range(count)]


def cycled(pictures: Sequence[Picture], count: int) -> Iterator[Picture]:
    """So many pictures, beginning again at the end."""
    return itertools.islice(itertools.cycle(pictures), count)
