"""Bodies are JSON whatever they are called, and lines of JSON come one by one."""

import asyncio
import json
import resource
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.types import Message, Scope

from adapter.apis.base import JsonRoute, ndjson
from adapter.app import create_app
from adapter.errors import InvalidRequestError, ServiceError
from adapter.settings import MIB, Settings
from tests.unit import standin


class Order(BaseModel):
    count: int = Field(ge=1)


class Entry(BaseModel):
    number: int
    note: str | None = None


router = APIRouter(route_class=JsonRoute)


@router.post("/order")
async def take(order: Order) -> dict[str, int]:
    return {"count": order.count}


def post(app: FastAPI, path: str, content: bytes, content_type: str | bytes | None) -> httpx.Response:
    async def send() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://adapter") as client:
            headers: Any = {} if content_type is None else {"Content-Type": content_type}
            return await client.post(path, content=content, headers=headers)

    return asyncio.run(send())


def app_with_order() -> FastAPI:
    app = create_app(Settings())
    app.include_router(router)
    return app


@pytest.mark.parametrize(
    "content_type",
    [None, "", "application/json", "text/plain;charset=UTF-8", "application/x-www-form-urlencoded", "a/b/c", b"\xff"],
)
def test_a_body_is_json_whatever_it_is_called(content_type: str | bytes | None) -> None:
    answer = post(app_with_order(), "/order", b'{"count": 3}', content_type)
    assert answer.json() == {"count": 3}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the body: Field required"),
        (b"count=3", "the body is not JSON: Expecting value"),
        (b'{"count": 3', "the body is not JSON"),
        (b"\xff\xfe\x00", "parsing the body"),
        (b"[" * 100_000, "parsing the body"),
        (b"[]", "the body: "),
        (b"{}", "count: Field required"),
        (b'{"count": 0}', "count: Input should be greater than or equal to 1"),
    ],
)
def test_what_is_wrong_with_a_body_is_said(content: bytes, said: str) -> None:
    answer = post(app_with_order(), "/order", content, "text/plain")
    assert answer.status_code == 400
    assert said in answer.json()["error"]


def render_error(error: ServiceError) -> Response:
    return JSONResponse({"error": error.message}, error.status)


async def entries(*steps: int | Exception, closed: list[bool] | None = None) -> AsyncGenerator[Entry, None]:
    try:
        for step in steps:
            if isinstance(step, Exception):
                raise step
            yield Entry(number=step)
    finally:
        if closed is not None:
            closed.append(True)


def answered(*steps: int | Exception) -> tuple[int, str, list[Any]]:
    """Status, type and lines of the answer."""

    async def scenario() -> list[Message]:
        response = await ndjson(entries(*steps), render_error)
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        await response({"type": "http"}, None, send)  # type: ignore[arg-type]
        return sent

    start, *parts = asyncio.run(scenario())
    headers = dict(start["headers"])
    assert b"content-length" not in headers
    assert [part.get("more_body", False) for part in parts] == [True] * (len(parts) - 1) + [False]
    body = b"".join(part["body"] for part in parts)
    return start["status"], headers[b"content-type"].decode(), [json.loads(line) for line in body.splitlines()]


def test_every_entry_is_a_line() -> None:
    assert answered(1, 2, 3) == (200, "application/x-ndjson", [{"number": 1}, {"number": 2}, {"number": 3}])
    assert answered() == (200, "application/x-ndjson", [])


def test_what_fails_before_the_first_line_is_an_answer_of_its_own() -> None:
    with pytest.raises(InvalidRequestError):
        answered(InvalidRequestError("wrong"), 1)


def test_what_fails_later_is_the_last_line() -> None:
    assert answered(1, InvalidRequestError("wrong"), 2)[2] == [{"number": 1}, {"error": "wrong"}]
    assert answered(1, ValueError("secret"))[2] == [{"number": 1}, {"error": "internal error"}]


@pytest.mark.parametrize("cut", [0, 1, 2])
def test_the_entries_are_closed_when_the_client_leaves(cut: int) -> None:
    """`cut`: how many parts of the answer are sent before it does."""
    closed: list[bool] = []

    async def scenario() -> None:
        response = await ndjson(entries(1, 2, 3, closed=closed), render_error)
        left = cut

        async def send(message: Message) -> None:
            nonlocal left
            if not left:
                await asyncio.Event().wait()
            left -= 1

        scope: Scope = {"type": "http"}
        answering = asyncio.ensure_future(response(scope, None, send))  # type: ignore[arg-type]
        await asyncio.sleep(0.01)
        answering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await answering
        assert closed

    asyncio.run(scenario())


def test_a_client_that_leaves_midway_ends_the_work_behind_the_lines() -> None:
    """Through everything that a request passes on its way."""
    closed: list[bool] = []
    app = create_app(Settings())

    async def lines() -> AsyncGenerator[Entry, None]:
        try:
            yield Entry(number=1)
            await asyncio.Event().wait()
        finally:
            closed.append(True)

    async def stream() -> Response:
        return await ndjson(lines(), render_error)

    app.add_api_route("/lines", stream)
    first_line = asyncio.Event()
    messages = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> Message:
        for message in messages:
            return message
        await first_line.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message.get("body"):
            first_line.set()

    scope: Scope = {
        "type": "http",
        "method": "GET",
        "path": "/lines",
        "raw_path": b"/lines",
        "query_string": b"",
        "headers": [],
        "root_path": "",
        "http_version": "1.1",
        "scheme": "http",
    }
    asyncio.run(asyncio.wait_for(app(scope, receive, send), timeout=5))
    assert closed == [True]


def upload(client: standin.Client, size: int) -> httpx.Response:
    # What follows the end of a PNG is not looked at.
    return client.post("/upload", files={"file": ("large.png", standin.PICTURE + bytes(size))})


def test_an_upload_is_written_to_no_disk() -> None:
    client = standin.client(standin.StandIn())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        answer = upload(client, 3 * MIB)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert answer.status_code == 200, answer.text


def test_bodies_that_are_too_much_together_are_refused_for_now() -> None:
    client = standin.client(standin.StandIn(), max_body_memory=2 * MIB)
    refused = upload(client, 3 * MIB)
    assert refused.status_code == 503
    assert refused.json()["success"] is False
    assert "OCR_MAX_BODY_MEMORY" in refused.json()["error"]
    # What was taken has been given back, by those that were read and by those that were refused.
    assert [upload(client, MIB + number).status_code for number in range(3)] == [200] * 3
