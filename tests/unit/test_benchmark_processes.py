from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scripts.benchmark.errors import BenchmarkError
from scripts.benchmark.processes import descendants, memory, running
from scripts.benchmark.worker import working

ROOT = Path(__file__).parents[2]

ECHO = "import json, sys\nfor line in sys.stdin: print(json.dumps({'echo': line.strip()}), flush=True)"


def lives(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_at_the_end_nothing_of_a_process_is_left_although_it_does_not_listen(tmp_path: Path) -> None:
    code = "import signal, subprocess\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nsubprocess.run(['sleep', '100'])"
    with running(python(code), environment={}, log=tmp_path / "log", patience=0.5) as process:
        while len(family := descendants(process.pid)) < 2:
            time.sleep(0.05)
        assert memory(process.pid) > 1 << 20
    assert not any(map(lives, family))


def test_a_process_does_not_outlive_a_killed_run(tmp_path: Path) -> None:
    code = (
        "import pathlib, time\nfrom scripts.benchmark.processes import running\n"
        f"with running(['sleep', '100'], environment={{}}, log=pathlib.Path({str(tmp_path / 'log')!r})) as process:\n"
        "    print(process.pid, flush=True)\n    time.sleep(100)"
    )
    with subprocess.Popen(python(code), cwd=ROOT, stdout=subprocess.PIPE) as run:
        assert run.stdout
        child = int(run.stdout.readline())
        assert lives(child)
        run.kill()
    deadline = time.monotonic() + 30
    while lives(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not lives(child)


def test_what_needs_more_memory_than_it_may_fails_by_itself(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = "bytes(1 << 30)"
    for limit, status in ((None, 0), (512 << 20, 1)):
        with running(python(code), environment={}, log=log, memory=limit) as process:
            assert process.wait(60) == status
    assert "MemoryError" in log.read_text()


def test_a_worker_answers_line_by_line(tmp_path: Path) -> None:
    with working(python(ECHO), environment={}, log=tmp_path / "log") as worker:
        assert [worker.ask(word) for word in ("one", "zwei")] == [{"echo": "one"}, {"echo": "zwei"}]


def test_a_worker_that_dies_is_reported_with_its_last_words(tmp_path: Path) -> None:
    with working(python("raise SystemExit('no such model')"), environment={}, log=tmp_path / "log") as worker:
        with pytest.raises(BenchmarkError, match=r"exit status 1(.|\n)*no such model"):
            worker.ask("picture")
        with pytest.raises(BenchmarkError, match="exit status 1"):
            worker.ask("picture")


def test_a_worker_that_hangs_is_ended(tmp_path: Path) -> None:
    with (
        working(python("import time; time.sleep(100)"), environment={}, log=tmp_path / "log", timeout=0.5) as worker,
        pytest.raises(BenchmarkError, match=f"signal {signal.SIGKILL:d}"),
    ):
        worker.ask("picture")


def test_an_environment_variable_reaches_the_process_beside_those_that_there_are(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running(["sh", "-c", 'echo "$OWN $PATH"'], environment={"OWN": "1"}, log=log) as process:
        process.wait(60)
    assert log.read_text().strip() == f"1 {os.environ['PATH']}"
