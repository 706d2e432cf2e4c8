from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.launch.supervisor import GaveUp, Restarts, Service, adopt_orphans, keep_running


def service(script: str, **fields: object) -> Service:
    return Service("The shell", ["sh", "-c", script], os.environ, **{"stop_timeout": 2.0, **fields})  # type: ignore[arg-type]


async def run_until(condition: Callable[[], bool], supervised: Service, said: list[str]) -> None:
    """Keep the service running until the condition holds, then stop it."""
    adopt_orphans()
    task = asyncio.create_task(keep_running(supervised, lambda: True, said.append))
    deadline = time.monotonic() + 10
    while not condition() and not task.done() and time.monotonic() < deadline:  # noqa: ASYNC110 - the file system's
        await asyncio.sleep(0.02)
    assert condition()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_delays_double_with_each_death_and_end_after_too_many() -> None:
    restarts = Restarts(limit=3, window=60, first_delay=0.5)
    assert [restarts.delay(now) for now in (0, 1, 2, 3)] == [0, 0.5, 1, None]


def test_old_deaths_are_forgotten() -> None:
    restarts = Restarts(limit=3, window=60, first_delay=0.5)
    assert [restarts.delay(now) for now in (0, 50, 100, 111, 200)] == [0, 0.5, 0.5, 0.5, 0]


def test_a_service_that_dies_is_started_again_and_said_why(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    said: list[str] = []
    twice = service(f"echo x >>{starts}; [ $(wc -l <{starts}) = 1 ] && exit 3; exec sleep 60")
    asyncio.run(run_until(lambda: starts.exists() and starts.read_text() == "x\nx\n", twice, said))
    assert said == ["The shell ended with exit status 3; it is started again at once"]


def test_an_exit_before_the_server_was_ready_is_final() -> None:
    with pytest.raises(GaveUp, match="The shell ended with exit status 3 while starting"):
        asyncio.run(keep_running(service("exit 3"), lambda: False, print))


def test_a_crash_before_the_server_was_ready_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.launch.supervisor.Restarts", lambda: Restarts(limit=1, first_delay=0.01))
    said: list[str] = []
    with pytest.raises(GaveUp, match="SIGKILL while starting; more than 1 times"):
        asyncio.run(keep_running(service("kill -9 $$"), lambda: False, said.append))
    assert said == ["The shell was ended by SIGKILL while starting; it is started again at once"]


def test_a_crash_after_a_refusal_to_start_is_final() -> None:
    refusing = service("kill -9 $$", refusal=lambda: "a file is damaged")
    with pytest.raises(GaveUp, match="The shell cannot start: a file is damaged"):
        asyncio.run(keep_running(refusing, lambda: False, print))


def test_a_program_that_dies_too_often_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.launch.supervisor.Restarts", lambda: Restarts(limit=2, first_delay=0.01))
    said: list[str] = []
    with pytest.raises(GaveUp, match="exit status 1; more than 2 times within 60 s, so it is not started again"):
        asyncio.run(keep_running(service("exit 1"), lambda: True, said.append))
    assert len(said) == 2


def test_stopping_asks_first_and_kills_what_does_not_listen_with_its_children(tmp_path: Path) -> None:
    child = tmp_path / "child"
    stubborn = service(f"trap '' TERM; sleep 60 & echo $! >{child}; wait; sleep 60", stop_timeout=0.3)
    began = time.monotonic()
    asyncio.run(run_until(lambda: child.exists() and child.read_text().endswith("\n"), stubborn, []))
    assert 0.3 < time.monotonic() - began < 5
    assert is_gone(int(child.read_text()))


def test_a_death_takes_the_orphans_along_before_the_clean_up(tmp_path: Path) -> None:
    child = tmp_path / "child"
    seen: list[bool] = []
    orphaning = service(
        f"sleep 60 & echo $! >{child}; exit 1", clean_up=lambda: seen.append(is_gone(int(child.read_text())))
    )
    asyncio.run(run_until(lambda: bool(seen), orphaning, []))
    assert all(seen)


def test_an_ailing_process_is_replaced(tmp_path: Path) -> None:
    said: list[str] = []
    ailing = service("exec sleep 60", ailment=lambda pid: "is unwell")
    asyncio.run(run_until(lambda: bool(said), ailing, said))
    assert said == ["The shell is unwell; it is started again at once"]


def test_output_arrives_line_by_line_and_whole() -> None:
    lines: list[str] = []
    talking = service("printf 'one\\ntwo\\n'; printf 'gr\\303\\274n' >&2", output=lines.append)
    with pytest.raises(GaveUp):
        asyncio.run(keep_running(talking, lambda: False, print))
    assert lines == ["one", "two", "grün"]
