"""/docs stands on its own: it loads nothing from other hosts, and leads to the pages that explain each field."""

import re

import httpx
import pytest

from adapter.apis import APIS
from adapter.app import create_app
from adapter.settings import Settings
from tests.unit.test_adapter_app import request

PAGES = ["/docs/api.md", "/docs/api-vlm.md"]


def links(answer: httpx.Response) -> list[str]:
    return [
        link for pair in re.findall(r"(?:src|href)=(?:\"([^\"]*)\"|'([^']*)')", answer.text) for link in pair if link
    ]


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
    anchors = set(re.findall(r'id="([^"]*)"', answer.text))
    for link in links(answer):
        if link.startswith("#"):
            assert link[1:] in anchors
        else:
            assert f"/docs/{link}" in PAGES


def test_every_api_has_its_explanation() -> None:
    text = "".join(request("GET", page).text for page in PAGES)
    for api in APIS:
        for route in api.router.routes:
            assert route.path in text  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["nothing.md", "..%2Fpyproject.toml", "example.png"])
def test_nothing_else_is_given_away(name: str) -> None:
    assert request("GET", f"/docs/{name}").status_code == 404


def test_every_setting_is_explained() -> None:
    text = "".join(request("GET", page).text for page in PAGES)
    for name, field in Settings.model_fields.items():
        assert f"<code>{field.validation_alias or 'OCR_' + name.upper()}</code>" in text


def test_where_keys_are_asked_for_the_page_can_send_one() -> None:
    schema = create_app(Settings(api_keys=("k",))).openapi()
    (scheme,) = schema["components"]["securitySchemes"].values()
    assert (scheme["type"], scheme["in"], scheme["name"]) == ("apiKey", "header", "X-API-Key")
    for path in ("/upload", "/ocr", "/invocations", "/internvl/ocr/process", "/dots/ocr"):
        assert schema["paths"][path]["post"]["security"]
    for path in ("/health", "/ping", "/dots/health", "/internvl/health"):
        assert "security" not in schema["paths"][path]["get"]
    assert "securitySchemes" not in create_app(Settings()).openapi()["components"]
