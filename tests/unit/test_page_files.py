"""The files of the page: what they may load, what they say, and in which colours."""

import asyncio
import hashlib
import re
from pathlib import Path

import httpx
import pytest

from adapter.app import create_app
from adapter.page import site
from adapter.settings import Settings

FILES = Path(site.__file__).parent / "files"
VENDOR = FILES / "vendor"
OWN = [path for path in FILES.rglob("*") if path.is_file() and VENDOR not in path.parents]


def get(path: str, settings: Settings | None = None, **arguments: object) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(create_app(settings or Settings()))
        async with httpx.AsyncClient(transport=transport, base_url="http://page") as client:
            return await client.get(path, **arguments)  # type: ignore[arg-type]

    return asyncio.run(ask())


def test_the_page_may_load_nothing_but_this_servers_files() -> None:
    policy = get("/").headers["Content-Security-Policy"]
    directives = dict(directive.split(" ", 1) for directive in policy.split("; "))
    assert directives["default-src"] == "'none'"
    assert directives["script-src"] == directives["style-src"] == directives["connect-src"] == "'self'"
    assert "unsafe" not in policy
    assert not re.search(r"[*:]//|http", policy)


@pytest.mark.parametrize(
    "path", [path for path in OWN if path.suffix in {".html", ".js", ".css"}], ids=lambda p: p.name
)
def test_nothing_in_the_page_names_another_host(path: Path) -> None:
    hosts = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"']*", path.read_text(encoding="utf-8")))
    assert hosts <= {"http://www.w3.org/2000/svg"}


def test_files_are_served_with_their_types_and_asked_for_again_each_time() -> None:
    for name, media_type in {"main.js": "javascript", "style.css": "text/css", "icon.svg": "image/svg+xml"}.items():
        answer = get(f"/page/files/{name}")
        assert media_type in answer.headers["Content-Type"]
        assert answer.headers["Cache-Control"] == "no-cache"
        assert get(f"/page/files/{name}", headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304
    assert get("/page/example.png").headers["Content-Type"] == "image/png"


def test_nothing_beside_the_files_is_given_away() -> None:
    for path in ("/page/files/../site.py", "/page/files/%2e%2e/site.py", "/page/files/nothing.js"):
        assert get(path).status_code == 404


def test_the_page_asks_for_no_key_and_what_it_reads_does() -> None:
    settings = Settings(api_keys=("k",))
    for path in ("/", "/page/files/main.js", "/page/example.png"):
        assert get(path, settings).status_code == 200
    for path in ("/page/models", "/page/read"):
        assert get(path, settings).status_code == 401


def test_the_vendored_libraries_are_as_they_were_published() -> None:
    table = (VENDOR / "README.md").read_text(encoding="utf-8")
    pinned = dict(re.findall(r"\| (\S+) \| `([0-9a-f]{64})` \|", table))
    assert set(pinned) == {str(path.relative_to(VENDOR)) for path in VENDOR.rglob("*.min.*")} | {"marked/marked.esm.js"}
    for name, digest in pinned.items():
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == digest
        assert (VENDOR / name).parent.joinpath("LICENSE").exists()


def texts(language: str) -> dict[str, str]:
    source = (FILES / "strings.js").read_text(encoding="utf-8")
    block = source.partition(f"\n  {language}: {{\n")[2].partition("\n  },")[0]
    return dict(re.findall(r"^    (\w+): (.*),$", block, re.MULTILINE))


def test_everything_is_said_in_both_languages() -> None:
    english, chinese = texts("en"), texts("zh")
    assert len(english) > 80
    assert english.keys() == chinese.keys()
    for name, text in english.items():
        assert set(re.findall(r"\$\{(\w+)", text)) >= set(re.findall(r"\$\{(\w+)", chinese[name]))
    sources = "".join(path.read_text(encoding="utf-8") for path in OWN if path.suffix in {".html", ".js"})
    named = set(re.findall(r'data-t(?:-\w+)?="(\w+)"', sources)) | set(re.findall(r'\bt\("(\w+)"', sources))
    assert named <= english.keys()


def colours(theme: int) -> dict[str, tuple[int, ...]]:
    style = (FILES / "style.css").read_text(encoding="utf-8")
    found = re.findall(r"--([\w-]+): light-dark\(#(\w+), #(\w+)\)", style)
    doubled = {
        name: values[theme] if len(values[theme]) > 3 else "".join(2 * c for c in values[theme])
        for name, *values in found
    }
    return {name: tuple(bytes.fromhex(value[:6])) for name, value in doubled.items()}


def luminance(colour: tuple[int, ...]) -> float:
    """WCAG 2.2, relative luminance."""
    linear = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("text", "ground", "least"),
    [
        *[(text, ground, 4.5) for text in ("ink", "faint", "seal") for ground in ("paper", "sheet", "sunken")],
        ("unsure", "sheet", 4.5),
        ("second", "sheet", 4.5),
        ("on-seal", "seal", 4.5),
        ("edge", "sheet", 3.0),
    ],
)
def test_text_stands_out_from_its_ground(theme: int, text: str, ground: str, least: float) -> None:
    """WCAG 2.2 AA: 4.5 for text, 3 for the outlines of controls."""
    palette = colours(theme)
    light, dark = sorted((luminance(palette[text]), luminance(palette[ground])), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= least
