"""A virtual environment for each peer, below .cache/bench/, with what locks/peers/NAME.txt pins."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from scripts.benchmark.errors import BenchmarkError
from scripts.launch.server import ROOT

CACHE = ROOT / ".cache" / "bench"

_PIP_INSTALL = (
    *("-m", "pip", "install", "--require-hashes", "--no-deps", "--only-binary=:all:", "--no-user", "--compile"),
    *("--no-input", "--disable-pip-version-check", "--quiet"),
)
_LAST_WORDS = 5
# soname of the library, and Debian's package that brings it
_LIBB64 = "libb64.so.0d"
_LIBB64_PACKAGE = "libb64-0d"


def environment(name: str) -> Path:
    """The folder of the peer's environment, made where it is not there, or not as its lock file wants it.

    Raises:
        BenchmarkError: it cannot be made; the message has pip's last words.
    """
    lock = ROOT / "locks" / "peers" / f"{name}.txt"
    folder = CACHE / "environments" / name
    stamp = folder / ".complete"
    checksum = hashlib.sha256(lock.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == checksum:
        return folder
    print(f"Installing {lock.relative_to(ROOT)} into {folder.relative_to(ROOT)}", file=sys.stderr, flush=True)
    _run([sys.executable, "-m", "venv", "--clear", str(folder)], name)
    _run([str(folder / "bin" / "python"), *_PIP_INSTALL, "-r", str(lock)], name)
    stamp.write_text(checksum)
    return folder


def library_path(environment: Path) -> str:
    """The folders with the shared libraries that perf_analyzer wants and wheels or Debian bring: CUDA's runtime (it
    runs without a GPU, but is linked against it) and libb64.

    Raises:
        BenchmarkError: libb64 is not there and cannot be downloaded.
    """
    cuda = environment / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages/nvidia/cuda_runtime/lib"
    found = next(Path("/usr/lib").glob(f"*/{_LIBB64}"), None)
    return f"{cuda}:{found.parent if found else _downloaded_libb64()}"


def _downloaded_libb64() -> Path:
    """Unpacked below the cache: nothing is installed, and no privilege needed."""
    folder = CACHE / _LIBB64_PACKAGE
    if not folder.exists():
        download = CACHE / f"{_LIBB64_PACKAGE}.download"
        shutil.rmtree(download, ignore_errors=True)
        download.mkdir(parents=True)
        _run(["apt-get", "download", "--quiet", _LIBB64_PACKAGE], f"{_LIBB64_PACKAGE} (apt-get install it)", download)
        (package,) = download.glob("*.deb")
        _run(["dpkg-deb", "--extract", str(package), str(download / "root")], _LIBB64_PACKAGE)
        (download / "root").rename(folder)
        shutil.rmtree(download)
    return next(folder.glob(f"usr/lib/*/{_LIBB64}")).parent


def _run(command: list[str], what: str, folder: Path | None = None) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BenchmarkError(f"{what} cannot be installed: {error}") from error
    if done.returncode:
        words = (done.stderr or done.stdout).strip().splitlines()[-_LAST_WORDS:]
        raise BenchmarkError(f"{what} cannot be installed:\n" + "\n".join(f"  {line}" for line in words))
