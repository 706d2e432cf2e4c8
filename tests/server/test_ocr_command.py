"""triton-ocr, the command, through a real server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pymupdf
import pytest
from PIL import Image

from scripts.launched import Launched
from tests.pages import CHINESE, ENGLISH, MIXED, page
from tests.pdfs import typeset


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a picture, a PDF of two pages, and a file that is neither."""
    (tmp_path / "receipt.png").write_bytes(page(MIXED).data)
    (tmp_path / "letter.pdf").write_bytes(typeset(CHINESE, ENGLISH))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    return tmp_path


def command(
    server: str, folder: Path, *arguments: str, stdin: bytes | None = None
) -> subprocess.CompletedProcess[bytes]:
    root = str(Path(__file__).parents[2])
    return subprocess.run(
        [sys.executable, "-m", "triton_ocr", *arguments],
        cwd=folder,
        env={**os.environ, "OCR_SERVER": server, "PYTHONPATH": root, "PYTHONUTF8": "1"},
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        timeout=240,
        check=False,
    )


def plain(output: bytes) -> list[str]:
    return [line.replace(" ", "") for line in output.decode().splitlines()]


def squeezed(lines: tuple[str, ...]) -> list[str]:
    return [line.replace(" ", "") for line in lines]


def test_every_file_is_read_and_those_that_cannot_be_are_named(triton: Launched, folder: Path) -> None:
    run = command(triton.adapter_url, folder, ".", "gone.png")
    heads = ["==>./letter.pdf<==", "==>./receipt.png<=="]
    assert run.returncode == 1
    errors = run.stderr.decode().splitlines()
    assert [error.split(": ")[1] for error in errors] == ["broken.png", "gone.png"]
    assert plain(run.stdout.replace(b"\f", b"")) == [
        heads[0].replace("./", ""),
        *squeezed(CHINESE),
        *squeezed(ENGLISH),
        heads[1].replace("./", ""),
        *squeezed(MIXED),
    ]


def test_standard_input_is_read_where_no_file_is_named(triton: Launched, folder: Path) -> None:
    run = command(triton.adapter_url, folder, stdin=page(MIXED).data)
    assert (run.returncode, plain(run.stdout)) == (0, squeezed(MIXED))
    empty = command(triton.adapter_url, folder, "-", stdin=b"")
    assert (empty.returncode, empty.stderr) == (1, b"triton-ocr: stdin: empty\n")


def test_what_was_read_is_saved_in_every_form(triton: Launched, folder: Path) -> None:
    run = command(triton.adapter_url, folder, "letter.pdf", "receipt.png", "--save-path", "out/")
    assert (run.returncode, run.stderr) == (0, b"")
    assert sorted(file.name for file in (folder / "out").iterdir()) == [
        *("letter_ocr.pdf", "letter_ocr.txt", "letter_ocr_0.jpg", "letter_ocr_0.json", "letter_ocr_1.jpg"),
        *("letter_ocr_1.json", "receipt_ocr.jpg", "receipt_ocr.json", "receipt_ocr.pdf", "receipt_ocr.txt"),
    ]
    assert plain((folder / "out" / "receipt_ocr.txt").read_bytes()) == squeezed(MIXED)
    assert json.loads((folder / "out" / "letter_ocr_1.json").read_text())["page_index"] == 1
    assert Image.open(folder / "out" / "letter_ocr_1.jpg").format == "JPEG"
    with pymupdf.open(folder / "out" / "receipt_ocr.pdf") as searchable:
        assert "128.50" in searchable[0].get_text()


def test_one_file_can_be_saved_in_one_form(triton: Launched, folder: Path) -> None:
    assert command(triton.adapter_url, folder, "receipt.png", "--save-path", "text.txt").returncode == 0
    assert plain((folder / "text.txt").read_bytes()) == squeezed(MIXED)
    two = command(triton.adapter_url, folder, "receipt.png", "letter.pdf", "--save-path", "text.txt")
    assert (two.returncode, two.stdout) == (2, b"")


def test_paddlexs_calls_work_with_this_programs_name(triton: Launched, folder: Path) -> None:
    got = command(triton.adapter_url, folder, "--get_pipeline_config", "OCR", "--save_path", "./my_path")
    assert (got.returncode, got.stdout) == (0, b"my_path/OCR.yaml\n")
    call = ("--input", "receipt.png", "--device", "gpu:0", "--save_path", "./output")
    for pipeline in ("OCR", "./my_path/OCR.yaml"):
        run = command(triton.adapter_url, folder, "--pipeline", pipeline, *call)
        assert run.returncode == 0
        assert run.stdout.startswith(b"{'input_path': 'receipt.png', 'dt_polys': [[[")
        assert b"no GPU; it reads on the CPU" in run.stderr
    saved = json.loads((folder / "output" / "receipt.json").read_text())
    assert squeezed(tuple(saved["rec_text"])) == squeezed(MIXED)
    assert Image.open(folder / "output" / "receipt.png").format == "PNG"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--device", "npu:0"), "has no device 'npu:0'; it has cpu"),
        (("--profile", "v9"), "no profile 'v9'; it has PP-OCRv4_mobile, PP-OCRv5_mobile"),
        (("--pipeline", "table"), "no pipeline 'table': there is OCR"),
        (("--pipeline", "server.yaml"), "it has PP-OCRv4_mobile_det.*import PP-OCRv4_server --det"),
    ],
)
def test_what_is_not_here_is_refused_before_anything_is_read(
    triton: Launched, folder: Path, arguments: tuple[str, ...], said: str
) -> None:
    (folder / "server.yaml").write_text("Pipeline: {text_det_model: PP-OCRv4_server_det}")
    run = command(triton.adapter_url, folder, "receipt.png", *arguments)
    assert (run.returncode, run.stdout) == (2, b"")
    assert re.search(said, run.stderr.decode())


def test_a_server_that_is_not_there_is_told(folder: Path) -> None:
    run = command("http://127.0.0.1:9", folder, "receipt.png")
    assert (run.returncode, run.stdout) == (3, b"")
    assert b"no answer from http://127.0.0.1:9" in run.stderr
