"""What the launcher promises about its processes, tried with the real ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from scripts.client import is_ready, upload
from scripts.launch.ports import Listeners
from scripts.launch.server import ROOT
from scripts.launched import LAUNCH, START_TIMEOUT, Launched, alive, descendants, environment, eventually, launched
from tests import pages
from tests.ipv6 import needs_ipv6


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    """A server that may be ill-treated; each test leaves it ready."""
    with launched(tmp_path_factory.mktemp("lifecycle") / "log") as running:
        running.wait_ready()
        yield running


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "page.png"
    path.write_bytes(pages.page().data)
    return path


def texts(server: Launched, picture: Path) -> list[str]:
    return [result["text"] for result in upload(server.adapter_url, picture)["results"]]


def wait_for_restart(server: Launched, gone: int) -> None:
    """Wait until the process is gone and everything is ready again."""
    assert eventually(lambda: not alive(gone), 10), f"process {gone} is still there"
    assert eventually(lambda: not server.ready, 10), "/ping never said that something was missing"
    server.wait_ready(60)


def test_a_killed_triton_is_started_again_and_leaves_neither_stubs_nor_shared_memory(
    server: Launched, picture: Path
) -> None:
    before, stubs, regions = server.triton, server.stubs, server.shared_memory()
    os.kill(before, signal.SIGKILL)
    wait_for_restart(server, before)
    assert texts(server, picture) == list(pages.MIXED)
    assert not [pid for pid in stubs if alive(pid)]
    assert not regions & server.shared_memory()


def test_a_killed_stub_is_noticed_and_triton_started_again(server: Launched, picture: Path) -> None:
    before = server.triton
    stub = next(pid for pid, command in server.stubs.items() if "ocr_ensemble" in command)
    os.kill(stub, signal.SIGKILL)
    wait_for_restart(server, before)
    assert texts(server, picture) == list(pages.MIXED)


def test_requests_wait_while_a_killed_adapter_is_started_again_and_triton_stays(
    server: Launched, picture: Path
) -> None:
    adapter, triton = server.adapter, server.triton
    os.kill(adapter, signal.SIGKILL)
    assert texts(server, picture) == list(pages.MIXED)
    assert server.adapter != adapter
    assert server.triton == triton


def test_a_port_in_use_is_named_at_once_with_its_setting_and_holder(server: Launched) -> None:
    began = time.monotonic()
    second = subprocess.run(
        LAUNCH, cwd=ROOT, env=environment(server.listeners), capture_output=True, text=True, timeout=30, check=False
    )
    assert time.monotonic() - began < 3
    assert second.returncode == 1
    assert f"OCR_TRITON_HTTP_PORT={server.listeners.http}" in second.stderr
    assert f"tritonserver (process {server.triton})" in second.stderr
    assert second.stdout == ""
    assert server.ready


@pytest.mark.parametrize(
    ("number", "started"),
    [(signal.SIGTERM, True), (signal.SIGINT, True), (signal.SIGTERM, False)],
    ids=["SIGTERM", "SIGINT", "SIGTERM while starting"],
)
def test_a_signal_ends_everything_in_10_seconds_and_leaves_nothing(
    tmp_path: Path, number: signal.Signals, started: bool
) -> None:
    with launched(tmp_path / "log") as server:
        if started:
            server.wait_ready()
        else:
            assert eventually(lambda: len(descendants(server.pid)) > 2, 30)
        processes = descendants(server.pid)
        assert server.shared_memory()
        began = time.monotonic()
        server.process.send_signal(number)
        assert server.process.wait(30) == 0
        assert time.monotonic() - began < 10
    assert not [pid for pid in processes if alive(pid)]
    assert not server.shared_memory()


def test_a_request_in_hand_is_answered_before_the_end(tmp_path: Path, picture: Path) -> None:
    with launched(tmp_path / "log") as server, ThreadPoolExecutor(1) as pool:
        server.wait_ready()
        answer = pool.submit(texts, server, picture)
        time.sleep(0.05)
        server.process.terminate()
        assert answer.result() == list(pages.MIXED)


def test_nothing_outlives_a_killed_launcher_and_the_next_start_clears_its_shared_memory(tmp_path: Path) -> None:
    with launched(tmp_path / "first") as first:
        first.wait_ready()
        processes = descendants(first.pid)
        assert first.shared_memory()
        first.process.kill()
        assert eventually(lambda: not any(alive(pid) for pid in processes), 10)
    with launched(tmp_path / "second") as second:
        second.wait_ready()
        assert not first.shared_memory()


def test_a_service_that_cannot_start_ends_the_launcher_with_a_last_word(tmp_path: Path) -> None:
    settings = environment(Listeners.free(), OCR_TEXT_SCORE="much")
    broken = subprocess.run(LAUNCH, cwd=ROOT, env=settings, capture_output=True, text=True, timeout=60, check=False)
    assert broken.returncode == 1
    assert "The adapter ended with exit status" in broken.stderr


def test_folders_with_names_that_bash_minds_are_no_hindrance(tmp_path: Path, picture: Path) -> None:
    state = tmp_path / "it's (my) $HOME & 目录"
    with launched(tmp_path / "log", OCR_STATE_DIR=str(state)) as server:
        server.wait_ready()
        assert texts(server, picture) == list(pages.MIXED)


@needs_ipv6
@pytest.mark.parametrize("host", ["0.0.0.0", "::1"])  # noqa: S104
def test_clients_that_take_localhost_for_ipv6_are_served(tmp_path: Path, picture: Path, host: str) -> None:
    with launched(tmp_path / "log", OCR_HOST=host) as server:
        url = f"http://[::1]:{server.listeners.adapter}"
        assert eventually(lambda: is_ready(url) or server.process.poll() is not None, START_TIMEOUT)
        assert [result["text"] for result in upload(url, picture)["results"]] == list(pages.MIXED)


def test_the_health_check_finds_a_triton_that_runs_alone(tmp_path: Path) -> None:
    settings = environment(Listeners.free(), OCR_STATE_DIR=str(tmp_path))

    def healthy() -> bool:
        program = [sys.executable, "-m", "scripts.launch.health"]
        return subprocess.run(program, cwd=ROOT, env=settings, check=False).returncode == 0

    with (tmp_path / "log").open("wb") as log:
        triton = subprocess.Popen([*LAUNCH, "triton"], cwd=ROOT, env=settings, stdout=log, stderr=log)
    try:
        assert eventually(healthy, START_TIMEOUT, 0.5), (tmp_path / "log").read_text()
    finally:
        triton.terminate()
        triton.wait()
    assert not healthy()
