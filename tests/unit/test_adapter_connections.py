"""Connections as clients find them: on a real HTTP server with the adapter's protocol."""

from __future__ import annotations

import asyncio
import resource
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import pytest
import uvicorn
from starlette.responses import PlainTextResponse

from adapter import connections
from adapter.connections import Connection, give_up_unread, most_connections

HEAD_TIMEOUT = 0.3
HEAD = b"GET / HTTP/1.1\r\nHost: server\r\n"


@asynccontextmanager
async def connected(**settings: Any) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    config = uvicorn.Config(
        PlainTextResponse("here"),
        log_level="critical",
        **settings,
        http=partial(Connection, head_timeout=HEAD_TIMEOUT),  # type: ignore[arg-type]
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        yield reader, writer
        writer.transport.abort()
        server.should_exit = True
        await serving


async def seconds_until_cut(reader: asyncio.StreamReader) -> float:
    began = time.monotonic()
    with suppress(ConnectionResetError):
        await asyncio.wait_for(reader.read(), 10)
    return time.monotonic() - began


@pytest.mark.parametrize("beginning", [b"", HEAD], ids=["nothing", "half a head"])
def test_a_client_that_does_not_say_what_it_wants_is_cut_off(beginning: bytes) -> None:
    async def say() -> float:
        async with connected() as (reader, writer):
            writer.write(beginning)
            return await seconds_until_cut(reader)

    assert HEAD_TIMEOUT <= asyncio.run(say()) < 9


def test_the_next_request_of_a_connection_has_as_little_time_for_its_head() -> None:
    async def say() -> tuple[bytes, float]:
        async with connected() as (reader, writer):
            writer.write(HEAD + b"\r\n")
            await reader.readuntil(b"here")
            await asyncio.sleep(3 * HEAD_TIMEOUT)  # to be idle is no offence
            writer.write(HEAD + b"\r\n")
            answer = await reader.readuntil(b"here")
            writer.write(HEAD)
            return answer, await seconds_until_cut(reader)

    answer, seconds = asyncio.run(say())
    assert answer.startswith(b"HTTP/1.1 200")
    assert seconds < 9


LARGE = b"POST / HTTP/1.1\r\nHost: server\r\nContent-Length: 50000000\r\n\r\n"


@pytest.mark.parametrize(
    ("settings", "status"),
    [({}, b"200 OK"), ({"limit_concurrency": 1}, b"503 Service Unavailable")],
    ids=["app", "full"],
)
def test_an_answer_before_the_end_of_a_request_is_read_by_a_client_that_sends_on(
    settings: dict[str, Any], status: bytes
) -> None:
    async def say() -> bytes:
        async with connected(**settings) as (reader, writer):
            writer.write(LARGE)
            for _ in range(50):
                writer.write(bytes(100_000))
                await writer.drain()
            return await asyncio.wait_for(reader.read(), 10)

    head, body = asyncio.run(say()).lower().split(b"\r\n\r\n")
    assert head.startswith(b"http/1.1 " + status.lower())
    assert b"connection: close" in head
    assert body in {b"here", b"service unavailable"}


def test_a_client_that_sends_on_and_on_after_its_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_LINGER", 0.3)

    async def say() -> float:
        async with connected() as (reader, writer):
            writer.write(LARGE)
            await reader.read()
            began = time.monotonic()
            with pytest.raises(ConnectionError):
                while time.monotonic() - began < 10:
                    writer.write(b"x")
                    await writer.drain()
                    await asyncio.sleep(0.02)
            return time.monotonic() - began

    assert 0.1 < asyncio.run(say()) < 9


def test_a_request_that_came_whole_leaves_its_connection_open() -> None:
    async def say() -> list[bytes]:
        async with connected() as (reader, writer):
            answers = []
            for _ in range(2):
                writer.write(b"POST / HTTP/1.1\r\nHost: server\r\nContent-Length: 4\r\n\r\nbody")
                answers.append(await reader.readuntil(b"here"))
            return answers

    for answer in asyncio.run(say()):
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"connection: close" not in answer.lower()


def test_what_is_not_read_is_given_up_on_every_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        give_up_unread(listener)
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000


def test_there_are_fewer_connections_than_descriptors() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = most_connections()
    assert 0 < most < resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    resource.setrlimit(resource.RLIMIT_NOFILE, before)
