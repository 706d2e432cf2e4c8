"""The client of the server's HTTP API, with a server whose connections break off."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from triton_ocr.client import Client
from triton_ocr.errors import ServerError

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
_EMPTY: dict[str, list[object]] = {key: [] for key in ("dt_polys", "dt_scores", "rec_polys", "rec_texts", "rec_scores")}


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


START = HEAD + chunk(b'{"numPages": 2}\n')
PAGE = chunk(json.dumps({"width": 10, "height": 20, "ocrResult": {"prunedResult": _EMPTY}}).encode() + b"\n")
WHOLE = START + PAGE + PAGE + chunk(b"")
HEALTH = b'HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{"gpu": false}'


@contextmanager
def server(answers: Sequence[bytes]) -> Iterator[tuple[str, list[bytes]]]:
    """Its host and port, and the requests so far; each gets one of the answers, and its connection is closed."""
    requests: list[bytes] = []

    def serve() -> None:
        for answer in answers:
            connection, _ = listener.accept()
            with connection, connection.makefile("rb") as stream:
                request = b"".join(iter(stream.readline, b"\r\n"))
                length = request.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]
                requests.append(request + stream.read(int(length or 0)))
                connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}", requests


def test_a_host_and_port_alone_are_spoken_to_in_http() -> None:
    with server([HEALTH]) as (address, _):
        client = Client(address)
        assert (client.url, client.get("/health")) == (f"http://{address}", {"gpu": False})


@pytest.mark.parametrize(
    "cut",
    [b"", HEAD[:20], HEAD, START, START + PAGE, START + PAGE[:-20], START + PAGE + chunk(b"")],
    ids=["nothing", "head-cut", "head", "start", "page", "page-cut", "ended"],
)
def test_a_file_is_sent_again_when_the_answer_breaks_off(cut: bytes) -> None:
    done: list[int] = []
    with server([cut, cut, WHOLE]) as (address, requests):
        pages = Client(address).read(b"file", {}, lambda number, of: done.append(number))
    assert [page.height for page in pages] == [20, 20]
    assert done[-2:] == [1, 2]
    assert len(requests) == 3
    assert requests[0] == requests[1] == requests[2]


def test_what_else_is_asked_is_asked_again_too() -> None:
    pdf = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n%PDF-"
    with server([HEALTH[:-1], HEALTH, pdf[:-1], pdf]) as (address, _):
        client = Client(address)
        assert client.get("/health") == {"gpu": False}
        assert client.searchable_pdf(b"file", []) == b"%PDF-"


def test_an_answer_that_always_breaks_off_is_an_error() -> None:
    with server([START + PAGE + chunk(b"")] * 3) as (address, requests):
        with pytest.raises(ServerError, match=f"no answer from http://{address}: it left after 1 of 2 pages"):
            Client(address).read(b"file", {})
        assert len(requests) == 3


def test_a_server_that_is_gone_is_not_asked_again() -> None:
    with server([]) as (address, _):
        pass
    with pytest.raises(ServerError, match="Connection refused"):
        Client(address).get("/health")
