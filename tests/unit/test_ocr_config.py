"""PaddleX's configuration files, model names and devices, as this server understands them."""

from __future__ import annotations

from pathlib import Path

import pytest

from triton_ocr.config import DEFAULT_CONFIG, PipelineConfig, check_device, load_config, profile_of
from triton_ocr.errors import ConfigError

ROOT = Path(__file__).parents[2]
PROFILES = ("PP-OCRv4_mobile", "PP-OCRv6_small", "mine")


def config(tmp_path: Path, text: str) -> PipelineConfig:
    file = tmp_path / "OCR.yaml"
    file.write_text(text, encoding="utf-8")
    return load_config(str(file))


def test_the_documented_configuration_is_read(tmp_path: Path) -> None:
    text = """
Pipeline:
  text_det_model: PP-OCRv4_mobile_det  #可修改为微调后文本检测模型的本地路径
  text_rec_model: PP-OCRv4_mobile_rec  #可修改为微调后文本检测模型的本地路径
  text_rec_batch_size: 1
  device: "gpu:0"
"""
    assert config(tmp_path, text) == PipelineConfig("PP-OCRv4_mobile_det", "PP-OCRv4_mobile_rec", 1, "gpu:0")


def test_the_name_alone_leaves_everything_to_the_server() -> None:
    assert load_config("OCR") == PipelineConfig()


def test_the_configuration_that_is_given_out_names_what_reads_by_default() -> None:
    given = load_config(str(DEFAULT_CONFIG))
    default = f'key: "default_profile" value: {{ string_value: "{(given.text_det_model or "").removesuffix("_det")}" }}'
    assert default in (ROOT / "model_repository" / "ocr_ensemble" / "config.pbtxt").read_text()
    assert given.text_rec_model == (given.text_det_model or "").replace("_det", "_rec")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Pipeline: [", "not YAML"),
        ("Global: {}", "no section Pipeline"),
        ("Pipeline: {text_det_modle: x}", "Pipeline.text_det_modle is not known here; there are text_det_model"),
        ("Pipeline: {text_rec_batch_size: many}", "text_rec_batch_size is 'many', where int is wanted"),
        ("Pipeline: {text_rec_batch_size: 33}", "text_rec_batch_size is 33; it is 1 to 32"),
        ("Pipeline: {device: 0}", "device is 0, where str is wanted"),
    ],
)
def test_what_is_wrong_with_a_configuration_is_said(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config(tmp_path, text)


def test_another_pipeline_and_a_missing_file_are_refused() -> None:
    with pytest.raises(ConfigError, match="there is no pipeline 'table_recognition': there is OCR"):
        load_config("table_recognition")
    with pytest.raises(ConfigError, match=r"gone\.yaml: No such file"):
        load_config("gone.yaml")


def test_a_models_name_names_a_profile() -> None:
    assert profile_of("PP-OCRv4_mobile_det", "_det", "text_det_model", PROFILES) == "PP-OCRv4_mobile"
    assert profile_of("mine_rec", "_rec", "text_rec_model", PROFILES) == "mine"


@pytest.mark.parametrize(
    ("model", "command"),
    [
        ("PP-OCRv4_server_rec", "import PP-OCRv4_server --det DET --rec REC --dict DICTIONARY"),
        ("PP-OCRv4_mobile_det", "import PP-OCRv4_mobile --det DET"),
        ("./tuned/rec", r"import NAME --det DET --rec \./tuned/rec .*and name NAME_rec here"),
    ],
)
def test_missing_weights_are_refused_with_what_there_is_and_how_to_add_them(model: str, command: str) -> None:
    with pytest.raises(ConfigError, match=f"it has PP-OCRv4_mobile_rec, PP-OCRv6_small_rec, mine_rec.*{command}"):
        profile_of(model, "_rec", "text_rec_model", PROFILES)


@pytest.mark.parametrize(("device", "on_gpu"), [("cpu", False), ("gpu", True), ("gpu:0", True)])
def test_a_device_that_is_there_is_taken(device: str, on_gpu: bool) -> None:
    assert check_device(device, on_gpu, "the server") is None


@pytest.mark.parametrize("device", ["gpu", "gpu:0"])
def test_paddlexs_default_is_the_cpu_where_there_is_no_gpu_and_that_is_said(device: str) -> None:
    assert check_device(device, False, "the server") == "the server has no GPU; it reads on the CPU"


def test_the_cpu_is_taken_where_a_gpu_reads_and_that_is_said() -> None:
    assert check_device("cpu", True, "the server") == "the server reads on its GPU, not on the CPU"


@pytest.mark.parametrize(
    ("device", "on_gpu", "there"),
    [
        ("npu:0", False, "cpu"),
        ("gpu:1", False, "cpu"),
        ("gpu:1,2", True, "gpu:0"),
        ("cpu:1", True, "gpu:0"),
        ("xpu", True, "gpu:0"),
        ("gpu:", False, "cpu"),
    ],
)
def test_another_device_is_refused_with_what_there_is(device: str, on_gpu: bool, there: str) -> None:
    with pytest.raises(ConfigError, match=f"'{device}'.* has {there}$"):
        check_device(device, on_gpu, "the server")
