from __future__ import annotations

import fcntl
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.launch import rundir
from scripts.launch.ports import Listeners
from scripts.launch.rundir import RunDirectory, run_directory
from scripts.launch.triton import (
    Installation,
    ServerLog,
    StubWatch,
    TritonError,
    build_backend_directory,
    command,
    environment,
    installation,
    models,
)


def test_the_backend_directory_holds_the_python_backend_and_the_repositorys_own(tmp_path: Path) -> None:
    own = tmp_path / "own"
    (own / "onnxruntime").mkdir(parents=True)
    (own / "onnxruntime" / "model.py").write_text("")
    (own / "__pycache__").mkdir()
    build_backend_directory(tmp_path / "backends", own)
    assert {path.name for path in (tmp_path / "backends").iterdir()} == {"python", "onnxruntime"}
    python = tmp_path / "backends" / "python"
    assert (python / "triton_python_backend_utils.py").exists()
    # Triton refuses a library whose real path lies elsewhere.
    assert (python / "libtriton_python.so").resolve() == python / "libtriton_python.so"
    assert os.access(python / "triton_python_backend_stub", os.X_OK)
    assert (tmp_path / "backends" / "onnxruntime" / "model.py").exists()


def test_the_stub_of_the_running_python_finds_its_libraries(tmp_path: Path) -> None:
    build_backend_directory(tmp_path / "backends", tmp_path)
    stub = tmp_path / "backends" / "python" / "triton_python_backend_stub"
    resolved = subprocess.run(["ldd", stub], env=environment(os.environ), capture_output=True, text=True, check=True)
    assert f"libpython3.{sys.version_info.minor}.so" in resolved.stdout
    assert "not found" not in resolved.stdout


def test_the_virtual_environment_comes_first_on_the_servers_path() -> None:
    assert environment({"PATH": "/usr/bin"})["PATH"] == f"{sys.prefix}/bin:/usr/bin"


def test_the_wheels_triton_runs_where_none_is_named(tmp_path: Path) -> None:
    triton = installation({"PATH": "/usr/bin"}, tmp_path / "laid out", tmp_path)
    assert triton.server.name == "tritonserver"
    assert (triton.backends / "python").is_dir()
    assert triton.configuration == "openvino"


def test_an_installed_triton_runs_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "tritonserver").touch()
    settings = {"OCR_TRITON_HOME": str(tmp_path), "OCR_TRITON_CONFIG": "cuda", "PATH": "/usr/bin"}
    triton = installation(settings, tmp_path / "unused", tmp_path)
    assert (triton.server, triton.backends) == (tmp_path / "bin" / "tritonserver", tmp_path / "backends")
    assert triton.configuration == "cuda"
    assert triton.environment == {**settings, "LD_LIBRARY_PATH": f"{tmp_path}/lib"}
    assert not (tmp_path / "unused").exists()


def test_a_triton_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TritonError, match="OCR_TRITON_HOME"):
        installation({"OCR_TRITON_HOME": str(tmp_path)}, tmp_path / "unused", tmp_path)


def test_the_ocr_models_are_loaded_where_there_is_what_runs_networks(tmp_path: Path) -> None:
    triton = Installation(Path("tritonserver"), tmp_path, {}, "cuda")
    assert models(triton) == []
    (tmp_path / "onnxruntime").mkdir()
    assert {*models(triton)} == {"doc_onnx", "det_onnx", "cls_onnx", "rec_onnx", "ocr_ensemble"}


@pytest.mark.parametrize(
    ("host", "http", "grpc"),
    [("127.0.0.1", "127.0.0.1", "127.0.0.1"), ("::1", "ipv6:::1", "[::1]"), ("::", "ipv6:::", "[::]")],
)
def test_each_protocol_of_triton_is_told_its_address_as_it_wants_it(host: str, http: str, grpc: str) -> None:
    triton = Installation(Path("tritonserver"), Path("/backends"), {}, "cuda")
    words = command(triton, Listeners(host, 1, 2, 3, 4), Path("/models"), "prefix", "key")
    assert {f"--http-address={http}", f"--grpc-address={grpc}"} <= {*words}


@pytest.mark.parametrize("name", ["a b", "it's", "$HOME", "a&b", "~", "(1)"])
def test_a_folder_whose_name_bash_would_change_is_refused_by_name(name: str) -> None:
    listeners = Listeners("127.0.0.1", 1, 2, 3, 4)
    for backends, models_folder in ((f"/{name}/backends", "/models"), ("/backends", f"/{name}/models")):
        triton = Installation(Path("tritonserver"), Path(backends), {}, "cuda")
        with pytest.raises(TritonError, match=f"^{re.escape(f'/{name}/')}"):
            command(triton, listeners, Path(models_folder), "prefix", "key")


def test_the_log_keeps_everything_and_passes_on_what_matters(tmp_path: Path) -> None:
    said: list[str] = []
    lines = [
        'I1120 07:15:29.401969 7032 model_lifecycle.cc:472] "loading: det_onnx:1"',
        "+-------+---------+",
        "| Model | Version |",
        "",
        'E1120 07:15:29.402174 7032 server.cc:241] "CudaDriverHelper has not been initialized."',
        "E1120 07:15:29.404005 7032 model_lifecycle.cc:642] \"failed to load 'det_onnx' version 1\"",
        "Traceback (most recent call last):",
    ]
    log = ServerLog(tmp_path / "logs" / "triton.log", said.append)
    for line in lines:
        log(line)
    assert said == lines[-2:]
    assert not log.drained
    assert (tmp_path / "logs" / "triton.log").read_text().splitlines() == lines


def test_the_log_passes_on_why_a_model_cannot_be_loaded_and_not_where_that_was_found_out(tmp_path: Path) -> None:
    said: list[str] = []
    message = "Internal: NetworkError: /models/rec_onnx/3/model.onnx cannot be loaded"
    where = "  /models/backends/onnxruntime/sessions.py(220): _open"
    escaped = rf"\n\nAt:\n{where}\n{where}\n"
    version = f"""E1120 12:19:57.232307 8806 model_lifecycle.cc:642] "failed to load 'rec_onnx' version 3: {message}"""
    other = "load failed for model 'ocr_ensemble': it has no version"
    lines = [
        f'E1120 12:19:57.232231 8806 backend_model.cc:692] "ERROR: Failed to create instance: {message}{escaped}"',
        f'{version}{escaped}"',
        f"error: creating server: Invalid argument - load failed for model 'rec_onnx': {message}",
        "",
        "At:",
        where,
        where,
        ";",
        other,
    ]
    log = ServerLog(tmp_path / "triton.log", said.append)
    for line in lines:
        log(line)
    assert said == [f'{version}"', other]
    assert log.refusal == f"Invalid argument - load failed for model 'rec_onnx': {message}"
    assert (tmp_path / "triton.log").read_text().splitlines() == lines


@pytest.fixture
def parent_of_zombie() -> Iterator[subprocess.Popen[str]]:
    script = "import os, sys, time\nif os.fork() == 0: os._exit(0)\nprint(flush=True)\ntime.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


def test_a_child_that_stays_a_zombie_is_a_lost_stub(parent_of_zombie: subprocess.Popen[str]) -> None:
    watch = StubWatch()
    deadline = time.monotonic() + 5
    while not watch(parent_of_zombie.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert watch(parent_of_zombie.pid) == "has lost a Python stub"
    assert StubWatch()(parent_of_zombie.pid) is None, "one look cannot tell a dead stub from one that is being ended"


@pytest.fixture
def shared_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "shm"
    directory.mkdir()
    monkeypatch.setattr(rundir, "SHARED_MEMORY", directory)
    return directory


def test_a_run_leaves_neither_folder_nor_shared_memory(tmp_path: Path, shared_memory: Path) -> None:
    other = shared_memory / "somebody_elses"
    other.touch()
    with run_directory(tmp_path / "run") as run:
        (shared_memory / f"{run.shared_memory_prefix}1").touch()
        (run.path / "file").touch()
    assert list(shared_memory.iterdir()) == [other]
    assert not list((tmp_path / "run").iterdir())


@pytest.fixture
def links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "links"
    directory.mkdir()
    monkeypatch.setattr(rundir, "LINKS", directory)
    return directory


@pytest.fixture
def short() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="r") as directory:
        yield Path(directory)


def test_a_run_has_a_name_that_bash_takes_as_it_is(short: Path, shared_memory: Path, links: Path) -> None:
    for parent in (short / "run", short / "运行"):
        with run_directory(parent) as run:
            assert run.plain == run.path
    odd = short / "it's (my) $HOME & co" / "run"
    with run_directory(odd) as run:
        (run.plain / "file").touch()
        echo = subprocess.run(["bash", "-c", f"echo {run.plain}/f*"], capture_output=True, text=True, check=True)
        assert echo.stdout == f"{run.plain}/file\n"
        assert (run.path / "file").exists()
        run.remove_leftovers()  # Triton is started again
        assert (run.plain / "file").exists()
    assert not list(links.iterdir())

    killed = RunDirectory(odd / "killed")
    killed.path.mkdir()
    killed.plain.symlink_to(killed.path)
    with run_directory(odd) as run:
        assert [*links.iterdir()] == [run.plain]


def test_a_run_has_room_for_sockets_and_leaves_none_of_a_triton_that_has_died(
    short: Path, shared_memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rundir, "LINKS", short)
    for parent in (short / "run", short / f"a{'bc' * 60}" / "run"):
        with run_directory(parent) as run, socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(run.temporary / str(uuid.uuid4())))
            (run.temporary / "folder").mkdir()
            run.remove_leftovers()
            assert not list(run.temporary.iterdir())
        assert not list(parent.iterdir())


def test_a_run_leaves_no_empty_folder_for_packed_environments(
    tmp_path: Path, shared_memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rundir, "ENVIRONMENTS", tmp_path)
    earlier, used, left = (tmp_path / f"python_env_{name}" for name in ("earlier", "used", "left"))
    earlier.mkdir()
    time.sleep(0.05)  # the file system's clock is a coarse one
    with run_directory(tmp_path / "run"):
        left.mkdir()
        used.mkdir()
        (used / "environment").touch()
    assert (earlier.exists(), used.exists(), left.exists()) == (True, True, False)


def test_a_start_clears_what_killed_runs_left_and_spares_running_ones(tmp_path: Path, shared_memory: Path) -> None:
    killed = RunDirectory(tmp_path / "run" / "killed")
    killed.path.mkdir(parents=True)
    (shared_memory / f"{killed.shared_memory_prefix}1").touch()
    running = RunDirectory(tmp_path / "run" / "running")
    running.path.mkdir()
    kept = shared_memory / f"{running.shared_memory_prefix}1"
    kept.touch()
    descriptor = os.open(running.path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with run_directory(tmp_path / "run"):
        assert list(shared_memory.iterdir()) == [kept]
        assert running.path.exists()
        assert not killed.path.exists()
    os.close(descriptor)
