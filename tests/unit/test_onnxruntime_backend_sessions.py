from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper, save

from backends.onnxruntime import sessions
from backends.onnxruntime.sessions import (
    CPU,
    CUDA,
    MIGRAPHX,
    OPENVINO,
    TENSORRT,
    ConfigurationError,
    NetworkError,
    Session,
)
from scripts.launch.server import ROOT

Network = Callable[..., Path]


def arguments(kind: str = "CPU", device: str = "0", root: Path = Path("/models/det"), **config: Any) -> dict[str, str]:
    """What Triton gives to initialize."""
    parameters = {key: {"string_value": value} for key, value in config.pop("parameters", {}).items()}
    complete = {"default_model_filename": "model.onnx", "parameters": parameters, **config}
    return {
        "model_config": json.dumps(complete),
        "model_instance_kind": kind,
        "model_instance_device_id": device,
        "model_repository": str(root),
        "model_version": "3",
    }


def accelerated(by: str, kind: str = "gpu", /, **parameters: str) -> dict[str, Any]:
    """An `optimization` that names one accelerator."""
    accelerator = {"name": by, "parameters": parameters}
    return {"execution_accelerators": {f"{kind}_execution_accelerator": [accelerator]}}


def options_of(plan: sessions.Plan, provider: str) -> dict[str, str]:
    return dict(next(wanted.options for wanted in plan.providers if wanted.name == provider))


@pytest.fixture
def network(tmp_path: Path) -> Network:
    """Writes /3/model.onnx: twice the mean of a picture with even sides; odd ones are an error when it runs."""

    def write(rows: str | int = "N") -> Path:
        nodes = [
            helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("Transpose", ["floats"], ["planes"], perm=[0, 3, 1, 2]),
            helper.make_node("AveragePool", ["planes"], ["half"], kernel_shape=[2, 2], strides=[2, 2]),
            helper.make_node("Resize", ["half", "", "scales"], ["full"], mode="nearest", nearest_mode="floor"),
            helper.make_node("Add", ["planes", "full"], ["sum"]),
            helper.make_node("ReduceMean", ["sum"], ["probability"], axes=[1, 2, 3], keepdims=0),
        ]
        graph = helper.make_graph(
            nodes,
            "even",
            [helper.make_tensor_value_info("image", TensorProto.UINT8, [rows, "H", "W", 3])],
            [helper.make_tensor_value_info("probability", TensorProto.FLOAT, [rows])],
            [numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        path = tmp_path / "3" / "model.onnx"
        path.parent.mkdir()
        save(model, path)
        return tmp_path

    return write


def test_a_plain_configuration_is_the_cpu_with_the_threads_it_may_use_and_nothing_that_spins() -> None:
    plan = sessions.plan(arguments(), cpus=5)
    assert plan.model == "/models/det/3/model.onnx"
    assert plan.providers == []
    assert plan.threads == 5
    assert plan.entries == {"session.intra_op.allow_spinning": "0", "session.inter_op.allow_spinning": "0"}
    assert plan.level == ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    assert (plan.parallel, plan.arena, plan.pattern, plan.run_entries) == (False, True, True, {})


def test_the_model_file_can_have_another_name() -> None:
    assert sessions.plan(arguments(default_model_filename="v5.onnx"), 1).model == "/models/det/3/v5.onnx"


def test_the_parameters_of_nvidias_backend_are_read() -> None:
    parameters = {
        "intra_op_thread_count": "3",
        "inter_op_thread_count": "2",
        "execution_mode": "1",
        "enable_mem_arena": "0",
        "enable_mem_pattern": "false",
        "session.use_device_allocator_for_initializers": "1",
        "session.intra_op.allow_spinning": "1",
        "memory.enable_memory_arena_shrinkage": "cpu:0",
        "something_else": "4",
    }
    plan = sessions.plan(arguments(parameters=parameters), cpus=8)
    assert (plan.threads, plan.inter_op_threads) == (3, 2)
    assert (plan.parallel, plan.arena, plan.pattern) == (True, False, False)
    assert plan.entries["session.use_device_allocator_for_initializers"] == "1"
    assert plan.entries["session.intra_op.allow_spinning"] == "1"
    assert plan.run_entries == {"memory.enable_memory_arena_shrinkage": "cpu:0"}


def test_a_thread_count_of_zero_is_every_processor() -> None:
    assert sessions.plan(arguments(parameters={"intra_op_thread_count": "0"}), cpus=8).threads == 8


@pytest.mark.parametrize(
    ("level", "meaning"), [(-1, "ORT_ENABLE_BASIC"), (0, "ORT_ENABLE_ALL"), (1, "ORT_ENABLE_EXTENDED")]
)
def test_graph_levels_mean_what_they_mean_to_triton(level: int, meaning: str) -> None:
    plan = sessions.plan(arguments(optimization={"graph": {"level": level}}), 1)
    assert plan.level.name == meaning


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"parameters": {"intra_op_thread_count": "two"}}, "intra_op_thread_count .*'two'"),
        ({"parameters": {"intra_op_thread_count": "-1"}}, "intra_op_thread_count .*'-1'"),
        ({"parameters": {"enable_mem_arena": "yes"}}, "enable_mem_arena .*'yes'"),
        ({"optimization": {"graph": {"level": 7}}}, "level .*7"),
        ({"optimization": accelerated("opencl", "cpu")}, "'opencl'.* openvino"),
        ({"optimization": accelerated("openvino", "cpu", INFERENCE_PRECISION_HINT="f3")}, "f32, bf16, f16, not 'f3'"),
        ({"kind": "GPU", "optimization": accelerated("rocm")}, "'rocm'.* cuda, migraphx, tensorrt"),
        ({"kind": "GPU", "optimization": accelerated("tensorrt", precision_mode="FP4")}, "precision_mode .*'FP4'"),
        ({"kind": "GPU", "parameters": {"cudnn_conv_algo_search": "3"}}, "cudnn_conv_algo_search .*3"),
    ],
)
def test_what_makes_no_sense_is_named(config: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        sessions.plan(arguments(**config), 1)


@pytest.mark.parametrize("optimization", [{}, accelerated("openvino", "cpu")], ids=["CPU", "OpenVINO"])
def test_a_file_that_is_damaged_is_named_where_it_really_lies(
    network: Network, tmp_path: Path, optimization: dict[str, Any]
) -> None:
    file = network() / "3" / "model.onnx"
    file.write_bytes(file.read_bytes()[:100])
    shown = tmp_path / "shown"
    shown.symlink_to(tmp_path)
    warnings: list[str] = []
    with pytest.raises(NetworkError, match=re.escape(f"{file} cannot be loaded; scripts/fetch")) as raised:
        Session(sessions.plan(arguments(root=shown, optimization=optimization), 1), warnings.append)
    assert "\n" not in str(raised.value)
    assert warnings == []


def test_openvino_computes_in_f32_unpinned_and_with_the_models_threads() -> None:
    plan = sessions.plan(
        arguments(optimization=accelerated("openvino", "cpu"), parameters={"intra_op_thread_count": "3"}), 8
    )
    options = options_of(plan, OPENVINO)
    properties = json.loads(options.pop("load_config"))["CPU"]
    assert (properties["INFERENCE_PRECISION_HINT"], properties["ENABLE_CPU_PINNING"]) == ("f32", "NO")
    assert options == {"device_type": "CPU", "num_of_threads": "3"}


def test_openvinos_parameters_in_capitals_are_its_properties_and_the_others_the_providers_options() -> None:
    asked = accelerated("openvino", "cpu", INFERENCE_PRECISION_HINT="bf16", cache_dir="/var/cache/ov", CACHE_MODE="X")
    options = options_of(sessions.plan(arguments(optimization=asked), 1), OPENVINO)
    assert options["cache_dir"] == "/var/cache/ov"
    properties = json.loads(options["load_config"])["CPU"]
    assert properties["INFERENCE_PRECISION_HINT"] == "bf16"
    assert properties["CACHE_MODE"] == "X"
    assert properties["ENABLE_CPU_PINNING"] == "NO"


def test_a_gpu_instance_runs_on_cuda_of_its_own_device() -> None:
    plan = sessions.plan(arguments("GPU", "2"), 1)
    assert [provider.name for provider in plan.providers] == [CUDA]
    assert options_of(plan, CUDA) == {"device_id": "2"}


def test_cuda_takes_its_options_from_the_accelerator_and_from_the_models_parameters() -> None:
    parameters = {"cudnn_conv_algo_search": "1", "arena_extend_strategy": "1", "gpu_mem_limit": "1000"}
    asked = accelerated("cuda", use_tf32="0", cudnn_conv_algo_search="DEFAULT")
    plan = sessions.plan(arguments("GPU", optimization=asked, parameters=parameters), 1)
    assert options_of(plan, CUDA) == {
        "device_id": "0",
        "use_tf32": "0",
        "cudnn_conv_algo_search": "HEURISTIC",
        "arena_extend_strategy": "kSameAsRequested",
        "gpu_mem_limit": "1000",
    }


def test_tensorrt_gets_its_options_by_onnx_runtimes_names_and_cuda_what_it_leaves() -> None:
    asked = accelerated(
        "tensorrt",
        precision_mode="FP16",
        max_workspace_size_bytes="1000",
        trt_engine_cache_enable="1",
        trt_engine_cache_path="/cache",
        trt_min_subgraph_size="1",
        trt_profile_min_shapes="image:1x32x32x3",
    )
    plan = sessions.plan(arguments("GPU", "1", optimization=asked), 1)
    assert [provider.name for provider in plan.providers] == [TENSORRT, CUDA]
    assert options_of(plan, TENSORRT) == {
        "device_id": "1",
        "trt_fp16_enable": "True",
        "trt_max_workspace_size": "1000",
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": "/cache",
        "trt_min_subgraph_size": "1",
        "trt_profile_min_shapes": "image:1x32x32x3",
    }


def test_migraphx_is_without_cuda() -> None:
    plan = sessions.plan(arguments("GPU", optimization=accelerated("migraphx", precision_mode="FP16")), 1)
    assert [provider.name for provider in plan.providers] == [MIGRAPHX]
    assert options_of(plan, MIGRAPHX) == {"device_id": "0", "migraphx_fp16_enable": "True"}


def test_gpu_accelerators_are_not_for_instances_on_the_cpu() -> None:
    assert sessions.plan(arguments("CPU", optimization=accelerated("tensorrt")), 1).providers == []


@pytest.mark.parametrize(("quota", "cpus"), [("50000 100000", 1), ("100000 100000", 1), ("max 100000", None)])
def test_the_quota_of_a_container_bounds_the_threads(tmp_path: Path, quota: str, cpus: int | None) -> None:
    (tmp_path / "cpu.max").write_text(quota)
    assert sessions.usable_cpus(tmp_path / "cpu.max") == (cpus or len(os.sched_getaffinity(0)))


def test_without_a_container_the_threads_are_the_processors_of_the_process(tmp_path: Path) -> None:
    assert sessions.usable_cpus(tmp_path / "none") == len(os.sched_getaffinity(0))


@pytest.mark.parametrize("accelerator", [{}, accelerated("openvino", "cpu")])
def test_a_session_says_what_it_runs_on_and_computes(network: Network, accelerator: dict[str, Any]) -> None:
    warnings: list[str] = []
    plan = sessions.plan(arguments(root=network(), optimization=accelerator), 1)
    session = Session(plan, warnings.append)
    assert session.provider == (OPENVINO if accelerator else CPU)
    outputs = session.run(["probability"], {"image": np.full((2, 4, 6, 3), 7, np.uint8)})
    assert outputs["probability"] == pytest.approx([14, 14])
    assert warnings == []


def test_a_batch_is_run_in_parts_of_so_many_rows(network: Network) -> None:
    few = {"rows_per_run": "2"}
    session = Session(sessions.plan(arguments(root=network(rows=2), parameters=few), 1), print)
    rows = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 6, 3), np.uint8)
    assert session.run(["probability"], {"image": rows})["probability"] == pytest.approx([0, 2, 4, 6, 8, 10])


def test_in_openvino_a_session_of_one_thread_keeps_one_core_busy(tmp_path: Path) -> None:
    weights = np.random.default_rng(0).random((768, 768), np.float32) / 768
    nodes = [helper.make_node("MatMul", [f"x{step}", "weights"], [f"x{step + 1}"]) for step in range(50)]
    graph = helper.make_graph(
        nodes,
        "long",
        [helper.make_tensor_value_info("x0", TensorProto.FLOAT, ["N", 768])],
        [helper.make_tensor_value_info("x50", TensorProto.FLOAT, ["N", 768])],
        [numpy_helper.from_array(weights, "weights")],
    )
    (tmp_path / "3").mkdir()
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "3/model.onnx")
    asked = arguments(root=tmp_path, optimization=accelerated("openvino", "cpu"))
    # In a process of its own: what OpenVINO sees of the machine when it is loaded holds for the process.
    program = f"""
import time, numpy as np
from backends.onnxruntime import sessions
session = sessions.Session(sessions.plan({asked}, 1), print)
feed = {{"x0": np.ones((768, 768), np.float32)}}
session.run(["x50"], feed)
wall, cpu = time.perf_counter(), time.process_time()
for _ in range(5):
    session.run(["x50"], feed)
print((time.process_time() - cpu) / (time.perf_counter() - wall))
"""
    command = [sys.executable, "-c", program]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert float(output) < 1.2


def test_a_provider_that_is_not_installed_is_named_and_the_cpu_takes_its_place(network: Network) -> None:
    warnings: list[str] = []
    session = Session(sessions.plan(arguments("GPU", root=network()), 1), warnings.append)
    assert session.provider == CPU
    assert warnings == [f"{CUDA} is configured but is not installed; {CPU} takes its place"]


@pytest.mark.parametrize(
    "parameters",
    [
        {"load_config": "no JSON"},  # the provider cannot be created: ONNX Runtime goes on without a word
        {"NO_SUCH_PROPERTY": "1"},  # the network cannot be compiled
    ],
)
def test_a_provider_that_cannot_start_is_noticed(network: Network, parameters: dict[str, str]) -> None:
    warnings: list[str] = []
    asked = accelerated("openvino", "cpu", **parameters)
    session = Session(sessions.plan(arguments(root=network(), optimization=asked), 1), warnings.append)
    assert session.provider == CPU
    assert warnings[-1] == f"{OPENVINO} is configured but could not be started; {CPU} takes its place"
    assert session.run(["probability"], {"image": np.full((1, 4, 6, 3), 7, np.uint8)})["probability"] == [14]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("accelerator", [{}, accelerated("openvino", "cpu")])
def test_a_failed_run_is_an_error_and_leaves_the_next_one_alone(
    network: Network, accelerator: dict[str, Any], threads: int
) -> None:
    session = Session(sessions.plan(arguments(root=network(), optimization=accelerator), threads), print)
    provider = session.provider
    good, bad = np.full((1, 8, 8, 3), 7, np.uint8), np.full((1, 7, 7, 3), 7, np.uint8)
    session.run(["probability"], {"image": good})
    for _ in range(2):
        with pytest.raises(Exception, match="ONNXRuntimeError"):
            session.run(["probability"], {"image": bad})
        assert session.run(["probability"], {"image": good})["probability"] == pytest.approx([14])
    assert session.provider == provider


def declaration(**changes: Any) -> dict[str, Any]:
    """The configuration of the network, but for some changes."""
    return {
        "max_batch_size": 8,
        "input": [{"name": "image", "data_type": "TYPE_UINT8", "dims": [-1, -1, 3]}],
        "output": [{"name": "probability", "data_type": "TYPE_FP32", "dims": []}],
        **changes,
    }


def tensor(name: str, data_type: str, *dims: int) -> dict[str, Any]:
    return {"name": name, "data_type": data_type, "dims": list(dims)}


IMAGE = tensor("image", "TYPE_UINT8", -1, -1, 3)


def test_a_configuration_that_fits_the_network_passes(network: Network) -> None:
    session = Session(sessions.plan(arguments(root=network()), 1), print)
    session.check(declaration())
    session.check(declaration(input=[tensor("image", "TYPE_UINT8", 32, 32, 3)]))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"input": []}, "inputs .*image"),
        ({"input": [IMAGE, tensor("width", "TYPE_INT32", 1)]}, "inputs .*width"),
        ({"input": [tensor("picture", "TYPE_UINT8", -1, -1, 3)]}, "inputs .*picture"),
        ({"input": [tensor("image", "TYPE_FP32", -1, -1, 3)]}, r"TYPE_FP32.*tensor\(uint8\)"),
        ({"input": [tensor("image", "TYPE_UINT8", -1, -1, -1)]}, r"image has shape \[-1, -1, -1, -1\]"),
        ({"input": [tensor("image", "TYPE_UINT8", -1, 3)]}, r"image has shape \[-1, -1, 3\]"),
        ({"max_batch_size": 0}, r"image has shape \[-1, -1, 3\]"),
        ({"output": [tensor("score", "TYPE_FP32")]}, "outputs .*score"),
        ({"output": [tensor("probability", "TYPE_FP32", 2)]}, r"probability has shape \[-1, 2\]"),
    ],
)
def test_a_configuration_that_does_not_fit_the_network_is_told_where(
    network: Network, changes: dict[str, Any], named: str
) -> None:
    session = Session(sessions.plan(arguments(root=network()), 1), print)
    with pytest.raises(ConfigurationError, match=named):
        session.check(declaration(**changes))
