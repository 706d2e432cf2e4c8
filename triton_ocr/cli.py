"""The command triton-ocr."""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType

from triton_ocr.config import DEFAULT_CONFIG, PIPELINE, load_config
from triton_ocr.errors import ConfigError, DrawingError, OCRError, ServerError
from triton_ocr.pipeline import FileReading, OCRPipeline, open_pipeline
from triton_ocr.result import place
from triton_ocr.sources import STDIN, SUFFIXES, Source, sources

ALL_READ, SOME_FAILED, WRONG_COMMAND, NO_SERVER, INTERRUPTED = 0, 1, 2, 3, 130

# Of a line that is printed as text, unless PaddleX's form is asked for, which has all.
_TEXT_SCORE = 0.5
# By the ending of --save-path, or all of them into a folder, in this order: there may be no picture.
_FORMATS = (".json", ".txt", ".pdf", ".jpg")
# What a name ends in that is not meant for a folder.
_FILES = SUFFIXES | {*_FORMATS}

_DESCRIPTION = """\
Print the text of pictures and PDFs.

FILE is a picture, a PDF, a folder (all pictures and PDFs below it), a pattern such as 'scans/*.png', a URL, or - for
standard input, which is also read where no FILE is given and something is piped in.

The server that reads is the one that --server or OCR_SERVER names, else the one at this machine's OCR_PORT (8080), else
one that is started for the run. OCR_API_KEY is the key, where the server wants one."""

_EPILOG = """\
exit status:
  0  every file was read
  1  at least one was not; the others were
  2  the command is wrong, or what it asks for is not here (weights, a device)
  3  there is no server, and none could be started

PaddleX's own command line works with this program's name:
  triton-ocr --pipeline OCR --input general_ocr_002.png --device gpu:0 --save_path ./output
  triton-ocr --get_pipeline_config OCR --save_path ./my_path
  triton-ocr --pipeline ./my_path/OCR.yaml --input general_ocr_002.png"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = _parser()
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # As on standard error: the terminal's encoding may lack characters, and the name of a file be in another one.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        if given.get_pipeline_config is not None:
            return _write_config(given.get_pipeline_config, given.save_path)
        inputs = [*given.files, *given.input]
        if not inputs:
            if sys.stdin.isatty():
                parser.error("no FILE to read")
            inputs = [STDIN]
        return _run(given, inputs)
    except ConfigError as error:
        return _complain(error, WRONG_COMMAND)
    except ServerError as error:
        return _complain(error, NO_SERVER)
    except BrokenPipeError:
        # Who reads the output has seen enough. Python would complain again when it flushes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SOME_FAILED
    except KeyboardInterrupt:
        sys.stdout.flush()
        # Not by `return`: Python would wait for the requests that are under way.
        os._exit(INTERRUPTED)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="triton-ocr",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("files", nargs="*", metavar="FILE", help="what to read")
    parser.add_argument("--profile", metavar="NAME", help="the weights that read; the server's default if not given")
    parser.add_argument("--server", metavar="URL", help="the server's base URL, or HOST:PORT, such as localhost:8080")
    parser.add_argument(
        "--save-path",
        "--save_path",
        metavar="PATH",
        help="save what was read: into a folder, NAME_ocr.json, .txt, .pdf (with searchable text) and .jpg (the "
        "annotated picture) of each file; or as one of these, where PATH ends like it and there is one FILE. Of a PDF, "
        "each page has its own .json and .jpg, with _0, _1 … before the ending",
    )
    paddlex = parser.add_argument_group("PaddleX's words")
    paddlex.add_argument(
        "--pipeline",
        metavar="OCR|FILE.yaml",
        help="print results as PaddleX does, and save them under its names into the folder that --save_path names",
    )
    paddlex.add_argument("--input", metavar="FILE", action="append", default=[], help="the same as FILE")
    paddlex.add_argument(
        "--device", metavar="DEVICE", help="cpu or gpu:0, whichever the server reads on; others are refused"
    )
    paddlex.add_argument("--use_hpip", action="store_true", help="read at the fast precision")
    paddlex.add_argument(
        "--get_pipeline_config", metavar="OCR", help="write OCR.yaml, here or into the folder that --save_path names"
    )
    return parser


def _write_config(pipeline: str, save_path: str | None) -> int:
    if pipeline != PIPELINE:
        raise ConfigError(f"there is no pipeline {pipeline!r}: there is {PIPELINE}")
    path = Path(save_path or ".")
    if path.suffix.lower() not in (".yaml", ".yml"):
        path /= DEFAULT_CONFIG.name
    config = DEFAULT_CONFIG.read_bytes()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.read_bytes() != config:
            raise ConfigError(f"{path} is there already, and was changed: remove it, or choose another folder")
        path.write_bytes(config)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    print(path)
    return ALL_READ


def _run(given: argparse.Namespace, inputs: list[str]) -> int:
    config = load_config(given.pipeline or PIPELINE)
    if given.device is not None:
        config = replace(config, device=given.device)
    files = list(sources(inputs))
    save = _saver(given, files)
    with _Progress(len(files)) as progress:
        pipeline = open_pipeline(
            config,
            use_hpip=given.use_hpip,
            server=given.server,
            profile=given.profile,
            text_score=0.0 if given.pipeline else _TEXT_SCORE,
            reading_order=not given.pipeline,
            say=progress.say,
        )
        with pipeline:
            status = ALL_READ
            progress.show(files[0])
            readings = pipeline.readings(files, drawn=save is not None, on_page=progress.on_page)
            for number, reading in enumerate(readings, 1):
                progress.clear()
                try:
                    if reading.error:
                        raise reading.error
                    _print(reading, len(files) > 1, bool(given.pipeline))
                    if save:
                        save(pipeline, reading)
                except (ServerError, BrokenPipeError):
                    raise
                except OCRError as error:
                    status = _complain(error, SOME_FAILED)
                except (OSError, ValueError) as error:  # of what is saved
                    where = getattr(error, "filename", None) or reading.source.label
                    status = _complain(f"{where}: {getattr(error, 'strerror', None) or error}", SOME_FAILED)
                if number < len(files):
                    progress.show(files[number])
    return status


def _print(reading: FileReading, several: bool, as_paddlex: bool) -> None:
    if as_paddlex:
        for result in reading.results:
            result.print(format_json=False)
    else:
        if several:
            print(f"==> {reading.source.label} <==")
        # As pdftotext does it, a form feed between the pages.
        print("\f".join(result.text for result in reading.results), end="")
    sys.stdout.flush()


Saver = Callable[[OCRPipeline, FileReading], None]


def _saver(given: argparse.Namespace, files: Sequence[Source]) -> Saver | None:
    """What saves a reading. Raises ConfigError where a file is named and a folder is needed."""
    if given.save_path is None:
        return None
    path = Path(given.save_path)
    suffix = path.suffix.lower()
    is_folder = path.is_dir() or not suffix or given.save_path.endswith("/")
    if given.pipeline:
        if not is_folder and suffix in _FILES:
            raise ConfigError(f"--save_path {path}: with --pipeline it is a folder, into which all results go")
        return lambda _, reading: _save_as_paddlex(reading, path)
    if is_folder:
        return lambda pipeline, reading: _save_all(pipeline, reading, path)
    if suffix not in _FORMATS:
        raise ConfigError(f"--save-path {path}: ends in {', '.join(_FORMATS)}, or else in / for a folder")
    if len(files) > 1:
        raise ConfigError(f"--save-path {path}: there are {len(files)} files to read, which need a folder")
    return lambda pipeline, reading: _save(pipeline, reading, path.with_suffix(""), suffix)


def _save_as_paddlex(reading: FileReading, path: Path) -> None:
    # Whatever it is called, it is no file.
    path.mkdir(parents=True, exist_ok=True)
    for result in reading.results:
        result.save_to_json(path)
    try:
        for result in reading.results:
            result.save_to_img(path)
    except DrawingError as error:
        _say(error)


def _save_all(pipeline: OCRPipeline, reading: FileReading, folder: Path) -> None:
    try:
        for suffix in _FORMATS:
            _save(pipeline, reading, folder / f"{reading.name}_ocr", suffix)
    except DrawingError as error:
        # Pictures are the last, so that all else is saved.
        _say(error)


def _save(pipeline: OCRPipeline, reading: FileReading, path: Path, suffix: str) -> None:
    """Save in one format. `path` has no suffix. A PDF's pages have a picture and a JSON file each."""
    if suffix in (".txt", ".pdf"):
        target = place(path.with_name(f"{path.name}{suffix}"), reading.source.input_path)
        if suffix == ".txt":
            target.write_text("\f".join(result.text for result in reading.results), encoding="utf-8")
        else:
            target.write_bytes(pipeline.searchable_pdf(reading))
    else:
        for result in reading.results:
            page = f"_{result['page_index']}" if "page_index" in result else ""
            target = path.with_name(f"{path.name}{page}{suffix}")
            if suffix == ".json":
                result.save_to_json(target)
            else:
                result.save_to_img(target)


class _Progress:
    """One line on the terminal that tells how far it is; nothing where standard error is no terminal."""

    def __init__(self, total: int) -> None:
        self._number = 0
        self._total = total
        self._source: Source | None = None
        self._shown = sys.stderr.isatty()

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def show(self, source: Source) -> None:
        """Say what is awaited now."""
        self._number += 1
        self._source = source
        self._write("")

    def on_page(self, source: Source, done: int, of: int) -> None:
        """Say how many pages of what is awaited were read. Files ahead of their turn say nothing."""
        if source is self._source and of > 1:
            self._write(f", page {done} of {of}")

    def clear(self) -> None:
        """Take the line away, before something else is printed."""
        if self._shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    def say(self, message: str) -> None:
        """Print a line that stays."""
        self.clear()
        _say(message)

    def _write(self, page: str) -> None:
        if self._shown and self._source:
            line = f"\r\033[K[{self._number}/{self._total}] {self._source.label}{page}"
            print(line, end="", file=sys.stderr, flush=True)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _complain(error: object, status: int) -> int:
    _say(error)
    return status


def _say(message: object) -> None:
    print(f"triton-ocr: {message}", file=sys.stderr)
