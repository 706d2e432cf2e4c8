"""The folder of what servers write, which tells other processes by which URL each of them says that it is ready."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

# The folder for the files of a run and for Triton's log; unset, .cache.
SETTING = "OCR_STATE_DIR"

_CACHE = Path(__file__).resolve().parents[2] / ".cache"
_HEALTH = "health"


def state_folder(environment: Mapping[str, str]) -> Path:
    """The one that the environment names, else the checkout's."""
    return Path(environment.get(SETTING) or _CACHE)


def runs(state: Path) -> Path:
    """Where each running server has a folder of its own."""
    return state / "run"


def note_health(run: Path, url: str) -> None:
    """Note, in a server's own folder, the URL that answers with 200 while the server is ready."""
    (run / _HEALTH).write_text(url)


def noted_health(state: Path) -> list[str]:
    """What is noted by the servers that run, and by those that were killed since the last start."""
    return [path.read_text() for path in runs(state).glob(f"*/{_HEALTH}")]
