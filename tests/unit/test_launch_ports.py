from __future__ import annotations

import errno
import os
import socket
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from scripts.launch.ports import Listeners, PortError
from tests.ipv6 import needs_ipv6


def test_the_ports_are_those_of_the_documents_unless_set() -> None:
    assert Listeners.from_environment({}) == Listeners("0.0.0.0", 8080, 8000, 8001, 8002)  # noqa: S104
    assert Listeners.from_environment({"OCR_HOST": "127.0.0.1", "OCR_TRITON_GRPC_PORT": "9001"}) == Listeners(
        "127.0.0.1", 8080, 8000, 9001, 8002
    )


@pytest.mark.parametrize(
    ("host", "address", "local"),
    [
        ("0.0.0.0", "0.0.0.0", "127.0.0.1"),  # noqa: S104
        ("127.0.0.2", "127.0.0.2", "127.0.0.2"),
        ("localhost", "127.0.0.1", "127.0.0.1"),
        ("::", "::", "[::1]"),
        ("::1", "::1", "[::1]"),
    ],
)
def test_the_host_is_an_address_and_stands_in_urls_as_they_want_it(host: str, address: str, local: str) -> None:
    listeners = Listeners.from_environment({"OCR_HOST": host})
    assert (listeners.host, listeners.local_host) == (address, local)


def test_a_host_that_is_no_address_is_named() -> None:
    with pytest.raises(PortError, match=r"OCR_HOST='nowhere\.invalid' is no address"):
        Listeners.from_environment({"OCR_HOST": "nowhere.invalid"})


def reached(listeners: Listeners) -> list[str]:
    """Where a client finds the adapter, once its sockets listen."""
    found = []
    sockets = listeners.open_adapter()
    for listener in sockets:
        listener.listen()
    for host in ("127.0.0.1", "::1"):
        with suppress(OSError):
            socket.create_connection((host, listeners.adapter), timeout=5).close()
            found.append(host)
    for listener in sockets:
        listener.close()
    return found


@needs_ipv6
@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        ("0.0.0.0", ["127.0.0.1", "::1"]),  # noqa: S104
        ("::", ["127.0.0.1", "::1"]),
        ("127.0.0.1", ["127.0.0.1"]),
        ("::1", ["::1"]),
    ],
)
def test_the_adapter_is_reached_over_both_protocols_where_its_host_is_every_address(
    host: str, addresses: list[str]
) -> None:
    listeners = replace(Listeners.free(), host=host)
    listeners.check_free()
    assert reached(listeners) == addresses


def test_a_machine_without_ipv6_serves_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    class WithoutIPv6(socket.socket):
        def __init__(self, family: int = socket.AF_INET, *arguments: Any, **named: Any) -> None:
            if family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
            super().__init__(family, *arguments, **named)

    monkeypatch.setattr(socket, "socket", WithoutIPv6)
    listeners = replace(Listeners.free(), host="0.0.0.0")  # noqa: S104
    listeners.check_free()
    assert reached(listeners) == ["127.0.0.1"]
    with pytest.raises(PortError, match=f"OCR_PORT={listeners.adapter} .* cannot be opened on ::"):
        replace(listeners, host="::").check_free(triton=False)


@needs_ipv6
def test_a_port_that_is_in_use_over_ipv6_alone_is_named() -> None:
    listeners = replace(Listeners.free(), host="0.0.0.0")  # noqa: S104
    held = socket.create_server(("::1", listeners.adapter), family=socket.AF_INET6)
    with held, pytest.raises(PortError, match=f"OCR_PORT={listeners.adapter} .* in use by .*process {os.getpid()}"):
        listeners.check_free()


def test_a_drop_in_has_the_ports_of_the_documents_own_servers_and_triton_makes_room() -> None:
    assert Listeners.from_environment({}, drop_in=True) == Listeners(
        "0.0.0.0",  # noqa: S104
        adapter=8080,
        http=8100,
        grpc=8101,
        metrics=8102,
        paddleocr_service=7861,
        internvl=8000,
        dots=5000,
    )
    own = Listeners.from_environment({"OCR_DOTS_PORT": "5001", "OCR_TRITON_HTTP_PORT": "9000"}, drop_in=True)
    assert (own.dots, own.http) == (5001, 9000)
    assert Listeners.from_environment({"OCR_INTERNVL_PORT": "9001"}).internvl == 9001


@pytest.mark.parametrize("value", ["0", "65536", "-1", "http", "80 80", "²"])
def test_a_setting_that_is_no_port_number_is_named(value: str) -> None:
    with pytest.raises(PortError, match="OCR_TRITON_METRICS_PORT"):
        Listeners.from_environment({"OCR_TRITON_METRICS_PORT": value})


def test_every_port_in_use_is_named_with_its_setting_and_the_process_that_holds_it() -> None:
    listeners = Listeners.free()
    with socket.socket() as first, socket.socket() as second:
        for held, port in ((first, listeners.adapter), (second, listeners.grpc)):
            held.bind(("127.0.0.1", port))
            held.listen()
        with pytest.raises(PortError) as caught:
            listeners.check_free()
    lines = str(caught.value).splitlines()
    assert [line.partition(" ")[0] for line in lines] == [
        f"OCR_PORT={listeners.adapter}",
        f"OCR_TRITON_GRPC_PORT={listeners.grpc}",
    ]
    assert all(f"(process {os.getpid()})" in line for line in lines)


def test_two_settings_with_the_same_port_are_named() -> None:
    free = Listeners.free()
    with pytest.raises(PortError, match=f"OCR_TRITON_HTTP_PORT and OCR_PORT are both {free.adapter}"):
        Listeners(free.host, free.adapter, free.adapter, free.grpc, free.metrics).check_free()


def test_ports_whose_old_connections_linger_are_free() -> None:
    listeners = Listeners.free()
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", listeners.adapter))
        server.listen()
        client = socket.create_connection(("127.0.0.1", listeners.adapter))
        accepted, _ = server.accept()
        accepted.close()  # the side that closes first is left in TIME_WAIT
        client.close()
    listeners.check_free()


def test_a_part_that_is_not_run_here_needs_no_ports() -> None:
    listeners = Listeners.free()
    with socket.socket() as held:
        held.bind(("127.0.0.1", listeners.adapter))
        held.listen()
        listeners.check_free(adapter=False)
        with pytest.raises(PortError, match="OCR_PORT"):
            listeners.check_free(triton=False)
