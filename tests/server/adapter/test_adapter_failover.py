"""Several Tritons behind one adapter: they share the work, and one that dies costs no request."""

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from adapter.settings import Settings
from adapter.triton import Triton
from adapter.tritons import Tritons
from tests.server.adapter.conftest import StandInTriton, running_adapter

CALLERS = 8


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[StandInTriton]]:
    servers = [StandInTriton(tmp_path_factory.mktemp("fleet")) for _ in range(3)]
    with ExitStack() as stack:
        for server in servers:
            server.start()
            stack.callback(server.kill)
        yield servers


@pytest.fixture
def adapter(fleet: list[StandInTriton]) -> Iterator[Any]:
    with running_adapter(Settings(triton_url=tuple(server.grpc for server in fleet))) as adapter:
        yield adapter


def answered_by(server: StandInTriton) -> int:
    stats = httpx.get(f"http://127.0.0.1:{server.listeners.http}/v2/models/ocr_ensemble/stats").json()
    return int(stats["model_stats"][0]["inference_stats"]["success"]["count"])


def test_the_servers_take_turns(fleet: list[StandInTriton], adapter: Any) -> None:
    before = [answered_by(server) for server in fleet]
    assert {adapter.upload({}).status_code for _ in range(6)} == {200}
    assert [answered_by(server) - count for server, count in zip(fleet, before, strict=True)] == [2, 2, 2]


def test_one_that_is_killed_under_load_costs_no_request_and_is_used_again_when_it_is_back(
    fleet: list[StandInTriton], adapter: Any
) -> None:
    stop = threading.Event()

    def call() -> list[httpx.Response]:
        answers = []
        while not stop.is_set():
            answers.append(adapter.upload({"sleep": 0.1}))
        return answers

    with ThreadPoolExecutor(CALLERS) as pool:
        callers = [pool.submit(call) for _ in range(CALLERS)]
        try:
            time.sleep(1.0)
            # Each server has one instance: of the callers some wait in this one, and one is being served by it.
            fleet[1].kill()
            time.sleep(2.0)
            fleet[1].start()
            back = answered_by(fleet[1])
            time.sleep(2.0)
        finally:
            stop.set()
        answers = [answer for caller in callers for answer in caller.result()]
    assert {answer.status_code for answer in answers} == {200}
    assert len(answers) > 2 * CALLERS
    assert answered_by(fleet[1]) > back


def ready(fleet: list[StandInTriton], model: str) -> bool:
    async def ask() -> bool:
        servers = Tritons([Triton(server.grpc, 10.0, "") for server in fleet], 10.0)
        try:
            return await servers.ready([model], 10.0)
        finally:
            await servers.close()

    return asyncio.run(ask())


def test_they_are_ready_as_soon_as_one_is(fleet: list[StandInTriton]) -> None:
    with fleet[0].frozen():
        start = time.perf_counter()
        assert ready(fleet, "ocr_ensemble")
        assert time.perf_counter() - start < 9.0
    assert not ready(fleet, "no_such_model")
