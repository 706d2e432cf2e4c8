"""The configurations of the networks: a file for each platform, whole, since Triton does not merge them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import onnxruntime as ort
import pytest
from google.protobuf import json_format, text_format  # type: ignore[import-untyped]
from tritonclient.grpc.model_config_pb2 import ModelConfig

from backends.onnxruntime import sessions

REPOSITORY = Path(__file__).parents[2] / "model_repository"
NETWORKS = ("doc_onnx", "det_onnx", "cls_onnx", "rec_onnx")
PLATFORMS = {"openvino": "cpu", "cuda": "gpu", "tensorrt": "gpu", "migraphx": "gpu"}


def parsed(path: Path) -> ModelConfig:
    return text_format.Parse(path.read_text(encoding="utf-8"), ModelConfig())


@pytest.fixture(params=NETWORKS)
def model(request: pytest.FixtureRequest) -> Path:
    return REPOSITORY / str(request.param)


@pytest.fixture
def plain(model: Path) -> ModelConfig:
    return parsed(model / "config.pbtxt")


@pytest.fixture(params=PLATFORMS)
def platform(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def special(model: Path, platform: str) -> ModelConfig:
    return parsed(model / "configs" / f"{platform}.pbtxt")


def test_the_plain_configuration_is_of_no_machine(plain: ModelConfig) -> None:
    assert plain.backend == "onnxruntime"
    assert plain.version_policy.HasField("all")
    assert not plain.HasField("optimization")
    assert not plain.parameters
    assert [(group.count, group.kind, list(group.gpus)) for group in plain.instance_group] == [(1, 0, [])]


def test_a_platforms_configuration_is_the_plain_one_but_for_how_it_runs(
    plain: ModelConfig, special: ModelConfig
) -> None:
    for config in (plain, special):
        for field in ("optimization", "parameters", "instance_group", "dynamic_batching"):
            config.ClearField(field)
    assert special == plain


def test_a_platforms_configuration_names_its_accelerator(special: ModelConfig, platform: str) -> None:
    accelerators = special.optimization.execution_accelerators
    named = {
        "cpu": [accelerator.name for accelerator in accelerators.cpu_execution_accelerator],
        "gpu": [accelerator.name for accelerator in accelerators.gpu_execution_accelerator],
    }
    where = PLATFORMS[platform]
    assert named == {"cpu": [], "gpu": [], where: [platform]}
    assert [group.kind for group in special.instance_group] == [
        ModelConfig.DESCRIPTOR.file.message_types_by_name["ModelInstanceGroup"]
        .enum_types_by_name["Kind"]
        .values_by_name[f"KIND_{where.upper()}"]
        .number
    ]


def test_the_embedded_backend_understands_a_platforms_configuration(special: ModelConfig, platform: str) -> None:
    config = json.loads(json_format.MessageToJson(special, preserving_proto_field_name=True))
    args = {
        "model_config": json.dumps({"parameters": {}, "default_model_filename": "model.onnx", **config}),
        "model_instance_kind": PLATFORMS[platform].upper(),
        "model_instance_device_id": "0",
        "model_repository": "",
        "model_version": "1",
    }
    assert sessions.plan(args, cpus=2).providers


def test_tensorrts_profile_has_every_input_and_the_largest_batch(model: Path) -> None:
    config = parsed(model / "configs" / "tensorrt.pbtxt")
    (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    least, usual, most = (
        dict(re.findall(r"(\w+):([\dx]+)", accelerator.parameters[f"trt_profile_{bound}_shapes"]))
        for bound in ("min", "opt", "max")
    )
    assert set(least) == set(usual) == set(most) == {tensor.name for tensor in config.input}
    for tensor in config.input:
        bounds = [[int(side) for side in shapes[tensor.name].split("x")] for shapes in (least, usual, most)]
        assert [sides[0] for sides in bounds][::2] == [1, config.max_batch_size]
        for low, middle, high, declared in zip(*(sides[1:] for sides in bounds), tensor.dims, strict=True):
            assert low <= middle <= high
            assert declared in (-1, low, high)
            assert declared == -1 or low == high


def test_every_version_has_the_inputs_and_outputs_of_its_configuration(model: Path, plain: ModelConfig) -> None:
    config: dict[str, Any] = json_format.MessageToDict(plain, preserving_proto_field_name=True)
    networks = sorted(model.glob("[0-9]*/model.onnx"))
    assert networks, "scripts/fetch has not been run"
    for network in networks:
        sessions.Session(_plan(network), print).check(config)


def _plan(network: Path) -> sessions.Plan:
    return sessions.Plan(
        model=str(network),
        providers=[],
        threads=1,
        inter_op_threads=0,
        parallel=False,
        level=ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
        arena=True,
        pattern=True,
        entries={},
        run_entries={},
    )
