"""Paddle's inference models to ONNX, checked against Paddle itself.

Paddle wants other versions of what the server has, so it is installed into an environment of its own, when it is needed
for the first time.
"""

from __future__ import annotations

import ctypes
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from scripts.weights.errors import ConversionError
from scripts.weights.exported import Program
from scripts.weights.networks import Kind, Normalisation
from scripts.weights.samples import Pictures, text_lines, text_pages
from scripts.weights.verify import TOLERANCE

# The runtimes sum in different orders: the v4 networks differ by 2e-5.
_TOLERANCE = 10 * TOLERANCE
_LAST_WORDS = 10
_VECTOR = "vector"
# What Paddle's wheel links against and does not bring, and Debian's package of it.
OPENMP, OPENMP_PACKAGE = "libgomp.so.1", "libgomp1"

Floats = npt.NDArray[np.float32]

_ROOT = Path(__file__).resolve().parents[2]
_LOCK = _ROOT / "locks" / "paddle.txt"
_CONVERTER = Path(__file__).with_name("paddle_convert.py")


def convert(program: Program, kind: Kind, normalisation: Normalisation, folder: Path) -> bytes:
    """The network as a serialised ModelProto. `folder` takes temporary files.

    Raises ConversionError where Paddle cannot be installed, paddle2onnx cannot convert the network, or the two compute
    different things.
    """
    python = _environment()
    work = folder / "paddle"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    samples = {
        f"sample_{number}": _normalised(pictures, normalisation) for number, pictures in enumerate(_samples(kind))
    }
    np.savez(work / "samples.npz", **samples)
    print(f"{program.model}: converting", flush=True)
    # In that folder, since it leaves files behind where it runs; isolated, since ours lie beside the converter.
    _run([str(python), "-I", str(_CONVERTER), str(program.model.resolve()), str(program.parameters.resolve())], work)
    model = mended(onnx.load(work / "model.onnx")).SerializeToString()
    try:
        answers = _answers(model, samples)
    except Exception as error:  # ONNX Runtime's exceptions have no common base.
        raise ConversionError(f"{program.model}: does not run as ONNX: {error}") from error
    difference = 0.0
    for name, wanted in np.load(work / "answers.npz").items():
        if answers[name].shape != wanted.shape:
            raise ConversionError(f"{program.model}: answers {answers[name].shape} as ONNX, {wanted.shape} in Paddle")
        difference = max(difference, float(np.abs(answers[name] - wanted).max()))
    if not difference <= _TOLERANCE:
        raise ConversionError(f"{program.model}: as ONNX a probability differs by {difference:.2g} from Paddle's")
    print(f"{program.model}: converted; no probability differs by more than {difference:.1g} from Paddle's", flush=True)
    return model


def mended(network: ModelProto) -> ModelProto:
    """The network with the numbers of every shape that it puts together as vectors of one.

    paddle2onnx 2.1 concatenates them as Paddle stacks them, some as scalars, which ONNX does not allow.
    """
    makers = {output: node for node in network.graph.node for output in node.output}
    nodes: list[NodeProto] = []
    flattened: set[str] = set()
    for node in network.graph.node:
        if node.op_type == "Concat" and _attribute(node, "axis") == 0:
            for place, name in enumerate(node.input):
                maker = makers.get(name)
                if maker is None or maker.op_type != "Cast" or _attribute(maker, "to") != TensorProto.INT64:
                    continue
                if name not in flattened:
                    nodes.append(helper.make_node("Reshape", [name, _VECTOR], [f"{_VECTOR}/{name}"]))
                    flattened.add(name)
                node.input[place] = f"{_VECTOR}/{name}"
        nodes.append(node)
    if flattened:
        network.graph.initializer.append(numpy_helper.from_array(np.array([-1], np.int64), _VECTOR))
        network.graph.ClearField("node")
        network.graph.node.extend(nodes)
    return network


def _attribute(node: NodeProto, name: str) -> int:
    return int(next(attribute.i for attribute in node.attribute if attribute.name == name))


def _answers(model: bytes, samples: Mapping[str, Floats]) -> dict[str, Floats]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # Errors: unused constants are left behind, and each one is a warning.
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (value,) = session.get_inputs()
    return {name: session.run(None, {value.name: sample})[0] for name, sample in samples.items()}


def _samples(kind: Kind) -> list[Pictures]:
    if kind is Kind.DETECTOR:
        return [text_pages(1, 320, 480), text_pages(2, 160, 96)]
    if kind is Kind.RECOGNISER:
        return [text_lines(2, 48, 320), text_lines(1, 48, 480)]
    return [text_lines(2, 48, 192)]


def _normalised(pictures: Pictures, normalisation: Normalisation) -> Floats:
    pixels = ((pictures / 255.0 - normalisation.mean) / normalisation.std).astype(np.float32)
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))


def _environment() -> Path:
    """The interpreter of the environment with Paddle, which is made where it is not there or not as locked."""
    try:
        ctypes.CDLL(OPENMP)
    except OSError as error:
        raise ConversionError(f"{OPENMP} is missing (Paddle needs it): apt-get install {OPENMP_PACKAGE}") from error
    folder = _ROOT / ".cache" / "paddle"
    stamp, locked = folder / ".installed", hashlib.sha256(_LOCK.read_bytes()).hexdigest()
    python = folder / "bin" / "python"
    if not (stamp.exists() and stamp.read_text() == locked and python.exists()):
        print("Installing Paddle, 1 GB, for the conversion", flush=True)
        _run([sys.executable, "-m", "venv", "--clear", str(folder)])
        options = ("--require-hashes", "--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check")
        _run([str(python), "-m", "pip", "install", *options, "-r", str(_LOCK)])
        stamp.write_text(locked)
    return python


def _run(command: list[str], directory: Path | None = None) -> None:
    done = subprocess.run(
        command, cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode:
        words = (done.stdout + done.stderr).strip().splitlines()[-_LAST_WORDS:]
        raise ConversionError(f"{' '.join(command[1:4])} failed:\n" + "\n".join(f"  {line}" for line in words))
