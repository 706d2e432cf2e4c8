"""What a container's health check says of what runs in it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from scripts.launch.server import ROOT
from scripts.launch.state import SETTING, note_health, runs


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/ready" else 503)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    """Base URL of a server that is ready at /ready, and nowhere else."""
    with HTTPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()


def healthy(state: Path, *urls: str) -> bool:
    """What is said where servers have noted these URLs."""
    for place, url in enumerate(urls):
        run = runs(state) / str(place)
        run.mkdir(parents=True)
        note_health(run, url)
    program = [sys.executable, "-m", "scripts.launch.health"]
    result = subprocess.run(program, cwd=ROOT, env={SETTING: str(state)}, capture_output=True, text=True, check=False)
    assert result.stderr == ""
    return result.returncode == 0


def test_it_is_what_the_noted_url_says(server: str, tmp_path: Path) -> None:
    assert healthy(tmp_path / "a", f"{server}/ready")
    assert not healthy(tmp_path / "b", f"{server}/loading")


def test_one_that_is_not_ready_is_enough(server: str, tmp_path: Path) -> None:
    assert not healthy(tmp_path, f"{server}/ready", f"{server}/loading")


def test_where_nothing_runs_nothing_is_ready(tmp_path: Path) -> None:
    assert not healthy(tmp_path)
