from __future__ import annotations

import os
import socket

import pytest

from scripts.launch.ports import Listeners, PortError


def test_the_ports_are_those_of_the_documents_unless_set() -> None:
    assert Listeners.from_environment({}) == Listeners("0.0.0.0", 8080, 8000, 8001, 8002)  # noqa: S104
    assert Listeners.from_environment({"OCR_HOST": "127.0.0.1", "OCR_TRITON_GRPC_PORT": "9001"}) == Listeners(
        "127.0.0.1", 8080, 8000, 9001, 8002
    )


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
