"""Who may call: API keys, pages of other origins; and what is answered on the port of one API."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from adapter.app import create_app, create_listeners
from adapter.listeners import ByPort
from adapter.settings import Settings

KEYS: dict[str, Any] = {"api_keys": ("first key", "schlüssel", "k3")}
SIGNED = "AWS4-HMAC-SHA256 Credential={}/20260101/us-east-1/sagemaker/aws4_request, SignedHeaders=host, Signature=0"


def request(app: ASGIApp, method: str, path: str, port: int = 8080, **arguments: Any) -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://adapter:{port}") as client:
            return await client.request(method, path, **arguments)

    return asyncio.run(send())


def ask(method: str, path: str, headers: dict[str, str] | None = None, **settings: Any) -> httpx.Response:
    return request(create_app(Settings(**settings)), method, path, headers=headers or {})


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer k3"},
        {"authorization": "bearer   k3 "},
        {"X-API-Key": "k3"},
        {"X-API-Key": "first key"},
        {"X-API-Key": "schlüssel".encode()},
        {"Authorization": SIGNED.format("k3")},
    ],
)
def test_a_known_key_opens(headers: dict[str, str]) -> None:
    assert ask("GET", "/paddleocr-service/nope", headers, **KEYS).status_code == 404


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer k"},
        {"Authorization": "Bearer K3"},
        {"Authorization": "Basic k3"},
        {"Authorization": "k3"},
        {"X-API-Key": ""},
        {"X-API-Key": "first key,schlüssel,k3".encode()},
        {"X-API-Key": b"\xff\xfe"},
        {"Authorization": SIGNED.format("other")},
        {"Authorization": SIGNED.format("")},
        {"Authorization": "AWS4-HMAC-SHA256 Credential=other/k3/"},
    ],
)
def test_no_key_and_a_wrong_one_do_not(headers: dict[str, str]) -> None:
    answer = ask("POST", "/upload", headers, **KEYS)
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert answer.json()["success"] is False


def test_without_keys_the_apis_are_open() -> None:
    assert ask("GET", "/paddleocr-service/nope").status_code == 404
    assert ask("GET", "/paddleocr-service/nope", {"Authorization": "Bearer whatever"}).status_code == 404


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/invocations", {"status": "error"}),
        ("/paddleocr-service/upload_pdf", {"success": False}),
        ("/dots/ocr", {}),
        ("/ocr", {"errorCode": 401}),
        ("/nope", {}),
    ],
)
def test_a_refusal_has_the_form_of_the_api(path: str, form: dict[str, Any]) -> None:
    answer = ask("POST", path, **KEYS)
    assert answer.status_code == 401
    assert form.items() <= answer.json().items()
    assert "API key" in json.dumps(answer.json())


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/metrics"])
def test_what_describes_the_server_asks_for_no_key(path: str) -> None:
    assert ask("GET", path, **KEYS).status_code == 200


@pytest.mark.parametrize("path", ["/health", "/ping", "/sagemaker/ping", "/paddleocr-service/health", "/dots/health"])
def test_probes_ask_for_no_key(path: str) -> None:
    # Without services behind it a probe fails, but it is let through to that.
    assert ask("GET", path, **KEYS).status_code != 401


def test_a_body_is_not_read_of_who_brings_no_key() -> None:
    asked: list[Message] = []

    async def receive() -> Message:
        asked.append({})
        return {"type": "http.request", "body": b"x" * 100, "more_body": True}

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/upload",
        "raw_path": b"/upload",
        "root_path": "",
        "query_string": b"",
        "headers": [],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8080),
    }
    asyncio.run(create_app(Settings(**KEYS))(scope, receive, send))
    assert sent[0]["status"] == 401
    assert not asked


PAGE = {"Origin": "https://page.example"}
PREFLIGHT = {
    **PAGE,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "content-type, x-api-key",
}


def test_pages_of_other_origins_are_shut_out_by_default() -> None:
    assert "access-control-allow-origin" not in ask("GET", "/nope", PAGE).headers
    assert ask("OPTIONS", "/v1/ocr", PREFLIGHT).status_code == 405


@pytest.mark.parametrize("origins", [("https://page.example", "https://other.example"), ("*",)])
def test_a_preflight_is_answered_without_a_key(origins: tuple[str, ...]) -> None:
    answer = ask("OPTIONS", "/v1/ocr", PREFLIGHT, cors_origins=origins, **KEYS)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] in {"https://page.example", "*"}
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "x-api-key" in answer.headers["access-control-allow-headers"]
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/nope", {"X-API-Key": "k3"}, 404),
        ("POST", "/upload", {}, 401),
        ("POST", "/upload", {"X-API-Key": "k3", "Content-Length": str(10**9)}, 413),
        ("GET", "/metrics", {}, 200),
    ],
)
def test_pages_that_are_let_in_see_every_answer(method: str, path: str, headers: dict[str, str], status: int) -> None:
    answer = ask(method, path, {**PAGE, **headers}, cors_origins=(PAGE["Origin"],), **KEYS)
    assert answer.status_code == status
    assert answer.headers["access-control-allow-origin"] == PAGE["Origin"]
    assert "Retry-After" in answer.headers["access-control-expose-headers"]


def test_a_page_that_is_not_named_is_not_let_in() -> None:
    answer = ask("GET", "/nope", {"Origin": "https://evil.example"}, cors_origins=("https://page.example",))
    assert "access-control-allow-origin" not in answer.headers


@pytest.fixture
def listeners(monkeypatch: pytest.MonkeyPatch) -> ASGIApp:
    ports = {"OCR_PADDLEOCR_SERVICE_PORT": "7861", "OCR_INTERNVL_PORT": "8000", "OCR_DOTS_PORT": "5000"}
    for name, port in ports.items():
        monkeypatch.setenv(name, port)
    return create_listeners()


@pytest.mark.parametrize(
    ("port", "title", "paths"),
    [
        (7861, "PaddleOCR", {"/health", "/paddleocr", "/easyocr", "/upload", "/upload_pdf", "/v1/ocr"}),
        (8000, "InternVL", {"/health", "/model/info", "/ocr/process", "/ocr/batch", "/model/reload"}),
        (5000, "DotsOCR", {"/health", "/ocr"}),
        (8080, "Triton", {"/health", "/invocations", "/ping", "/ocr", "/upload", "/dots/ocr"}),
    ],
)
def test_each_port_has_its_apis_paths_at_the_root(listeners: ASGIApp, port: int, title: str, paths: set[str]) -> None:
    described = request(listeners, "GET", "/openapi.json", port).json()
    assert title in described["info"]["title"]
    assert paths <= described["paths"].keys()
    assert request(listeners, "GET", "/docs", port).status_code == 200


@pytest.mark.parametrize(
    ("port", "form"), [(7861, {"success": False}), (8000, {"status": "error"}), (5000, {}), (8080, {})]
)
def test_each_port_answers_what_is_not_there_in_its_apis_form(
    listeners: ASGIApp, port: int, form: dict[str, Any]
) -> None:
    answer = request(listeners, "GET", "/nope", port)
    assert answer.status_code == 404
    assert form.items() <= answer.json().items()
    assert "/nope" in answer.json()["error"]


def test_one_path_belongs_to_another_api_on_each_port(listeners: ASGIApp) -> None:
    paddlex, dots, service = (request(listeners, "GET", "/ocr", port) for port in (8080, 5000, 7861))
    assert (paddlex.status_code, paddlex.json()["errorCode"]) == (405, 405)
    assert (dots.status_code, list(dots.json())) == (405, ["error"])
    assert (service.status_code, service.json()["success"]) == (404, False)


def test_the_lifespan_is_that_of_the_main_application() -> None:
    seen: list[tuple[str, str]] = []

    def named(name: str) -> ASGIApp:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            seen.append((name, scope["type"]))

        return app

    async def unused() -> Message:
        raise AssertionError

    async def scenario() -> None:
        app = ByPort(named("main"), {5000: named("dots")})
        for scope in (
            {"type": "lifespan"},
            {"type": "http", "server": ("::1", 5000)},
            {"type": "http", "server": None},
        ):
            await app(scope, unused, unused)  # type: ignore[arg-type]

    asyncio.run(scenario())
    assert seen == [("main", "lifespan"), ("dots", "http"), ("main", "http")]
