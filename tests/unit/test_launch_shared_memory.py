"""A start without enough shared memory is refused, before anything is started."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from scripts.launch.layout import Mode, Precision, Wanted, usual
from scripts.launch.repository import build
from scripts.launch.server import ROOT
from scripts.launch.shared_memory import check_room
from scripts.launch.triton import CONFIGURATION, Installation, TritonError

MIB = 1 << 20


class Usage(NamedTuple):
    total: int
    free: int


def installation(backends: Path, configuration: str) -> Installation:
    return Installation(Path("tritonserver"), backends, {}, configuration)


@pytest.fixture
def of_the_wheel(tmp_path: Path) -> tuple[Installation, Path]:
    """The wheel's Triton with this repository's backends, and the models as they are laid out for two cores."""
    models = tmp_path / "models"
    build(models, ROOT / "model_repository", CONFIGURATION, Wanted(Precision.EXACT, usual(Mode.THROUGHPUT, 2)))
    return installation(ROOT / "backends", CONFIGURATION), models


def has(monkeypatch: pytest.MonkeyPatch, total: int, free: int) -> None:
    """Let every file system have so many bytes."""
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(total, free))


def test_where_it_is_too_small_the_start_is_refused_with_what_helps(
    of_the_wheel: tuple[Installation, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    has(monkeypatch, 64 * MIB, 64 * MIB)
    with pytest.raises(TritonError, match=r"64 MB free, .* 84 MB .*--shm-size 2g"):
        check_room(*of_the_wheel)


def test_what_others_hold_of_it_is_not_there(
    of_the_wheel: tuple[Installation, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    has(monkeypatch, 2048 * MIB, 83 * MIB)
    with pytest.raises(TritonError):
        check_room(*of_the_wheel)


@pytest.mark.parametrize(("total", "free"), [(84 * MIB, 84 * MIB), (0, 0)], ids=["just enough", "without a bound"])
def test_where_there_is_room_it_is_started(
    of_the_wheel: tuple[Installation, Path], monkeypatch: pytest.MonkeyPatch, total: int, free: int
) -> None:
    has(monkeypatch, total, free)
    check_room(*of_the_wheel)


def test_a_backend_that_is_not_written_in_python_needs_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "onnxruntime").mkdir()
    has(monkeypatch, 64 * MIB, 15 * MIB)
    with pytest.raises(TritonError, match="16 MB"):  # the four instances of ocr_ensemble
        check_room(installation(tmp_path, "cuda"), ROOT / "model_repository")
    has(monkeypatch, 64 * MIB, 16 * MIB)
    check_room(installation(tmp_path, "cuda"), ROOT / "model_repository")
