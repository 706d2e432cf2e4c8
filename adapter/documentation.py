"""`/docs`: the APIs to try out, and the pages of docs/ that say what each field does, with nothing from other hosts."""

import re
from functools import cache
from html import escape
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse
from markdown_it import MarkdownIt

from adapter.errors import NotFoundError

DESCRIPTION = (
    "What each documented field, setting and error does here: [the OCR APIs](docs/api.md), "
    "[the VLM APIs](docs/api-vlm.md)."
)
"""For the head of `/docs`: where the pages are."""

_PAGES = Path(__file__).resolve().parents[1] / "docs"
_PAGE_NAMES = frozenset({"api.md", "api-vlm.md"})
_SCRIPT, _STYLE, _ICON = "swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"

_FRAME = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; }}
th, td {{ border: 1px solid #ccc; padding: .25rem .5rem; text-align: left; vertical-align: top; }}
</style>
{body}
</html>
"""

router = APIRouter(include_in_schema=False)


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    """Swagger UI over the schema of the application that serves it."""
    return get_swagger_ui_html(
        # Relative, so that they hold behind a proxy's prefix, too.
        openapi_url="openapi.json",
        title=request.app.title,
        swagger_js_url=f"docs/{_SCRIPT}",
        swagger_css_url=f"docs/{_STYLE}",
        swagger_favicon_url=f"docs/{_ICON}",
        # Else the schema's address is sent to validator.swagger.io.
        swagger_ui_parameters={"validatorUrl": None},
    )


@router.get("/docs/{name}")
async def file(name: str) -> Response:
    """A page of docs/, or a file of Swagger UI."""
    if name in _PAGE_NAMES:
        return HTMLResponse(_page(name))
    if name in {_SCRIPT, _STYLE, _ICON}:
        return FileResponse(str(files("fastapi_swagger.resources") / name))
    raise NotFoundError(f"there is nothing at /docs/{name}")


@cache
def _page(name: str) -> str:
    markdown = MarkdownIt().enable("table")
    tokens = markdown.parse((_PAGES / name).read_text(encoding="utf-8"))
    for heading, content in pairwise(tokens):
        if heading.type == "heading_open":
            heading.attrSet("id", _anchor(content.content))
    title = next(token.content for token in tokens if token.type == "inline")
    return _FRAME.format(title=escape(title), body=markdown.renderer.render(tokens, markdown.options, {}))


def _anchor(heading: str) -> str:
    """As GitHub makes them, so that the links within a page work in both places."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
