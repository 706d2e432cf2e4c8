"""The files of the page at `/`, as they are: nothing builds them, and nothing in them asks another host."""

import os
from pathlib import Path

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

_FILES = Path(__file__).parent / "files"
_EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "example.png"
# What the page may do. Scripts and styles are files of this server; pictures are those that the visitor chose, or that
# the server sent.
_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "font-src 'self'",
        "img-src 'self' blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
_HEADERS = {
    # Asked again each time, and answered in a few bytes while nothing has changed.
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
}
_PAGE_HEADERS = {
    **_HEADERS,
    "Content-Security-Policy": _POLICY,
    "Permissions-Policy": "camera=(self)",
    "Referrer-Policy": "no-referrer",
}

router = APIRouter(include_in_schema=False)


@router.api_route("/", methods=["GET", "HEAD"])
async def page() -> Response:
    """The page."""
    return FileResponse(_FILES / "index.html", headers=_PAGE_HEADERS)


@router.get("/page/example.png")
async def example() -> Response:
    """A picture to try the server with."""
    return FileResponse(_EXAMPLE, headers=_HEADERS)


class _PageFiles(StaticFiles):
    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(_HEADERS)
        return response


files = _PageFiles(directory=_FILES)
"""To be mounted at `/page/files`."""
