"""The PaddleX document's sample clients, by what each of them puts on the wire; boto3 is in test_api_sagemaker."""

from __future__ import annotations

import base64
import json
from http.client import HTTPConnection
from socket import create_connection
from typing import Any

import pytest

from scripts.launched import Launched
from tests.pages import MIXED, draw, encode

BODY = json.dumps({"image": base64.b64encode(encode(draw(MIXED))).decode()}).encode()
FORM = "application/x-www-form-urlencoded"

SENT = {
    "Python, requests": {"Content-Type": "application/json", "Accept": "*/*", "Accept-Encoding": "gzip, deflate"},
    "C++, cpp-httplib": {"Content-Type": "application/json", "Accept": "*/*"},
    "Java, OkHttp": {"Content-Type": "application/json; charset=utf-8", "Accept-Encoding": "gzip"},
    "C#, HttpClient": {"Content-Type": "application/json; charset=utf-8"},
    "Go, net/http": {"Accept-Encoding": "gzip"},
    "Node.js, axios": {"Content-Type": FORM, "Accept": "application/json, text/plain, */*"},
    "PHP, curl": {"Content-Type": FORM, "Accept": "*/*"},
}


def assert_read(answer: Any) -> None:
    assert (answer["errorCode"], answer["errorMsg"]) == (0, "Success")
    texts = [text["text"].replace(" ", "") for text in answer["result"]["texts"]]
    assert texts == [line.replace(" ", "") for line in MIXED]
    assert base64.b64decode(answer["result"]["image"]).startswith(b"\xff\xd8")


@pytest.mark.parametrize("client", SENT)
def test_what_a_documented_client_sends_is_read(triton: Launched, client: str) -> None:
    connection = HTTPConnection("127.0.0.1", triton.listeners.adapter, timeout=60)
    # By hand: http.client has headers of its own that not every client sends.
    connection.putrequest("POST", "/ocr", skip_accept_encoding=True)
    for name, value in {**SENT[client], "Content-Length": str(len(BODY))}.items():
        connection.putheader(name, value)
    connection.endheaders(BODY)
    answer = connection.getresponse()
    assert answer.status == 200
    assert_read(json.loads(answer.read()))
    connection.close()


def test_a_client_that_waits_to_be_asked_for_its_body_is_asked(triton: Launched) -> None:
    """As curl does with more than a MiB, and PHP and .NET with it."""
    head = f"POST /ocr HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(BODY)}\r\nExpect: 100-continue\r\n"
    with create_connection(("127.0.0.1", triton.listeners.adapter), timeout=60) as client:
        client.sendall(f"{head}Connection: close\r\n\r\n".encode())
        assert client.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(BODY)
        answer = b"".join(iter(lambda: client.recv(1 << 16), b""))
    status, _, body = answer.partition(b"\r\n\r\n")
    assert status.startswith(b"HTTP/1.1 200")
    assert_read(json.loads(body))
