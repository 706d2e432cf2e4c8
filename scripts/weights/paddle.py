"""Paddle's inference models to ONNX, checked against Paddle itself.

Paddle wants other versions of what the server has, so it is installed into an environment of its own, when it is needed
for the first time.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from scripts.weights.errors import ConversionError
from scripts.weights.exported import Program
from scripts.weights.networks import Kind, Normalisation
from scripts.weights.samples import Pictures, text_lines, text_pages
from scripts.weights.verify import TOLERANCE

# The runtimes sum in different orders: the v4 networks differ by 2e-5.
_TOLERANCE = 10 * TOLERANCE
_LAST_WORDS = 10

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
    model = (work / "model.onnx").read_bytes()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    answers = np.load(work / "answers.npz")
    difference = 0.0
    for name, sample in samples.items():
        (answer,) = session.run(None, {session.get_inputs()[0].name: sample})
        if answer.shape != answers[name].shape:
            raise ConversionError(f"{program.model}: answers {answer.shape} as ONNX, {answers[name].shape} in Paddle")
        difference = max(difference, float(np.abs(answer - answers[name]).max()))
    if not difference <= _TOLERANCE:
        raise ConversionError(f"{program.model}: as ONNX a probability differs by {difference:.2g} from Paddle's")
    print(f"{program.model}: converted; no probability differs by more than {difference:.1g} from Paddle's", flush=True)
    return model


def _samples(kind: Kind) -> list[Pictures]:
    if kind is Kind.DETECTOR:
        return [text_pages(1, 320, 480), text_pages(2, 160, 96)]
    if kind is Kind.RECOGNISER:
        return [text_lines(2, 48, 320), text_lines(1, 48, 480)]
    return [text_lines(2, 48, 192)]


def _normalised(pictures: Pictures, normalisation: Normalisation) -> npt.NDArray[np.float32]:
    pixels = ((pictures / 255.0 - normalisation.mean) / normalisation.std).astype(np.float32)
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))


def _environment() -> Path:
    """The interpreter of the environment with Paddle, which is made where it is not there or not as locked."""
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
