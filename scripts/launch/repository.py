"""The model repository as Triton is given it: as it lies there, with a named configuration made for this machine."""

from __future__ import annotations

from pathlib import Path

from google.protobuf import text_format  # type: ignore[import-untyped]
from tritonclient.grpc.model_config_pb2 import ModelConfig

from scripts.launch.layout import PROFILE_SETTING, Precision, SettingError, Wanted
from scripts.launch.triton import CONFIGURATION

# Flags of Linux' /proc/cpuinfo: x86's two instruction sets for it, and Arm's.
_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}
_HINTS = {Precision.EXACT: "f32", Precision.FAST: "bf16"}


def has_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this machine's processor computes in bfloat16 by itself."""
    lines = (line.split() for line in cpuinfo.read_text().splitlines())
    return any(line[:1] in (["flags"], ["Features"]) and _BFLOAT16.intersection(line) for line in lines)


def build(destination: Path, repository: Path, name: str, wanted: Wanted) -> None:
    """Lay out a model repository that differs from another one in the configurations of a name.

    Everything else are links: nothing is written to `repository`.

    Args:
        destination: a folder to be made.
        repository: the model repository.
        name: of the named configurations (configs/NAME.pbtxt).
        wanted: how the OCR models are to run. Precision, instances and threads are a CPU's, and so its configuration's;
            in another one the default profile alone is as wanted.

    Raises:
        SettingError: there is no such profile as is wanted.
    """
    if wanted.profile and wanted.profile not in (known := profiles(repository)):
        raise SettingError(f"{PROFILE_SETTING} must be {' or '.join(known)}, not {wanted.profile!r}")
    destination.mkdir(parents=True)
    for model in repository.iterdir():
        if not (model / "config.pbtxt").exists():
            continue
        folder = destination / model.name
        (folder / "configs").mkdir(parents=True)
        for entry in model.iterdir():
            if entry.name != "configs":
                (folder / entry.name).symlink_to(entry)
        made = text_format.MessageToString(_configuration(model, name, wanted))
        (folder / "configs" / f"{name}.pbtxt").write_text(made)


def profiles(repository: Path) -> dict[str, Path]:
    """The profiles of ocr_ensemble, by name, each with the file that describes it."""
    folder = repository / "ocr_ensemble" / "1" / "profiles"
    return {path.stem: path for path in sorted(folder.rglob("*.json"))}


def configuration(model: Path, name: str) -> ModelConfig:
    """Of the model in a folder, by Triton's rule: the named configuration where there is one, else its config.pbtxt."""
    named = model / "configs" / f"{name}.pbtxt"
    return text_format.Parse((named if named.exists() else model / "config.pbtxt").read_text(), ModelConfig())


def _configuration(model: Path, name: str, wanted: Wanted) -> ModelConfig:
    """The same, as wanted."""
    config = configuration(model, name)
    if config.name == "ocr_ensemble" and wanted.profile:
        config.parameters["default_profile"].string_value = wanted.profile
    if name != CONFIGURATION:
        return config
    if config.backend == "onnxruntime":
        instances = wanted.layout.of(config.name)
        config.instance_group[0].count = instances.count
        config.parameters["intra_op_thread_count"].string_value = str(instances.threads)
        for accelerator in config.optimization.execution_accelerators.cpu_execution_accelerator:
            accelerator.parameters["INFERENCE_PRECISION_HINT"] = _HINTS[wanted.precision]
    elif config.name == "ocr_ensemble":
        config.instance_group[0].count = wanted.layout.pages
        config.parameters["precision"].string_value = wanted.precision.value
        config.parameters["recognition_lines"].string_value = str(wanted.layout.lines)
        config.parameters["recognition_instances"].string_value = str(wanted.layout.recognition.count)
    return config
