"""Who gets the cores, and how Triton is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf import text_format  # type: ignore[import-untyped]
from tritonclient.grpc.model_config_pb2 import ModelConfig

from scripts.launch.layout import (
    Instances,
    Layout,
    Machine,
    Mode,
    Precision,
    SettingError,
    Wanted,
    found,
    save,
    usual,
    wish,
)
from scripts.launch.repository import build, has_bfloat16
from scripts.launch.server import ROOT
from scripts.launch.triton import CONFIGURATION

REPOSITORY = ROOT / "model_repository"
LAYOUT = Layout(Instances(1, 3), Instances(5, 2), Instances(1, 4), pages=7, lines=9)


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("cpus", [1, 2, 3, 4, 8, 16, 96])
def test_no_network_has_more_threads_than_there_are_cores(mode: Mode, cpus: int) -> None:
    layout = usual(mode, cpus)
    for instances in (layout.detection, layout.recognition, layout.small):
        assert 1 <= instances.count * instances.threads <= cpus


@pytest.mark.parametrize("cpus", [2, 4, 16])
def test_for_latency_all_cores_look_for_the_text_of_one_picture(cpus: int) -> None:
    assert usual(Mode.LATENCY, cpus).detection == Instances(1, cpus)


def test_for_throughput_many_cores_look_for_the_text_of_several_pictures() -> None:
    assert usual(Mode.THROUGHPUT, 16).detection == Instances(2, 8)


def test_what_was_found_on_a_machine_holds_there_and_nowhere_else(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "layouts.json"
    machine = Machine("processor", 2)
    said: list[str] = []
    assert found(path, machine, Mode.LATENCY, said.append) == usual(Mode.LATENCY, 2)
    save(path, machine, {Mode.LATENCY: LAYOUT, Mode.THROUGHPUT: usual(Mode.THROUGHPUT, 2)})
    assert found(path, machine, Mode.LATENCY, said.append) == LAYOUT
    assert found(path, Machine("processor", 4), Mode.LATENCY, said.append) == usual(Mode.LATENCY, 4)
    assert [entry.name for entry in path.parent.iterdir()] == ["layouts.json"]
    assert said == []


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[]",
        lambda text: text.replace('"lines"', '"rows"'),
        lambda text: text.replace('"threads"', '"cores"'),
        lambda text: text.replace('"latency"', '"speed"'),
        lambda text: text.replace('"cpus"', '"cores"'),
        lambda text: '{"machine": {"processor": "processor", "cpus": 2}, "layouts": {"latency": 1}}',
    ],
)
def test_a_file_of_layouts_that_is_cut_or_of_another_version_is_said_and_no_hindrance(
    tmp_path: Path, change: Callable[[str], str]
) -> None:
    path = tmp_path / "layouts.json"
    machine = Machine("processor", 2)
    save(path, machine, {Mode.LATENCY: LAYOUT})
    path.write_text(change(path.read_text()))
    said: list[str] = []
    assert found(path, machine, Mode.LATENCY, said.append) == usual(Mode.LATENCY, 2)
    assert len(said) == 1
    assert said[0].startswith(f"{path} ")


def test_settings_choose_precision_and_mode(tmp_path: Path) -> None:
    path = tmp_path / "layouts.json"
    save(path, Machine.here(), {Mode.LATENCY: LAYOUT, Mode.THROUGHPUT: usual(Mode.THROUGHPUT, 2)})
    assert wish({"OCR_PRECISION": "fast", "OCR_MODE": "latency"}, path) == Wanted(Precision.FAST, LAYOUT)
    assert wish({"OCR_PRECISION": ""}, path).precision is wish({}, path).precision


@pytest.mark.parametrize("setting", ["OCR_PRECISION", "OCR_MODE"])
def test_a_value_that_a_setting_does_not_have_is_named(tmp_path: Path, setting: str) -> None:
    with pytest.raises(SettingError, match=f"{setting} must be .* or .*, not 'quick'"):
        wish({setting: "quick"}, tmp_path / "layouts.json")


def test_a_setting_chooses_the_profile_that_reads_where_none_is_named(tmp_path: Path) -> None:
    none = wish({}, tmp_path / "layouts.json")
    assert none.profile is None
    wanted = wish({"OCR_DEFAULT_PROFILE": "PP-OCRv4_mobile"}, tmp_path / "layouts.json")
    for folder, wish_for, profile in (("usual", none, "PP-OCRv6_small"), ("set", wanted, "PP-OCRv4_mobile")):
        build(tmp_path / folder, REPOSITORY, CONFIGURATION, wish_for)
        parameters = configuration(tmp_path / folder, "ocr_ensemble").parameters
        assert parameters["default_profile"].string_value == profile


def test_on_a_gpu_the_profile_alone_is_as_wanted(tmp_path: Path) -> None:
    build(tmp_path / "models", REPOSITORY, "cuda", Wanted(Precision.FAST, LAYOUT, "PP-OCRv4_mobile"))
    for model in ("det_onnx", "cls_onnx", "rec_onnx", "ocr_ensemble"):
        made = configuration(tmp_path / "models", model, "cuda")
        file = REPOSITORY / model / "configs" / "cuda.pbtxt"
        there = text_format.Parse(
            (file if file.exists() else file.parents[1] / "config.pbtxt").read_text(), ModelConfig()
        )
        if model == "ocr_ensemble":
            assert made.parameters["default_profile"].string_value == "PP-OCRv4_mobile"
            made.parameters["default_profile"].string_value = there.parameters["default_profile"].string_value
        assert made == there


def test_a_profile_that_is_not_there_is_named_beside_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"OCR_DEFAULT_PROFILE must be PP-OCRv4_mobile or .*, not 'v4'"):
        build(tmp_path / "models", REPOSITORY, CONFIGURATION, Wanted(Precision.EXACT, LAYOUT, "v4"))
    assert not (tmp_path / "models").exists()


def configuration(repository: Path, model: str, name: str = CONFIGURATION) -> ModelConfig:
    text = (repository / model / "configs" / f"{name}.pbtxt").read_text()
    return text_format.Parse(text, ModelConfig())


@pytest.mark.parametrize(("precision", "hint"), [(Precision.EXACT, "f32"), (Precision.FAST, "bf16")])
def test_triton_is_told_by_the_models_named_configurations(tmp_path: Path, precision: Precision, hint: str) -> None:
    build(tmp_path / "models", REPOSITORY, CONFIGURATION, Wanted(precision, LAYOUT))
    for model, instances in {"det_onnx": (1, 3), "cls_onnx": (1, 4), "rec_onnx": (5, 2)}.items():
        config = configuration(tmp_path / "models", model)
        assert config.instance_group[0].count == instances[0]
        assert config.parameters["intra_op_thread_count"].string_value == str(instances[1])
        (accelerator,) = config.optimization.execution_accelerators.cpu_execution_accelerator
        assert accelerator.parameters["INFERENCE_PRECISION_HINT"] == hint
    ensemble = configuration(tmp_path / "models", "ocr_ensemble")
    assert ensemble.instance_group[0].count == 7
    values = {key: value.string_value for key, value in ensemble.parameters.items()}
    assert values["precision"] == precision.value
    assert (values["recognition_lines"], values["recognition_instances"]) == ("9", "5")


def test_all_else_in_the_repository_is_as_it_was(tmp_path: Path) -> None:
    build(tmp_path / "models", REPOSITORY, CONFIGURATION, Wanted(Precision.EXACT, LAYOUT))
    for path in REPOSITORY.rglob("*"):
        inside = path.relative_to(REPOSITORY)
        if len(inside.parts) > 1 and inside.parts[1] != "configs":
            assert (tmp_path / "models" / inside).resolve() == path.resolve()


def test_bfloat16_is_told_by_the_processors_flags(tmp_path: Path) -> None:
    def says(line: str) -> bool:
        (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{line}\n")
        return has_bfloat16(tmp_path / "cpuinfo")

    assert says("flags\t\t: fpu avx512_bf16 avx512_fp16")
    assert says("Features\t: fp asimd bf16")
    assert not says("flags\t\t: fpu avx512f avx512vl")
    assert not says("model name\t: bf16")
