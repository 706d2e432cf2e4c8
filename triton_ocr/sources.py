"""What may be read (arrays, files, folders, patterns, URLs, standard input) to encoded files."""

from __future__ import annotations

import glob
import io
import os
import string
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from triton_ocr.errors import InputError

# Of a folder's files, those that are read.
SUFFIXES = frozenset(
    (*(".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".jp2"), *(".pbm", ".pgm", ".ppm", ".pdf"))
)
STDIN = "-"
_URL_TIMEOUT = 60.0


@dataclass(frozen=True)
class Source:
    """One file to be read.

    Attributes:
        input_path: its path or URL; None where it has none.
        name: what files about it are named after.
        load: its bytes. Raises InputError.
    """

    input_path: str | None
    name: str
    load: Callable[[], bytes]

    @property
    def label(self) -> str:
        """What it is called in messages."""
        return self.input_path or self.name

    @property
    def stem(self) -> str:
        return Path(self.name).stem


def sources(x: Any) -> Iterator[Source]:
    """The files behind an array, a path, a URL, a folder, a dict with one of those as "img", or a list of those.

    An array is uint8, [H, W] grey, [H, W, 3] B, G, R or [H, W, 4] B, G, R, A, as OpenCV reads pictures. A folder stands
    for all pictures and PDFs below it, in order of their names; what is not there, or empty, becomes a source that
    cannot be loaded. Raises TypeError for anything else, and ValueError for an array of another shape.
    """
    if isinstance(x, np.ndarray):
        yield _array(x)
    elif isinstance(x, dict):
        if set(x) != {"img"}:
            raise ValueError(f'a dict to be read has one key, "img", not {sorted(map(str, x))}')
        yield from sources(x["img"])
    elif isinstance(x, (list, tuple)):
        for each in x:
            yield from sources(each)
    elif isinstance(x, (str, Path)):
        yield from _named(str(x))
    else:
        raise TypeError(f"an array, path, URL, folder, dict or list of those can be read, but no {type(x).__name__}")


def _named(name: str) -> Iterator[Source]:
    path = Path(name)
    if name == STDIN:
        yield Source(None, "stdin", _stdin)
    elif name.lower().startswith(("http://", "https://")):
        yield Source(name, _file_name(name), lambda: _fetched(name))
    elif os.path.isdir(path):  # noqa: PTH112 - Path's raises for a name that is too long, or may not be looked at
        yield from _below(path, name)
    elif not os.path.exists(path) and glob.has_magic(name):  # noqa: PTH110 - as above
        found = [Path(file) for file in sorted(glob.glob(name, recursive=True))]  # noqa: PTH207 - Path.glob takes no absolute pattern
        yield from _files([file for file in found if _is_file(file)], name)
    else:
        yield _file(path, name)


def _below(folder: Path, name: str) -> Iterator[Source]:
    """Its files, hidden ones aside; then the folders that cannot be listed, since files may lie in them."""
    files: list[Path] = []
    unlisted: list[OSError] = []
    for where, folders, names in os.walk(folder, onerror=unlisted.append):
        folders[:] = [each for each in folders if not _is_hidden(each)]
        files += [Path(where, each) for each in names if _is_wanted(Path(where, each))]
    if files or not unlisted:
        yield from _files(sorted(files), name)
    for error in unlisted:
        said = f"{error.filename}: {error.strerror}"
        yield Source(str(error.filename), Path(error.filename).name, partial(_refuse, said))


def _is_wanted(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES and not _is_hidden(file.name) and _is_file(file)


def _is_hidden(name: str) -> bool:
    return name.startswith(".")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        # What may not be looked at is told when it is loaded.
        return True


def _files(files: list[Path], searched: str) -> Iterator[Source]:
    if not files:
        yield Source(
            searched, Path(searched).name or searched, lambda: _refuse(f"{searched}: no pictures or PDFs there")
        )
    for file in files:
        yield _file(file, str(file))


def _file(path: Path, name: str) -> Source:
    def load() -> bytes:
        try:
            data = path.read_bytes()
        except (OSError, ValueError) as error:
            raise InputError(f"{name}: {getattr(error, 'strerror', None) or error}") from error
        return data or _refuse(f"{name}: empty")

    return Source(name, path.name, load)


def _refuse(message: str) -> bytes:
    raise InputError(message)


def _stdin() -> bytes:
    return sys.stdin.buffer.read() or _refuse("stdin: empty")


def _file_name(url: str) -> str:
    try:
        path = urllib.parse.urlsplit(url).path
    except ValueError:
        # What is wrong with it is told when it is loaded.
        path = ""
    return Path(urllib.parse.unquote(path)).name or "url"


def _sent(url: str) -> str:
    """A URL as people write it, with blanks and in any script, as HTTP takes it. Raises ValueError."""
    parts = urllib.parse.urlsplit(url)
    host, colon, port = parts.netloc.partition(":")
    ascii_host = parts._replace(netloc=host.encode("idna").decode() + colon + port)
    # Punctuation is as it should be already, % above all.
    return urllib.parse.quote(ascii_host.geturl(), safe=string.punctuation)


def _fetched(url: str) -> bytes:
    try:
        request = urllib.request.Request(_sent(url), headers={"User-Agent": "triton-ocr"})  # noqa: S310 - http or https
        with urllib.request.urlopen(request, timeout=_URL_TIMEOUT) as response:  # noqa: S310
            data = bytes(response.read())
    except urllib.error.HTTPError as error:
        raise InputError(f"{url}: HTTP {error.code} {error.reason}") from error
    except (OSError, ValueError, HTTPException) as error:
        raise InputError(f"{url}: {getattr(error, 'reason', None) or error}") from error
    return data or _refuse(f"{url}: empty")


def _array(array: np.ndarray[Any, Any]) -> Source:
    if array.dtype != np.uint8:
        raise ValueError(f"a picture as an array has uint8 pixels, not {array.dtype}")
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))) or 0 in array.shape:
        raise ValueError(f"a picture as an array is [H, W], [H, W, 3] or [H, W, 4], not {list(array.shape)}")
    # OpenCV's order to Pillow's.
    pixels = array if array.ndim == 2 else array[..., [2, 1, 0, 3][: array.shape[2]]]

    def load() -> bytes:
        encoded = io.BytesIO()
        # Speed before size.
        Image.fromarray(np.ascontiguousarray(pixels)).save(encoded, "PNG", compress_level=1)
        return encoded.getvalue()

    return Source(None, "array", load)
