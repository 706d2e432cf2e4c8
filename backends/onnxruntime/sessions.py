"""What a model's Triton configuration asks of ONNX Runtime, and the session that comes of it.

The names are those that NVIDIA's C++ backend reads (README of triton-inference-server/onnxruntime_backend, r24.10), so
that one config.pbtxt serves both. Its command line options (--backend-config) are not among them: Triton does not hand
them to a backend that is written in Python.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
MIGRAPHX = "MIGraphXExecutionProvider"
OPENVINO = "OpenVINOExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"

_LEVELS = {
    -1: ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    0: ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    1: ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    2: ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
_SWITCH = {"1": True, "true": True, "0": False, "false": False}

# Several processes share the cores: a thread that spins for work takes the core from one that has some.
_ENTRIES = {"session.intra_op.allow_spinning": "0", "session.inter_op.allow_spinning": "0"}
# f32: a plugin is free to choose bfloat16 where the processor has it.
# Not pinned: the threads of two processes could land on the same core.
# Exclusive: with one thread, OpenVINO (2025.4) otherwise loses the errors of a run, and the outputs are another run's.
_OPENVINO_PROPERTIES = {
    "INFERENCE_PRECISION_HINT": "f32",
    "ENABLE_CPU_PINNING": "NO",
    "EXCLUSIVE_ASYNC_REQUESTS": "YES",
}
_OPENVINO_PRECISIONS = ("f32", "bf16", "f16")

_ELEMENTS = {
    "TYPE_BOOL": "bool",
    "TYPE_FP16": "float16",
    "TYPE_FP32": "float",
    "TYPE_FP64": "double",
    "TYPE_STRING": "string",
    **{f"TYPE_{kind}{bits}": f"{kind.lower()}{bits}" for kind in ("INT", "UINT") for bits in (8, 16, 32, 64)},
}


class ConfigurationError(Exception):
    """The configuration asks for what cannot be; the message names it."""


class NetworkError(Exception):
    """A file is no network that ONNX Runtime can load; the message names it."""


@dataclass(frozen=True)
class Provider:
    """An execution provider by ONNX Runtime's name, with its own options."""

    name: str
    options: Mapping[str, str]


@dataclass(frozen=True)
class Plan:
    """A session to be.

    Attributes:
        model: the ONNX file.
        providers: the most wanted first; what none of them takes runs on the CPU provider.
        threads: threads within an operator.
        inter_op_threads: threads across operators, where `parallel`; 0 is ONNX Runtime's choice.
        parallel: whether operators run beside each other.
        level: graph optimisations.
        arena: whether CPU memory is kept for the next run.
        pattern: whether memory is planned ahead for shapes seen before.
        entries: `session.*` entries of ONNX Runtime's session options.
        run_entries: entries of its run options.
        rows: of a batch in one run, at most; 0 is any number.
    """

    model: str
    providers: Sequence[Provider]
    threads: int
    inter_op_threads: int
    parallel: bool
    level: ort.GraphOptimizationLevel
    arena: bool
    pattern: bool
    entries: Mapping[str, str]
    run_entries: Mapping[str, str]
    rows: int = 0


def plan(args: Mapping[str, str], cpus: int) -> Plan:
    """The session for a model instance.

    Args:
        args: what Triton gives to `initialize`.
        cpus: the threads to use where the configuration names no number.

    Raises:
        ConfigurationError: a parameter has no sense, or an accelerator is unknown.
    """
    config = json.loads(args["model_config"])
    parameters = {key: value["string_value"] for key, value in config["parameters"].items()}
    optimization = config.get("optimization", {})
    threads = _number(parameters, "intra_op_thread_count") or cpus
    level = optimization.get("graph", {}).get("level", 0)
    if level not in _LEVELS:
        raise ConfigurationError(f"optimization.graph.level must be one of {sorted(_LEVELS)}, not {level}")
    return Plan(
        model=str(Path(args["model_repository"], args["model_version"], config["default_model_filename"])),
        providers=_providers(
            optimization.get("execution_accelerators", {}),
            parameters,
            device=args["model_instance_device_id"] if args["model_instance_kind"] == "GPU" else None,
            threads=threads,
        ),
        threads=threads,
        inter_op_threads=_number(parameters, "inter_op_thread_count"),
        parallel=_switch(parameters, "execution_mode", False),
        level=_LEVELS[level],
        arena=_switch(parameters, "enable_mem_arena", True),
        pattern=_switch(parameters, "enable_mem_pattern", True),
        entries={**_ENTRIES, **_beginning_with("session.", parameters)},
        run_entries=_beginning_with("memory.", parameters),
        rows=_number(parameters, "rows_per_run"),
    )


def usable_cpus(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """The processors that this process may use: its affinity, and its container's quota (cgroup v2), rounded up."""
    cpus = len(os.sched_getaffinity(0))
    try:
        limit, period = quota.read_text().split()
    except OSError:  # no container
        return cpus
    return cpus if limit == "max" else min(cpus, max(1, math.ceil(int(limit) / int(period))))


class Session:
    """A network that is ready to run, on the providers that could be had of those that its plan wants."""

    def __init__(self, wanted: Plan, warn: Callable[[str], None]) -> None:
        """Load the network.

        Args:
            wanted: the session to open.
            warn: is told each provider that is wanted and cannot be had, and why.

        Raises:
            NetworkError: not even the CPU provider can load it.
        """
        self._wanted = wanted
        self._options = _session_options(wanted)
        self._run_options = ort.RunOptions()
        for key, value in wanted.run_entries.items():
            self._run_options.add_run_config_entry(key, value)
        self._providers, self._session = self._open(warn)

    @property
    def provider(self) -> str:
        """ONNX Runtime's name of the provider in use: where there are several, the one that is asked first."""
        return str(self._session.get_providers()[0])

    def run(self, outputs: Sequence[str], inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Compute those outputs. Raises what ONNX Runtime raises; the next run is not touched by it.

        The inputs of a network that takes batches have one row for each of the batch's.
        """
        count = len(next(iter(inputs.values())))
        step = self._wanted.rows or count
        if count <= step:
            return self._run(outputs, inputs)
        parts = [
            self._run(outputs, {name: values[first : first + step] for name, values in inputs.items()})
            for first in range(0, count, step)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in outputs}

    def _run(self, outputs: Sequence[str], inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        try:
            return dict(zip(outputs, self._session.run(outputs, inputs, self._run_options), strict=True))
        except Exception:
            if self.provider == OPENVINO:
                # OpenVINO (2025.4) leaves its nodes half way between two shapes when one of them refuses the new one;
                # every later run of the shape before it then fails too.
                self._session = self._load(self._providers)
            raise

    def check(self, config: Mapping[str, Any]) -> None:
        """Compare the network with the model's configuration, as NVIDIA's backend does when it loads a model.

        Raises:
            ConfigurationError: a tensor is missing, or has another type or shape.
        """
        batched = config["max_batch_size"] > 0
        _compare("input", config["input"], self._session.get_inputs(), batched)
        _compare("output", config["output"], self._session.get_outputs(), batched)

    def _open(self, warn: Callable[[str], None]) -> tuple[list[Provider], ort.InferenceSession]:
        """The session and the providers it has; where theirs cannot be opened, on the CPU."""
        installed = ort.get_available_providers()
        usable = [provider for provider in self._wanted.providers if provider.name in installed]
        if usable:
            try:
                session = self._load(usable)
            except Exception as error:
                session = self._load_on_cpu()
                warn(f"{', '.join(provider.name for provider in usable)} cannot be used: {error}")
        else:
            session = self._load_on_cpu()
        # ONNX Runtime drops a provider that it cannot create, and says so on its standard error only.
        obtained = session.get_providers()
        for provider in self._wanted.providers:
            if provider.name not in obtained:
                reason = "could not be started" if provider.name in installed else "is not installed"
                warn(f"{provider.name} is configured but {reason}; {obtained[0]} takes its place")
        return [provider for provider in usable if provider.name in obtained], session

    def _load_on_cpu(self) -> ort.InferenceSession:
        try:
            return self._load([])
        except Exception as error:
            # Where it really lies, not where Triton has been shown it.
            file, reason = Path(self._wanted.model).resolve(), " ".join(str(error).split())
            raise NetworkError(f"{file} cannot be loaded; scripts/fetch replaces a damaged file: {reason}") from error

    def _load(self, providers: Iterable[Provider]) -> ort.InferenceSession:
        named = [(provider.name, dict(provider.options)) for provider in providers]
        # Without enable_fallback=0 a failed run would quietly go on with other providers, for good.
        with _processors(self._wanted.threads) if OPENVINO in dict(named) else nullcontext():
            return ort.InferenceSession(self._wanted.model, self._options, [*named, (CPU, {})], enable_fallback=0)


@contextmanager
def _processors(count: int) -> Iterator[None]:
    """Let this process see so many processors only, until the end of the block.

    Of requests that are exclusive, OpenVINO (2025.4) runs each on as many threads as it saw processors when it was
    loaded, whatever `num_of_threads` says.
    """
    usable = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(usable)[:count])
    try:
        yield
    finally:
        for thread in Path("/proc/self/task").iterdir():
            with suppress(ProcessLookupError):  # it has ended
                os.sched_setaffinity(int(thread.name), usable)


def _session_options(wanted: Plan) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.log_severity_level = 3  # errors
    options.intra_op_num_threads = wanted.threads
    options.inter_op_num_threads = wanted.inter_op_threads
    options.execution_mode = ort.ExecutionMode.ORT_PARALLEL if wanted.parallel else ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = wanted.level
    options.enable_cpu_mem_arena = wanted.arena
    options.enable_mem_pattern = wanted.pattern
    for key, value in wanted.entries.items():
        options.add_session_config_entry(key, value)
    return options


def _providers(
    accelerators: Mapping[str, Any], parameters: Mapping[str, str], device: str | None, threads: int
) -> list[Provider]:
    """`device` is the GPU's number, None for an instance on the CPU."""
    providers = []
    if device is not None:
        named = _accelerators(accelerators, "gpu_execution_accelerator", {"tensorrt", "cuda", "migraphx"})
        if "tensorrt" in named:
            providers.append(Provider(TENSORRT, {"device_id": device, **_tensorrt(named["tensorrt"])}))
        if "migraphx" in named:
            providers.append(Provider(MIGRAPHX, {"device_id": device, **_migraphx(named["migraphx"])}))
        else:  # takes what TensorRT leaves, and everything where no accelerator is named
            options = {**named.get("cuda", {}), **_cuda(parameters)}
            providers.append(Provider(CUDA, {"device_id": device, **options}))
    named = _accelerators(accelerators, "cpu_execution_accelerator", {"openvino"})
    if "openvino" in named:
        providers.append(Provider(OPENVINO, _openvino(named["openvino"], threads)))
    return providers


def _accelerators(accelerators: Mapping[str, Any], kind: str, known: set[str]) -> dict[str, dict[str, str]]:
    """The parameters of each accelerator of that kind, by its name."""
    named = {entry["name"]: entry.get("parameters", {}) for entry in accelerators.get(kind, [])}
    for name in named:
        if name not in known:
            raise ConfigurationError(f"unknown {kind} {name!r}; there are {', '.join(sorted(known))}")
    return named


def _openvino(parameters: Mapping[str, str], threads: int) -> dict[str, str]:
    """Names in capitals are properties of OpenVINO itself, the others options of the provider."""
    properties = {**_OPENVINO_PROPERTIES, **{key: value for key, value in parameters.items() if key.isupper()}}
    options = {key: value for key, value in parameters.items() if not key.isupper()}
    precision = properties["INFERENCE_PRECISION_HINT"]
    if precision not in _OPENVINO_PRECISIONS:  # the provider would pass over it without a word
        known = ", ".join(_OPENVINO_PRECISIONS)
        raise ConfigurationError(f"INFERENCE_PRECISION_HINT must be one of {known}, not {precision!r}")
    device = options.get("device_type", "CPU")
    return {
        "device_type": device,
        "num_of_threads": str(threads),
        "load_config": json.dumps({device: properties}),
        **options,
    }


def _tensorrt(parameters: Mapping[str, str]) -> dict[str, str]:
    """Triton's names for a few options; ONNX Runtime's Python wants its switches spelt True and False."""
    renamed = {
        "max_workspace_size_bytes": "trt_max_workspace_size",
        "int8_calibration_table_name": "trt_int8_calibration_table_name",
        "int8_use_native_calibration_table": "trt_int8_use_native_calibration_table",
    }
    switches = {
        "trt_int8_use_native_calibration_table",
        "trt_force_sequential_engine_build",
        "trt_layer_norm_fp32_fallback",
        "trt_force_timing_cache",
        "trt_detailed_build_log",
        "trt_dump_subgraphs",
        "trt_dump_ep_context_model",
    }
    options = _precision(parameters, {"FP16": "trt_fp16_enable", "INT8": "trt_int8_enable"})
    for key, value in parameters.items():
        name = renamed.get(key, key)
        if name in switches or name.endswith("_enable"):
            options[name] = str(_switch({key: value}, key, False))
        elif name != "precision_mode":
            options[name] = value
    return options


def _migraphx(parameters: Mapping[str, str]) -> dict[str, str]:
    options = _precision(parameters, {"FP16": "migraphx_fp16_enable", "INT8": "migraphx_int8_enable"})
    return {**options, **{key: value for key, value in parameters.items() if key != "precision_mode"}}


def _precision(parameters: Mapping[str, str], switches: Mapping[str, str]) -> dict[str, str]:
    mode = parameters.get("precision_mode", "FP32")
    if mode != "FP32" and mode not in switches:
        raise ConfigurationError(f"precision_mode must be FP32, {' or '.join(switches)}, not {mode!r}")
    return {switches[mode]: "True"} if mode in switches else {}


def _cuda(parameters: Mapping[str, str]) -> dict[str, str]:
    """CUDA options among the model's own parameters: there NVIDIA's backend reads these four, and nowhere else."""
    words = {
        "cudnn_conv_algo_search": ("EXHAUSTIVE", "HEURISTIC", "DEFAULT"),
        "arena_extend_strategy": ("kNextPowerOfTwo", "kSameAsRequested"),
    }
    options = {key: parameters[key] for key in ("gpu_mem_limit", "do_copy_in_default_stream") if key in parameters}
    for key, choices in words.items():
        if key in parameters:
            number = _number(parameters, key)
            if number >= len(choices):
                raise ConfigurationError(f"{key} must be 0 to {len(choices) - 1}, not {number}")
            options[key] = choices[number]
    return options


def _compare(kind: str, declared: Sequence[Mapping[str, Any]], found: Sequence[Any], batched: bool) -> None:
    tensors = {tensor.name: tensor for tensor in found}
    names = {entry["name"] for entry in declared}
    # Outputs may be left unused; inputs may not.
    if not names <= set(tensors) or (kind == "input" and names != set(tensors)):
        raise ConfigurationError(
            f"the configuration has the {kind}s {', '.join(sorted(names))}, the network {', '.join(sorted(tensors))}"
        )
    for entry in declared:
        tensor = tensors[entry["name"]]
        element = _ELEMENTS.get(entry["data_type"])
        if tensor.type != f"tensor({element})":
            raise ConfigurationError(f"{kind} {tensor.name} is {entry['data_type']}, in the network {tensor.type}")
        shape = [dimension if isinstance(dimension, int) else -1 for dimension in tensor.shape]
        dims = [-1] * batched + [int(dimension) for dimension in entry["dims"]]
        fits = len(dims) == len(shape) and all(
            here == there or (kind == "input" and there == -1) for here, there in zip(dims, shape, strict=False)
        )
        if not fits:
            raise ConfigurationError(f"{kind} {tensor.name} has shape {dims} with the batch, in the network {shape}")


def _number(parameters: Mapping[str, str], key: str) -> int:
    value = parameters.get(key, "0")
    if not value.isdecimal():
        raise ConfigurationError(f"{key} must be a whole number, not {value!r}")
    return int(value)


def _switch(parameters: Mapping[str, str], key: str, default: bool) -> bool:
    value = parameters.get(key)
    if value is None:
        return default
    if value.lower() not in _SWITCH:
        raise ConfigurationError(f"{key} must be one of {', '.join(_SWITCH)}, not {value!r}")
    return _SWITCH[value.lower()]


def _beginning_with(prefix: str, parameters: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in parameters.items() if key.startswith(prefix)}
