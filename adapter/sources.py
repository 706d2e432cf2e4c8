"""Where a file comes from: base64, an upload, a raw body, a URL or a path, to bytes, under one policy of limits."""

import asyncio
import base64
import os
import re
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

from fastapi import UploadFile
from starlette.formparsers import MultiPartParser

from adapter.errors import InvalidRequestError, RefusedSourceError, TooLargeError, UnreachableSourceError
from adapter.settings import Settings
from adapter.web import Web, WebPolicy

# Uploads stay in memory, which is bounded: no disk has to be writable, and none can be full.
MultiPartParser.spool_max_size = sys.maxsize

_SCHEME = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]*):")

_NO_DIGIT = re.compile(r"[^A-Za-z0-9+/_-]")

# What a request may hold beside its file: the other fields, part headers and boundaries, JSON's own characters.
_ENVELOPE = 64 * 1024
# MIME breaks base64 after 76 characters, and JSON writes such a break (\r\n) with four.
_MIME_LINE = 76
_MIME_LINE_IN_JSON = 80


@dataclass(frozen=True)
class FileLimit:
    """How many bytes a file may have, and the setting that says so."""

    size: int
    setting: str

    @property
    def body(self) -> int:
        """Bytes of the largest request body that can carry such a file: in base64, in MIME lines, within JSON."""
        return -(-self.size // 3) * 4 * _MIME_LINE_IN_JSON // _MIME_LINE + _ENVELOPE

    def check(self, size: int, name: str) -> None:
        """Raise `TooLargeError` when a file of `size` bytes, in the field `name`, is over the limit."""
        if size > self.size:
            raise TooLargeError(f"{name}: larger than the limit of {self.size} bytes ({self.setting})")


async def from_upload(upload: UploadFile, name: str, limit: FileLimit) -> bytes:
    """The bytes of a multipart file in the field `name`. Raises `InvalidRequestError` when empty, `TooLargeError`."""
    # The size is known from the parser, so a file over the limit is never brought into memory.
    limit.check(upload.size or 0, name)
    return _not_empty(await upload.read(), name)


def from_body(body: bytes, limit: FileLimit) -> bytes:
    """The bytes of a file that is the whole body. Raises `InvalidRequestError` when empty, `TooLargeError`."""
    limit.check(len(body), "body")
    return _not_empty(body, "body")


def from_base64(text: str, name: str, limit: FileLimit) -> bytes:
    """The bytes behind base64 in the field `name`.

    Takes a `data:` URL too, the URL-safe alphabet (RFC 4648, section 5), line breaks, and text whose padding was left
    off. Raises `InvalidRequestError`, which says what is wrong, and `TooLargeError`.
    """
    if text[:5].lower() == "data:":
        header, comma, text = text.partition(",")
        if not comma or not header.lower().endswith(";base64"):
            raise InvalidRequestError(f"{name}: a data: URL must be of the form data:[type];base64,[data]")
    compact = "".join(text.split())
    digits = compact.rstrip("=")
    limit.check(len(digits) * 3 // 4, name)
    # The decoder ignores no character when told to validate, and wants the padding whole.
    standard = digits.replace("-", "+").replace("_", "/") + "=" * (-len(digits) % 4)
    try:
        decoded = base64.b64decode(standard, validate=True)
    except ValueError as error:
        stray = _NO_DIGIT.search(digits)
        fault = f"{stray[0]!r} is not of its alphabet" if stray else f"{len(digits)} digits cannot be, the text was cut"
        raise InvalidRequestError(f"{name}: not base64: {fault}") from error
    return _not_empty(decoded, name)


def _not_empty(data: bytes, name: str) -> bytes:
    if not data:
        raise InvalidRequestError(f"{name}: empty")
    return data


class Sources:
    """What a request only names, a URL or a path, to bytes."""

    def __init__(self, settings: Settings) -> None:
        """Must be made inside the running event loop."""
        self._web = Web(WebPolicy(frozenset(settings.url_allow), settings.url_timeout, settings.url_max_redirects))
        self._root = settings.image_root

    async def close(self) -> None:
        await self._web.close()

    async def fetch_url(self, url: str, name: str, limit: FileLimit) -> bytes:
        """The bytes behind an http(s) URL in the field `name`.

        Raises `InvalidRequestError`, `RefusedSourceError`, `UnreachableSourceError`, `TooLargeError`.
        """
        return _not_empty(await self._web.fetch(url.strip(), name, lambda size: limit.check(size, name)), name)

    async def read_path(self, path: str, name: str, limit: FileLimit) -> bytes:
        """The bytes of a file below OCR_IMAGE_ROOT, named in the field `name`; a relative path begins there.

        Raises `InvalidRequestError`, `RefusedSourceError`, `UnreachableSourceError`, `TooLargeError`.
        """
        if self._root is None:
            raise RefusedSourceError(
                f"{name}: paths are not read here; OCR_IMAGE_ROOT can name a folder below which they are"
            )
        return _not_empty(await asyncio.to_thread(_read_below, self._root, path, name, limit), name)

    async def url_or_base64(self, text: str, name: str, limit: FileLimit) -> bytes:
        """What the field `name` holds: a URL where it begins with a scheme (but `data:`), else base64.

        Raises what `fetch_url` and `from_base64` raise.
        """
        scheme = _SCHEME.match(text)
        if scheme and scheme[1].lower() != "data":
            return await self.fetch_url(text, name, limit)
        return from_base64(text, name, limit)


def _read_below(root: Path, path: str, name: str, limit: FileLimit) -> bytes:
    try:
        base = root.resolve(strict=True)
        # Where it leads once every link is followed, in the root's own name too.
        target = (base / path).resolve()
        if not target.is_relative_to(base):
            raise RefusedSourceError(f"{name}: the path leads out of the folder whose files may be read")
        # A link that takes its place from now on is not followed, and a pipe not waited for.
        descriptor = os.open(target, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError, RuntimeError) as error:
        raise UnreachableSourceError(f"{name}: there is no such file, or it may not be read") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise UnreachableSourceError(f"{name}: not a regular file")
        limit.check(status.st_size, name)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            # One byte more than allowed, should it be growing.
            data = file.read(limit.size + 1)
    finally:
        os.close(descriptor)
    limit.check(len(data), name)
    return data
