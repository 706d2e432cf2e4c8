"""The command triton-ocr, as far as it needs no server."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts.launched import alive
from tests.pages import blank, encode
from triton_ocr import OCRPipeline, cli, embedded
from triton_ocr.client import ReadPage
from triton_ocr.errors import ServerError
from triton_ocr.sources import Source

ROOT = Path(__file__).parents[2]
JPEG = encode(np.full((20, 30, 3), 200, np.uint8), ".jpg")
QUAD = [[5, 12], [88, 10], [88, 29], [5, 31]]


@dataclass
class StandIn:
    """Instead of a client: reads a line off every page of what it is given.

    Attributes:
        pages: how many a file has.
        drawing: of each page.
    """

    pages: int = 1
    drawing: bytes | None = JPEG

    def read(self, file: bytes, fields: Mapping[str, Any], on_page: Callable[[int, int], None]) -> list[ReadPage]:
        return [ReadPage(100, 50, [QUAD], [0.8], ["登机牌"], [0.9], None, self.drawing)] * self.pages

    def searchable_pdf(self, file: bytes, pages: Sequence[Mapping[str, Any]]) -> bytes:
        return b"%PDF-searchable"


@pytest.fixture
def standin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> StandIn:
    """What reads, in a folder with a picture and a PDF."""
    standin = StandIn()
    monkeypatch.setattr(cli, "open_pipeline", lambda *_, **__: OCRPipeline(standin, {}, lambda: None))  # type: ignore[arg-type]
    monkeypatch.chdir(tmp_path)
    Path("a.png").write_bytes(blank().data)
    Path("book.pdf").write_bytes(b"%PDF-1.7")
    return standin


def saved(folder: str) -> list[str]:
    return sorted(file.name for file in Path(folder).iterdir())


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
        (["a.png", "--save-path", "a.docx"], "ends in .json, .txt, .pdf, .jpg, or else in / for a folder"),
        (["--pipeline", "OCR", "--input", "a.png", "--save_path", "a.json"], "a.json: with --pipeline it is a folder"),
        (["--pipeline", "OCR", "--input", "a.png", "--save_path", "b.png"], "b.png: with --pipeline it is a folder"),
        (["a.png", "b.png", "--save-path", "a.txt"], "there are 2 files to read, which need a folder"),
    ],
)
def test_a_wrong_command_is_told_before_a_server_is_looked_for(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    assert said in capsys.readouterr().err


def test_all_but_pictures_is_saved_where_none_are_drawn_and_that_is_said_once(
    standin: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    standin.pages, standin.drawing = 51, None
    said = "triton-ocr: book.pdf: no picture was drawn: of PDFs of more than 50 pages none are\n"
    assert cli.main(["book.pdf", "--save-path", "out/"]) == 0
    assert saved("out") == sorted(["book_ocr.pdf", "book_ocr.txt", *(f"book_ocr_{page}.json" for page in range(51))])
    assert Path("out/book_ocr.txt").read_text(encoding="utf-8").count("登机牌") == 51
    assert capsys.readouterr().err == said
    assert cli.main(["--pipeline", "OCR", "--input", "book.pdf", "--save_path", "out2"]) == 0
    assert saved("out2") == sorted(f"book_{page}.json" for page in range(51))
    assert capsys.readouterr().err == said


def test_a_picture_that_alone_was_asked_for_and_is_not_drawn_is_an_error(
    standin: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    standin.drawing = None
    assert cli.main(["book.pdf", "--save-path", "book.jpg"]) == 1
    assert "no picture was drawn" in capsys.readouterr().err


@pytest.mark.parametrize("ending", ["json", "txt", "pdf", "jpg"])
def test_what_was_read_is_not_written_over_in_any_form(
    standin: StandIn, ending: str, capsys: pytest.CaptureFixture[str]
) -> None:
    original = Path(f"scan.{ending}")
    original.write_bytes(blank().data)
    assert cli.main([str(original), "--save-path", f"./scan.{ending}"]) == 1
    assert original.read_bytes() == blank().data
    assert f"scan.{ending}: is what was read; save somewhere else" in capsys.readouterr().err


def test_with_pipeline_a_folder_may_be_called_like_a_file(standin: StandIn) -> None:
    assert cli.main(["--pipeline", "OCR", "--input", "a.png", "--save_path", "a.json/"]) == 0
    assert saved("a.json") == ["a.json", "a.png"]


def test_files_that_cannot_be_read_or_saved_are_named_and_the_others_are_read(
    standin: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    unsaved = "x" * 251 + ".png"
    Path(unsaved).write_bytes(blank().data)
    bad = ["x" * 300, "http://[::1/a.png", "http://a..b/a b.png"]
    assert cli.main([*bad, unsaved, "a.png", "--save-path", "out/"]) == 1
    said = capsys.readouterr()
    assert said.out.endswith("==> a.png <==\n登机牌\n")
    errors = said.err.splitlines()
    assert [error.startswith(f"triton-ocr: {name}: ") for error, name in zip(errors, bad)] == [True] * 3
    assert len(errors) == 4
    assert errors[3].endswith("_ocr.json: File name too long")
    assert saved("out") == ["a_ocr.jpg", "a_ocr.json", "a_ocr.pdf", "a_ocr.txt"]


def test_files_whose_names_are_not_utf8_are_read_and_saved(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    name = os.fsdecode("登机牌.png".encode("gbk"))
    Path(name).write_bytes(blank().data)
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", terminal)
    assert cli.main([name, "a.png", "--save-path", "out/"]) == 0
    terminal.seek(0)
    assert terminal.read() == "==> \\udcb5ǻ\\udcfa\\udcc5\\udcc6.png <==\n登机牌\n==> a.png <==\n登机牌\n"
    assert json.loads(Path(f"out/{Path(name).stem}_ocr.json").read_text(encoding="utf-8"))["input_path"] == name


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
