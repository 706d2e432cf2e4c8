"""`python -m scripts.tiny --into DIR`: train the tiny models, and write them and the pages that they know.

Does nothing where that has been done, and the code is still the same.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import time
from pathlib import Path

import cv2

from scripts.tiny.pages import PAGES, render

# Modules of this package: build(folder, say) trains, writes, and gives its rows of expected.jsonl.
MODELS = ("internvl", "dots")
_STAMP = ".complete"


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/tiny_models", description=__doc__)
    parser.add_argument("--into", required=True, type=Path, metavar="DIR", help="folder to write to")
    into = parser.parse_args().into
    stamp = into / _STAMP
    if stamp.exists() and stamp.read_text() == _digest():
        return
    stamp.unlink(missing_ok=True)
    _make(into)
    stamp.write_text(_digest())


def _make(into: Path) -> None:
    (into / "pages").mkdir(parents=True, exist_ok=True)
    for page in PAGES:
        cv2.imwrite(str(into / "pages" / f"{page.name}.png"), cv2.cvtColor(render(page), cv2.COLOR_RGB2BGR))
    expected = []
    for model in MODELS:
        began = time.monotonic()
        # PyTorch is slow to load: not before it is needed.
        expected += importlib.import_module(f"scripts.tiny.{model}").build(into / model, _say)
        _say(f"{model}: trained in {time.monotonic() - began:.0f} s")
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in expected)
    (into / "expected.jsonl").write_text("".join(lines), "utf-8")


def _digest() -> str:
    """Of all that decides what the models learn."""
    sources = sorted(Path(__file__).parent.glob("**/*.py"))
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()


def _say(line: str) -> None:
    print(line, flush=True)


main()
