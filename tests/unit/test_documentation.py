"""/docs stands on its own: it loads nothing from other hosts, and leads to the pages that explain each field."""

import re
from pathlib import Path

import httpx
import pytest

from adapter.apis import APIS
from adapter.app import create_app
from adapter.settings import Settings
from tests.unit.test_adapter_app import request

PAGES = ["/docs/api.md", "/docs/api-vlm.md"]
ROOT = Path(__file__).parents[2]
SOURCES = ("adapter", "backends", "model_repository", "scripts", "triton_ocr")


def links(answer: httpx.Response) -> list[str]:
    return [
        link for pair in re.findall(r"(?:src|href)=(?:\"([^\"]*)\"|'([^']*)')", answer.text) for link in pair if link
    ]


def anchors_of(answer: httpx.Response) -> set[str]:
    return set(re.findall(r'id="([^"]*)"', answer.text))


def test_the_page_loads_this_servers_files_alone() -> None:
    answer = request("GET", "/docs")
    assert answer.status_code == 200
    wanted = links(answer)
    assert {link.rpartition(".")[2] for link in wanted} == {"js", "css", "png"}
    assert not re.search(r"""https?:|["']//""", answer.text)
    for link in wanted:
        loaded = request("GET", f"/{link}")
        assert loaded.status_code == 200, link
        assert len(loaded.content) > 500


def test_the_head_of_the_page_leads_to_the_explanations() -> None:
    head = create_app(Settings()).openapi()["info"]["description"]
    assert [f"/{link}" for link in re.findall(r"\]\((.*?)\)", head)] == PAGES


@pytest.mark.parametrize("page", PAGES)
def test_every_link_of_an_explanation_leads_somewhere(page: str) -> None:
    answer = request("GET", page)
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "<table>" in answer.text
    anchors = anchors_of(answer)
    for link in links(answer):
        other, _, anchor = link.partition("#")
        assert not other or f"/docs/{other}" in PAGES
        assert not anchor or anchor in (anchors_of(request("GET", f"/docs/{other}")) if other else anchors)


def test_every_api_has_its_explanation() -> None:
    text = "".join(request("GET", page).text for page in PAGES)
    for api in APIS:
        for route in api.router.routes:
            assert route.path in text  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["nothing.md", "..%2Fpyproject.toml", "example.png"])
def test_nothing_else_is_given_away(name: str) -> None:
    assert request("GET", f"/docs/{name}").status_code == 404


def settings_of_the_sources() -> set[str]:
    """Every variable that the code calls by its name."""
    files = [path for part in SOURCES for path in (ROOT / part).rglob("*") if path.suffix in {"", ".py", ".sh"}]
    text = "".join(path.read_text(encoding="utf-8") for path in files if path.is_file())
    return set(re.findall(r"\b(?:OCR_[A-Z_]*[A-Z]|MODEL_PATH|DOTS_MODEL_PATH)\b", text))


def test_every_setting_is_explained_in_one_place() -> None:
    _, _, after = request("GET", "/docs/api.md").text.partition('<h2 id="settings">')
    explained = set(re.findall(r"<code>([A-Z_]+)</code>", after.partition("<h2")[0]))
    fields = {str(field.validation_alias or "OCR_" + name.upper()) for name, field in Settings.model_fields.items()}
    assert {"OCR_PRECISION", "OCR_PYTHON", "OCR_SERVER", "DOTS_MODEL_PATH"} <= settings_of_the_sources()
    assert fields | settings_of_the_sources() <= explained


def test_where_keys_are_asked_for_the_page_can_send_one() -> None:
    schema = create_app(Settings(api_keys=("k",))).openapi()
    (scheme,) = schema["components"]["securitySchemes"].values()
    assert (scheme["type"], scheme["in"], scheme["name"]) == ("apiKey", "header", "X-API-Key")
    for path in ("/upload", "/ocr", "/invocations", "/internvl/ocr/process", "/dots/ocr"):
        assert schema["paths"][path]["post"]["security"]
    for path in ("/health", "/ping", "/dots/health", "/internvl/health"):
        assert "security" not in schema["paths"][path]["get"]
    assert "securitySchemes" not in create_app(Settings()).openapi()["components"]
