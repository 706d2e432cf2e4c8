"""The set-up of .venv, tried in a small copy of the repository whose lock files list nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "scripts").mkdir()
    for name in ("bootstrap.sh", "machine.py"):
        shutil.copy(ROOT / "scripts" / name, tmp_path / "scripts")
    (tmp_path / "locks").mkdir()
    for name in ("server.txt", "test.txt"):
        (tmp_path / "locks" / name).write_text(f"# {name}: nothing\n")
    return tmp_path


def bootstrap(checkout: Path, lock: str = "server", python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    script = f'. "{checkout}/scripts/bootstrap.sh" {lock}; echo "$ROOT"; "$PYTHON" -c "import sys; print(sys.prefix)"'
    environment = {"PATH": os.environ["PATH"], "HOME": str(checkout), "OCR_PYTHON": python}
    return subprocess.run(
        ["bash", "-c", script], cwd="/", env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_environment_is_made_once_and_again_only_when_it_has_to_be(checkout: Path) -> None:
    answer = f"{checkout}\n{checkout}/.venv\n"
    planted = checkout / ".venv" / "planted"

    first = bootstrap(checkout)
    assert (first.returncode, first.stdout) == (0, answer)
    assert "Making .venv with Python" in first.stderr

    planted.touch()
    began = time.monotonic()
    second = bootstrap(checkout)
    assert (second.returncode, second.stdout, second.stderr) == (0, answer, "")
    assert time.monotonic() - began < 1

    on_top = bootstrap(checkout, "test")
    assert on_top.returncode == 0
    assert "Making" not in on_top.stderr
    assert bootstrap(checkout, "server").stderr == ""
    assert planted.exists()

    (checkout / "locks" / "server.txt").write_text("# another version of nothing\n")
    assert "Making" in bootstrap(checkout).stderr
    assert not planted.exists()


def test_an_installation_that_failed_leaves_no_stamp_that_calls_it_complete(checkout: Path) -> None:
    (checkout / "locks" / "server.txt").write_text("no-such-package-of-this-name==1.0\n")  # and no hash
    assert bootstrap(checkout).returncode != 0
    assert not list((checkout / ".venv").glob(".server"))


def test_a_python_that_will_not_do_is_named(checkout: Path) -> None:
    old = checkout / "python2"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    result = bootstrap(checkout, python=str(old))
    assert result.returncode != 0
    assert f"No {old} with a version of 3.10, 3.11 or 3.12" in result.stderr
    assert not (checkout / ".venv").exists()


def test_what_is_missing_is_named_with_the_package_that_brings_it() -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    # An interpreter without its library folder has neither ensurepip's bundle nor libpython.
    script = (
        "import importlib.util, runpy, sysconfig, ctypes\n"
        "importlib.util.find_spec = lambda name: None\n"
        "sysconfig.get_config_var = lambda name: '/nowhere'\n"
        "def refuse(name): raise OSError\n"
        "ctypes.CDLL = refuse\n"
        f"runpy.run_path({str(ROOT / 'scripts' / 'machine.py')!r}, run_name='__main__')"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert f"apt-get install python{version}-venv" in result.stderr
    assert f"apt-get install libpython{version}\n" in result.stderr


def test_a_machine_of_another_kind_is_refused_with_its_name(checkout: Path) -> None:
    arm = checkout / "python3"
    # An interpreter that would make an environment, and find no package for it.
    arm.write_text(f'#!/bin/sh\n_PYTHON_HOST_PLATFORM=linux-aarch64 exec "{sys.executable}" "$@"\n')
    arm.chmod(0o755)
    result = bootstrap(checkout, python=str(arm))
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        "The server runs on linux-x86_64 alone, since Triton's wheel is made for nothing else; this is linux-aarch64"
    ]
    assert not (checkout / ".venv").exists()


def test_offline_leaves_pip_one_folder_and_the_command_its_other_arguments(tmp_path: Path) -> None:
    wheels = tmp_path / "all wheels"
    wheels.mkdir()
    script = f'. "{ROOT}/scripts/offline.sh"; printf "%s\\n" "$@" "$PIP_NO_INDEX $PIP_FIND_LINKS ${{PIP_INDEX_URL-}}"'
    for given in (["--offline", "all wheels"], ["--offline=all wheels"]):
        result = subprocess.run(
            ["bash", "-c", script, "serve", "-k", "a b", *given, "--vlm"],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "PIP_INDEX_URL": "https://example.com"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert result.stdout.splitlines() == ["-k", "a b", "--vlm", f"1 file://{tmp_path}/all%20wheels "]


@pytest.mark.parametrize("given", [["--offline"], ["--offline", "gone"], ["--offline="]])
def test_an_offline_folder_that_is_not_there_is_named(tmp_path: Path, given: list[str]) -> None:
    script = f'. "{ROOT}/scripts/offline.sh"'
    run = subprocess.run(
        ["bash", "-c", script, "serve", *given], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 2
    assert f"--offline: no folder '{'gone' if 'gone' in given else ''}'" in run.stderr
