"""A client of the adapter's `POST /upload`, on the standard library alone."""

from __future__ import annotations

import json
import secrets
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Seconds; the server answers within its own limit, or with an error.
TIMEOUT = 120.0

# The server is on this machine or named outright: proxies of the environment are for the rest of the world.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class UploadError(Exception):
    """The server refused the picture, could not read it, or was not there; the message says which."""


def answers(url: str, timeout: float = 5.0) -> bool:
    """Whether GET of the URL is answered with 200."""
    try:
        with _OPENER.open(url, timeout=timeout) as response:
            return bool(response.status == 200)
    except (OSError, ValueError):
        return False


def is_ready(server: str) -> bool:
    """Whether the server (a base URL) can read pictures now."""
    return answers(f"{server}/ping")


def upload(server: str, picture: Path, options: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Read one picture.

    Args:
        server: base URL, such as `http://127.0.0.1:8080`.
        picture: the file to send.
        options: form fields of `/upload`, such as `profile`.

    Returns:
        The answer, as documented: `results`, `processing_time`, `image_size`.

    Raises:
        UploadError: there was no answer, or it was an error.
        OSError: the file cannot be read.
    """
    body, content_type = multipart(picture.name, picture.read_bytes(), options or {})
    request = urllib.request.Request(f"{server}/upload", body, {"Content-Type": content_type})  # noqa: S310
    try:
        with _OPENER.open(request, timeout=TIMEOUT) as response:
            answer: dict[str, Any] = json.load(response)
    except urllib.error.HTTPError as error:
        raise UploadError(_message(error)) from error
    except (OSError, ValueError) as error:
        raise UploadError(f"no answer from {server}: {getattr(error, 'reason', error)}") from error
    return answer


def multipart(name: str, content: bytes, fields: Mapping[str, str]) -> tuple[bytes, str]:
    """Body and content type of a form (RFC 7578) with one file."""
    boundary = secrets.token_hex(16)
    quoted = name.translate({ord('"'): "%22", ord("\r"): "%0D", ord("\n"): "%0A"})
    head = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
        for key, value in fields.items()
    )
    head += f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{quoted}"\r\n\r\n'
    body = head.encode(errors="surrogateescape") + content + f"\r\n--{boundary}--\r\n".encode()
    return body, f"multipart/form-data; boundary={boundary}"


def _message(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"HTTP {error.code} {error.reason}"
