"""Profiles of the user's own weights: added whole or not at all, found by the model, kept by a fetch, and removed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from onnx import TensorProto, helper
from ppocr.profiles import load_profiles

from scripts.weights import imported, paddle
from scripts.weights.errors import (
    ConversionError,
    DictionaryError,
    GraphError,
    ImportRefusedError,
    VerificationError,
    WeightsError,
)
from scripts.weights.exported import exported
from scripts.weights.imported import Files, import_profile, remove_profile
from scripts.weights.networks import Normalisation
from tests.unit import tiny_networks as tiny

REPOSITORY = Path(__file__).parents[2]
DICTIONARY = "甲\n乙\n丙\n"
CLASSES = 5


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with nothing but the profiles' parameters and the classifier that they share."""
    monkeypatch.setattr(imported, "fetch", lambda root: None)
    ensemble = tmp_path / "root" / "model_repository" / "ocr_ensemble" / "1"
    shutil.copytree(REPOSITORY / "model_repository" / "ocr_ensemble" / "1" / "profiles", ensemble / "profiles")
    shutil.rmtree(ensemble / "profiles" / "imported", ignore_errors=True)
    (ensemble / "dictionaries").mkdir()
    for path in (ensemble / "profiles").glob("*.json"):
        (ensemble / "dictionaries" / f"{path.stem}.txt").write_text("a\n")
    for kind in ("det_onnx", "cls_onnx", "rec_onnx"):
        (tmp_path / "root" / "model_repository" / kind / "1").mkdir(parents=True)
    (tmp_path / "root" / "model_repository" / "cls_onnx" / "1" / "model.onnx").write_bytes(b"the shared one")
    (tmp_path / "root" / ".cache").mkdir()
    return tmp_path / "root"


@pytest.fixture
def files(tmp_path: Path) -> Files:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "det.onnx").write_bytes(tiny.detector().SerializeToString())
    (folder / "rec.onnx").write_bytes(tiny.random_recogniser(CLASSES).SerializeToString())
    (folder / "dict.txt").write_text(DICTIONARY, encoding="utf-8")
    return Files(folder / "det.onnx", folder / "rec.onnx", folder / "dict.txt")


def ensemble(root: Path) -> Path:
    return root / "model_repository" / "ocr_ensemble" / "1"


def contents(root: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(root)): file.read_bytes()
        for file in sorted(root.rglob("*"))
        if file.is_file() and file.suffix != ".lock"
    }


def test_an_imported_profile_is_a_new_version_that_the_model_finds(root: Path, files: Files) -> None:
    import_profile(root, "mine", files)
    import_profile(root, "other", files)
    profiles = load_profiles(ensemble(root))
    assert (profiles["mine"].version, profiles["other"].version) == (1001, 1002)
    assert profiles["mine"].characters == ["", "甲", "乙", "丙", " "]
    assert profiles["mine"].detection == profiles["PP-OCRv4_mobile"].detection
    for kind in ("det_onnx", "rec_onnx"):
        assert (root / "model_repository" / kind / "1001" / "model.onnx").stat().st_size > 100
    assert (root / "model_repository" / "cls_onnx" / "1001" / "model.onnx").read_bytes() == b"the shared one"


def test_a_removed_profile_leaves_nothing(root: Path, files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(root)
    import_profile(root, "mine", files)
    remove_profile(root, "mine")
    assert contents(root) == before
    assert not (root / "model_repository" / "det_onnx" / "1001").exists()
    with pytest.raises(ImportRefusedError, match="mine is no imported profile; there are: none"):
        remove_profile(root, "mine")


def test_what_a_killed_run_left_is_swept_away(root: Path, files: Files) -> None:
    (root / "model_repository" / "rec_onnx" / "1001").mkdir()
    (ensemble(root) / "dictionaries" / "half.txt").write_text("a\n")
    import_profile(root, "mine", files)
    assert load_profiles(ensemble(root))["mine"].version == 1001
    assert not (ensemble(root) / "dictionaries" / "half.txt").exists()


def paddlex_folder(folder: Path, model: bytes, **settings: object) -> Path:
    folder.mkdir()
    (folder / "inference.onnx").write_bytes(model)
    (folder / "inference.yml").write_text(yaml.safe_dump(settings, allow_unicode=True), encoding="utf-8")
    return folder


def test_what_an_inference_yml_says_is_honoured(root: Path, tmp_path: Path) -> None:
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    steps = [{"DecodeImage": {"img_mode": "BGR"}}, {"NormalizeImage": {"mean": mean, "std": std}}]
    db = {"name": "DBPostProcess", "thresh": 0.25, "box_thresh": 0.55, "unclip_ratio": 1.7}
    det = paddlex_folder(
        tmp_path / "det", tiny.detector().SerializeToString(), PreProcess={"transform_ops": steps}, PostProcess=db
    )
    ctc = {"name": "CTCLabelDecode", "character_dict": ["0", "no", "~"]}
    rec = paddlex_folder(tmp_path / "rec", tiny.random_recogniser(CLASSES).SerializeToString(), PostProcess=ctc)
    assert exported(det).settings.normalisation == Normalisation(tuple(mean), tuple(std))  # type: ignore[union-attr, arg-type]
    import_profile(root, "server", Files(det, rec))
    profiles = load_profiles(ensemble(root))
    rules = profiles["server"].detection
    assert (rules.thresh, rules.box_thresh, rules.unclip_ratio) == (0.25, 0.55, 1.7)
    assert rules.max_pixels == profiles["PP-OCRv5_mobile"].detection.max_pixels
    assert profiles["server"].characters == ["", "0", "no", "~", " "]


def test_another_profiles_parameters_can_be_taken(root: Path, files: Files) -> None:
    import_profile(root, "mine", files, like="PP-OCRv6_tiny")
    profiles = load_profiles(ensemble(root))
    assert profiles["mine"].detection == profiles["PP-OCRv6_tiny"].detection


def test_a_recogniser_can_be_put_behind_a_detector_that_is_here(root: Path, files: Files) -> None:
    import_profile(root, "first", files, like="PP-OCRv6_tiny")
    import_profile(root, "second", replace(files, detector=Path("first_det")))
    profiles = load_profiles(ensemble(root))
    assert (profiles["second"].version, profiles["second"].detection) == (1002, profiles["first"].detection)
    detectors = [root / "model_repository" / "det_onnx" / version / "model.onnx" for version in ("1001", "1002")]
    assert detectors[0].read_bytes() == detectors[1].read_bytes()
    with pytest.raises(ImportRefusedError, match="first_det has parameters of its own"):
        import_profile(root, "third", replace(files, detector=Path("first_det")), like="PP-OCRv6_tiny")


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        (lambda f, d: Files(f.detector, f.recogniser, write(d / "x", b"a\n")), (DictionaryError, "rec.onnx.* 1 char")),
        (lambda f, d: Files(f.detector, f.recogniser), (DictionaryError, "no dictionary")),
        (lambda f, d: Files(f.detector, f.recogniser, write(d / "x", b"\xff\n")), (ImportRefusedError, "not UTF-8")),
        (lambda f, d: Files(f.recogniser, f.recogniser, f.dictionary), (GraphError, "a detector answers")),
        (lambda f, d: Files(f.detector, f.detector, f.dictionary), (GraphError, "a recogniser answers")),
        (lambda f, d: Files(f.detector, f.recogniser, f.dictionary, f.recogniser), (GraphError, "a classifier")),
        (lambda f, d: Files(write(d / "x", b"no"), f.recogniser, f.dictionary), (GraphError, "x: .*no ONNX")),
        (lambda f, d: Files(f.detector, write(d / "x", b""), f.dictionary), (GraphError, "x: one output is wanted")),
        (lambda f, d: Files(d / "gone", f.recogniser, f.dictionary), (ImportRefusedError, "gone: there is no such")),
        (lambda f, d: Files(d, f.recogniser, f.dictionary), (ImportRefusedError, "no Paddle inference model")),
    ],
)
def test_bad_files_are_refused_and_leave_nothing(
    root: Path,
    files: Files,
    tmp_path: Path,
    change: Callable[[Files, Path], Files],
    refusal: tuple[type[WeightsError], str],
) -> None:
    before = contents(root)
    with pytest.raises(refusal[0], match=refusal[1]):
        import_profile(root, "mine", change(files, tmp_path))
    assert contents(root) == before


def test_a_network_without_probabilities_is_refused(root: Path, files: Files) -> None:
    logits = tiny.detector()
    del logits.graph.node[-1]
    logits.graph.node[0].output[0] = "y"
    files.detector.write_bytes(logits.SerializeToString())
    with pytest.raises(VerificationError, match="where probabilities are wanted"):
        import_profile(root, "mine", files)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("../up", "cannot be a profile's name"),
        ("PP-OCRv4_mobile", "come with the server"),
        ("mine", "is there already: scripts/fetch remove mine"),
    ],
)
def test_a_name_that_cannot_be_taken_is_refused(root: Path, files: Files, name: str, said: str) -> None:
    import_profile(root, "mine", files)
    with pytest.raises(ImportRefusedError, match=said):
        import_profile(root, name, files)


def test_a_network_that_wants_rgb_is_refused(tmp_path: Path) -> None:
    steps = [{"DecodeImage": {"img_mode": "RGB"}}]
    folder = paddlex_folder(tmp_path / "det", b"", PreProcess={"transform_ops": steps})
    with pytest.raises(ImportRefusedError, match="wants RGB pictures"):
        exported(folder)


def test_a_paddle_model_is_told_from_its_two_files(tmp_path: Path) -> None:
    (tmp_path / "inference.json").touch()
    (tmp_path / "inference.pdiparams").touch()
    (tmp_path / "config.json").touch()
    program = exported(tmp_path).program
    assert program is not None
    assert (program.model.name, program.parameters.name) == ("inference.json", "inference.pdiparams")


def test_a_library_that_paddle_lacks_is_named_with_its_package(
    root: Path, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paddle, "OPENMP", "libnowhere.so.1")
    folder = tmp_path / "det"
    folder.mkdir()
    for name in ("inference.json", "inference.pdiparams"):
        (folder / name).touch()
    with pytest.raises(ConversionError, match=r"libnowhere.so.1 is missing .*: apt-get install libgomp1"):
        import_profile(root, "mine", replace(files, detector=folder))


def test_the_command_refuses_in_one_line() -> None:
    command = [sys.executable, "-m", "scripts.weights", "import", "../up", "--det", "det", "--rec", "rec"]
    run = subprocess.run(command, cwd=REPOSITORY, env=os.environ, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == "scripts/fetch: '../up' cannot be a profile's name: letters, digits, '.', '_' and '-' can\n"


def test_a_shape_that_is_put_together_of_scalars_is_mended() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "first"], ["number"]),  # a scalar
        helper.make_node("Cast", ["number"], ["scalar"], to=TensorProto.INT64),
        helper.make_node("Concat", ["scalar", "rest"], ["wanted"], axis=0),
        helper.make_node("Reshape", ["x", "wanted"], ["y"]),
    ]
    constants = {"first": np.array(0, np.int64), "rest": np.array([-1], np.int64)}
    broken = tiny.model(nodes, constants, ["N", "M"])
    picture = np.zeros((2, 3, 4, 5), np.float32)
    with pytest.raises(Exception, match="Concat"):
        tiny.run(broken, x=picture)
    (answer,) = tiny.run(paddle.mended(broken), x=picture)
    assert answer.shape == (2, 60)
