"""The command triton-ocr, as far as it needs no server."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scripts.launched import alive
from triton_ocr import cli, embedded
from triton_ocr.errors import ServerError
from triton_ocr.sources import Source

ROOT = Path(__file__).parents[2]


def test_the_configuration_is_written_and_an_edited_one_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["--get_pipeline_config", "OCR", "--save_path", str(tmp_path / "my_path")]
    assert [cli.main(call), cli.main(call)] == [0, 0]
    file = tmp_path / "my_path" / "OCR.yaml"
    file.write_text(file.read_text().replace("small", "tiny"))
    assert cli.main(call) == 2
    assert "tiny" in file.read_text()
    assert "was changed: remove it, or choose another folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--get_pipeline_config", "table"], "no pipeline 'table'"),
        (["a.png", "--save-path", "a.docx"], "ends in .json, .jpg, .txt, .pdf, or else in / for a folder"),
        (["a.png", "b.png", "--save-path", "a.txt"], "there are 2 files to read, which need a folder"),
    ],
)
def test_a_wrong_command_is_told_before_a_server_is_looked_for(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    assert said in capsys.readouterr().err


def test_on_a_terminal_it_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", terminal)
    book, next_one = Source("book.pdf", "book.pdf", bytes), Source("a.png", "a.png", bytes)
    with cli._Progress(2) as progress:
        progress.show(book)
        progress.on_page(next_one, 1, 1)
        progress.on_page(book, 3, 120)
        progress.show(next_one)
    lines = terminal.getvalue().split("\r\033[K")
    assert lines == ["", "[1/2] book.pdf", "[1/2] book.pdf, page 3 of 120", "[2/2] a.png", ""]


def test_without_a_checkout_there_is_no_server_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_SERVE", Path("/nowhere/serve"))
    with pytest.raises(ServerError, match="name one with --server or OCR_SERVER"):
        embedded.EmbeddedServer({}, print)


def test_a_server_that_cannot_be_started_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve = tmp_path / "serve"
    serve.write_text("#!/bin/sh\necho libpython is missing >&2\nexit 1\n")
    serve.chmod(0o755)
    monkeypatch.setattr(embedded, "_command", lambda: [str(serve)])
    with pytest.raises(ServerError, match="could not be started:\n  libpython is missing"):
        embedded.EmbeddedServer({}, print)


def test_a_started_server_ends_however_its_user_ends() -> None:
    code = (
        "import os, subprocess; from triton_ocr.embedded import _guard\n"
        "server = subprocess.Popen(['sleep', '100'], start_new_session=True)\n"
        "guard = _guard(server.pid); print(server.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=os.environ, stdout=subprocess.PIPE, check=False)
    server, deadline = int(run.stdout), time.monotonic() + 30
    while alive(server) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(server)
