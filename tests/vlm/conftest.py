"""Models of the real architectures, trained on the pages of scripts/tiny."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from scripts.launch.server import ROOT
from scripts.launched import Launched, eventually, launched
from scripts.tiny.pages import PAGES, Page

# Seconds, on a machine that is busy with other things.
LOAD_TIMEOUT = 400.0


@dataclass(frozen=True)
class TinyModels:
    """What scripts/tiny_models has written."""

    folder: Path

    def picture(self, page: Page) -> bytes:
        """The page as a PNG."""
        return (self.folder / "pages" / f"{page.name}.png").read_bytes()

    def expected(self, model: str) -> list[dict[str, str]]:
        """The rows of expected.jsonl that are about the model."""
        rows = map(json.loads, (self.folder / "expected.jsonl").read_text("utf-8").splitlines())
        return [row for row in rows if row["model"] == model]


@pytest.fixture(scope="session")
def tiny_models() -> TinyModels:
    """Trained now, where they are not there already; the first test then needs its time."""
    folder = ROOT / ".cache" / "tiny_models"
    subprocess.run([sys.executable, "-m", "scripts.tiny", "--into", folder], cwd=ROOT, check=True)
    return TinyModels(folder)


@pytest.fixture(scope="session")
def dots(tiny_models: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    """A server with dots.ocr; a test that disturbs it waits until it is as it was."""
    folder = tiny_models.folder
    settings = {"DOTS_MODEL_PATH": str(folder / "dots"), "OCR_IMAGE_ROOT": str(folder), "MODEL_PATH": ""}
    with launched(tmp_path_factory.mktemp("dots") / "log", **settings) as server:
        wait_loaded(server, "dots")
        yield server


def page(name: str) -> Page:
    """The page of this name."""
    return next(page for page in PAGES if page.name == name)


def loaded(server: Launched, api: str) -> bool:
    """Whether the health check of one of the APIs (`dots`, `internvl`) says that its model is."""
    try:
        return bool(httpx.get(f"{server.adapter_url}/{api}/health").json()["model_loaded"])
    except (httpx.HTTPError, ValueError):
        return False


def wait_loaded(server: Launched, api: str) -> None:
    """Wait for an API's model, and fail with what the launcher printed when it ends first."""
    done = eventually(lambda: loaded(server, api) or server.process.poll() is not None, LOAD_TIMEOUT, 0.5)
    assert done and server.process.poll() is None, server.log.read_text()
