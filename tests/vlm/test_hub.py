"""Weights that are named as on a hub, on a machine that cannot reach it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from internvl import checkpoint

from scripts.launch.dots import engine_arguments
from scripts.launch.loading import LoadError
from scripts.launch.server import ROOT
from tests.vlm.conftest import TinyModels

COMMIT = "0" * 40
Locate = Callable[[str], str]


def dots(name: str) -> str:
    return str(engine_arguments(ROOT / "model_repository", name, gpu=False)["model"])


def internvl(name: str) -> str:
    return checkpoint.locate("", {"MODEL_PATH": name})


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """The hub's cache, which holds nothing."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return Path(tmp_path)


@pytest.mark.parametrize("locate", [dots, internvl])
def test_a_model_in_the_cache_is_found_by_its_name(cache: Path, tiny_models: TinyModels, locate: Locate) -> None:
    model = cache / "models--someone--some.model"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text(COMMIT)
    snapshot = model / "snapshots" / COMMIT
    shutil.copytree(tiny_models.folder / locate.__name__, snapshot)
    assert locate("someone/some.model") == str(snapshot)


@pytest.mark.parametrize(("locate", "error"), [(dots, LoadError), (internvl, FileNotFoundError)])
def test_a_model_that_is_not_to_be_had_is_named(locate: Locate, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"someone/some.model.* neither in the hub's cache nor to be fetched"):
        locate("someone/some.model")
