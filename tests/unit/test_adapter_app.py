"""Every API is served at its places and answers every failure in its own form; no Triton is needed for that."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from adapter import errors
from adapter.apis import APIS
from adapter.apis.base import Api
from adapter.app import create_app
from adapter.recognizer import Page, RecognitionOptions
from adapter.settings import Settings
from adapter.sources import FileLimit
from tests.unit import standin

SETTINGS = Settings(max_file_size=1000)
LIMIT = FileLimit(1000, "OCR_MAX_FILE_SIZE").body


def request(method: str, path: str, **arguments: Any) -> httpx.Response:
    async def send() -> httpx.Response:
        app = create_app(SETTINGS)
        async with app.router.lifespan_context(app) as state:

            async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
                await app({**scope, "state": dict(state or {})}, receive, send)

            transport = httpx.ASGITransport(with_state)
            async with httpx.AsyncClient(transport=transport, base_url="http://adapter") as client:
                return await client.request(method, path, **arguments)

    return asyncio.run(send())


def multipart(size: int) -> bytes:
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
    return head + bytes(size) + b"\r\n--x--\r\n"


MULTIPART = {"Content-Type": "multipart/form-data; boundary=x"}


def test_every_api_is_served_whole_under_its_prefix_and_in_part_at_the_root() -> None:
    served = set(create_app(SETTINGS).openapi()["paths"])
    for api in APIS:
        paths = {route.path for route in api.router.routes}  # type: ignore[attr-defined]
        assert {f"{api.prefix}{path}" for path in paths} <= served
        assert api.root_paths <= served


def test_no_path_at_the_root_has_two_owners() -> None:
    claimed = [path for api in APIS for path in api.root_paths] + [api.prefix for api in APIS]
    assert len(claimed) == len(set(claimed))


def every_error() -> list[errors.ServiceError]:
    return [
        errors.InvalidRequestError("text_score: must be a number"),
        errors.UnreadableImageError("not a picture"),
        errors.TooLargeError("too large"),
        errors.NotFoundError("nothing there"),
        errors.MethodNotAllowedError("POST only", "POST"),
        errors.BusyError("busy"),
        errors.TritonUnavailableError("away"),
        errors.ModelUnavailableError("not loaded"),
        errors.DeadlineExceededError("too late"),
        errors.InternalError("internal error"),
    ]


@pytest.mark.parametrize("api", APIS, ids=lambda api: api.name)
@pytest.mark.parametrize("error", every_error(), ids=lambda error: type(error).__name__)
def test_every_failure_has_a_form_in_every_api(api: Api, error: errors.ServiceError) -> None:
    response = api.render_error(error)
    assert error.message in json.dumps(json.loads(bytes(response.body)))
    assert 400 <= response.status_code < 600
    for name, value in error.headers.items():
        assert response.headers[name] == value


def test_a_path_that_is_not_there_is_answered_in_the_form_of_the_api_it_lies_in() -> None:
    assert request("GET", "/nope").json() == {"error": "there is nothing at /nope"}
    answer = request("GET", "/paddleocr-service/nope")
    assert (answer.status_code, answer.json()["success"]) == (404, False)
    answer = request("GET", "/sagemaker/nope")
    assert (answer.status_code, answer.json()["status"]) == (404, "error")


def test_a_wrong_method_is_answered_with_the_right_one() -> None:
    answer = request("GET", "/upload")
    assert (answer.status_code, answer.headers["Allow"], answer.json()["success"]) == (405, "POST", False)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (multipart(3).replace(b'"file"', b'"other"'), "file"),
        (b'--x\r\nContent-Disposition: form-data; name="text_score"\r\n\r\nhigh\r\n' + multipart(3), "text_score"),
        (b'--x\r\nContent-Disposition: form-data; name="use_det"\r\n\r\nmaybe\r\n' + multipart(3), "use_det"),
        (multipart(0), "file: empty"),
    ],
)
def test_a_malformed_field_is_named(body: bytes, named: str) -> None:
    answer = request("POST", "/upload", content=body, headers=MULTIPART)
    assert (answer.status_code, answer.json()["success"]) == (400, False)
    assert named in answer.json()["error"]


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary=y", "text/plain", ""])
def test_a_body_that_is_no_form_is_a_bad_request(content_type: str) -> None:
    answer = request("POST", "/upload", content=multipart(3), headers={"Content-Type": content_type})
    assert (answer.status_code, answer.json()["success"]) == (400, False)


async def in_chunks(body: bytes, sent: list[int]) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 1000):
        sent.append(start)
        yield body[start : start + 1000]


@pytest.mark.parametrize("path", ["/upload", "/paddleocr-service/upload"])
def test_a_body_over_the_limit_is_refused_before_it_is_read(path: str) -> None:
    sent: list[int] = []
    headers = {**MULTIPART, "Content-Length": str(LIMIT + 1)}
    answer = request("POST", path, content=in_chunks(multipart(LIMIT), sent), headers=headers)
    assert (answer.status_code, answer.json()["success"]) == (413, False)
    assert "1000 bytes, OCR_MAX_FILE_SIZE" in answer.json()["error"]
    assert not sent


def test_a_body_without_a_length_is_refused_as_soon_as_it_is_over_the_limit() -> None:
    sent: list[int] = []
    answer = request("POST", "/upload", content=in_chunks(multipart(10 * LIMIT), sent), headers=MULTIPART)
    assert (answer.status_code, answer.json()["success"]) == (413, False)
    assert LIMIT - 1000 <= sent[-1] <= LIMIT


def test_a_file_over_the_limit_in_a_body_within_it_is_refused() -> None:
    answer = request("POST", "/upload", content=multipart(1001), headers=MULTIPART)
    assert (answer.status_code, answer.json()["error"]) == (
        413,
        "file: larger than the limit of 1000 bytes (OCR_MAX_FILE_SIZE)",
    )


def test_a_request_keeps_its_id_and_gets_one_where_it_has_none() -> None:
    assert request("GET", "/nope", headers={"X-Request-Id": "order-7.1"}).headers["X-Request-Id"] == "order-7.1"
    ids = {
        request("GET", "/nope", headers=headers).headers["X-Request-Id"]
        for headers in ({}, {}, {"X-Request-Id": "a b"})
    }
    assert len(ids) == 3
    assert "a b" not in ids


def test_a_request_that_the_end_of_the_server_cuts_short_is_told_so_in_its_api_s_form() -> None:
    class Endless(standin.StandIn):
        async def read(self, picture: bytes, options: RecognitionOptions) -> Page:
            await asyncio.sleep(60)
            return self.page

    async def cut_short() -> list[Message]:
        sent: list[Message] = []
        begun = asyncio.Event()

        async def receive() -> Message:
            if begun.is_set():
                await asyncio.sleep(60)
            begun.set()
            body = json.dumps({"image": base64.b64encode(standin.PICTURE).decode()}).encode()
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/v1/ocr", "headers": [], "query_string": b""}
        app = standin.client(Endless()).app
        request = asyncio.create_task(app(scope, receive, send))
        await begun.wait()
        await asyncio.sleep(0.2)
        # As uvicorn does with what is not done within its grace.
        request.cancel()
        await request
        return sent

    start, body = asyncio.run(cut_short())
    assert start["status"] == 503
    assert json.loads(body["body"]) == {"success": False, "error": "the server is stopping; try again later"}
