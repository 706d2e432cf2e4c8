"""Where a picture comes from: base64 text, an upload or a raw body, to bytes, under one policy of limits."""

import base64
import binascii
from dataclasses import dataclass

from fastapi import UploadFile

from adapter.errors import InvalidRequestError, TooLargeError
from adapter.settings import Settings

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
    if len(digits) % 4 == 1:
        raise InvalidRequestError(f"{name}: not base64: {len(digits)} characters cannot be, the text was cut")
    try:
        # The decoder ignores no character when told to validate, and wants the padding whole.
        standard = digits.replace("-", "+").replace("_", "/").encode("ascii")
        decoded = base64.b64decode(standard + b"=" * (-len(digits) % 4), validate=True)
    except UnicodeEncodeError as error:
        stray = digits[error.start]
        raise InvalidRequestError(f"{name}: not base64: {stray!r} is not of its alphabet") from error
    except binascii.Error as error:
        raise InvalidRequestError(f"{name}: not base64: {error}") from error
    return _not_empty(decoded, name)


def _not_empty(data: bytes, name: str) -> bytes:
    if not data:
        raise InvalidRequestError(f"{name}: empty")
    return data


class Sources:
    """What a request only names, a URL or a path, to bytes."""

    def __init__(self, settings: Settings) -> None:
        """Must be made inside the running event loop."""

    async def close(self) -> None:
        pass

    async def fetch_url(self, url: str, name: str, limit: FileLimit) -> bytes:
        """The bytes behind an http(s) URL in the field `name`.

        Raises `InvalidRequestError`, `RefusedSourceError`, `UnreachableSourceError`, `TooLargeError`.
        """
        raise NotImplementedError

    async def read_path(self, path: str, name: str, limit: FileLimit) -> bytes:
        """The bytes of a file below OCR_IMAGE_ROOT, named in the field `name`; a relative path begins there.

        Raises `InvalidRequestError`, `RefusedSourceError`, `UnreachableSourceError`, `TooLargeError`.
        """
        raise NotImplementedError

    async def url_or_base64(self, text: str, name: str, limit: FileLimit) -> bytes:
        """What the field `name` holds: a URL where it begins as one (`scheme://`), else base64."""
        raise NotImplementedError
