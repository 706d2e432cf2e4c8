"""A network as PaddleOCR, PaddleX and their converters leave it on disk, and what its inference.yml says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from scripts.weights.errors import ImportRefusedError
from scripts.weights.networks import Normalisation

_SETTINGS = "inference.yml"


@dataclass(frozen=True)
class Program:
    """A Paddle inference model: the program (.json, or .pdmodel before Paddle 3) and its parameters."""

    model: Path
    parameters: Path


@dataclass(frozen=True)
class Settings:
    """What an inference.yml says, as far as it does.

    `thresholds` has `thresh`, `box_thresh` and `unclip_ratio` of DB; `dictionary` a character a line, UTF-8.
    """

    normalisation: Normalisation | None
    thresholds: Mapping[str, float]
    dictionary: bytes | None


@dataclass(frozen=True)
class Exported:
    """A network: `onnx`, a serialised ModelProto, or else `program`. `path` is what the user named."""

    path: Path
    onnx: bytes | None
    program: Program | None
    settings: Settings | None


def exported(path: Path) -> Exported:
    """The network at the path: an ONNX file, or a folder with one, or with a Paddle inference model.

    An inference.yml beside it is read. Raises ImportRefusedError, which names what is missing or wrong.
    """
    folder = path if path.is_dir() else path.parent
    onnx = path if path.is_file() else None
    program = None
    if path.is_dir():
        found = sorted(path.glob("*.onnx"))
        program = _program(path)
        if len(found) > 1 or (not found and not program):
            raise ImportRefusedError(
                f"{path}: holds {len(found)} .onnx files and no Paddle inference model (X.pdiparams beside X.json or "
                "X.pdmodel); one of either is wanted"
            )
        onnx = found[0] if found else None
    elif onnx is None:
        raise ImportRefusedError(f"{path}: there is no such file or folder")
    settings = _settings(folder / _SETTINGS) if (folder / _SETTINGS).exists() else None
    # As ONNX nothing has to be converted.
    return Exported(path, onnx.read_bytes() if onnx else None, None if onnx else program, settings)


def _program(folder: Path) -> Program | None:
    for parameters in sorted(folder.glob("*.pdiparams")):
        for suffix in (".json", ".pdmodel"):
            if (model := parameters.with_suffix(suffix)).exists():
                return Program(model, parameters)
    return None


def _settings(file: Path) -> Settings:
    try:
        # Every scalar as the text it is: in a dictionary, 0, no and ~ are characters.
        table = yaml.load(file.read_bytes(), yaml.BaseLoader)  # noqa: S506 - makes nothing but texts, lists and dicts
    except yaml.YAMLError as error:
        raise ImportRefusedError(f"{file}: not YAML: {error}") from error
    try:
        before = {
            name: step for entry in table.get("PreProcess", {}).get("transform_ops", []) for name, step in entry.items()
        }
        after = table.get("PostProcess", {})
        if (mode := (before.get("DecodeImage") or {}).get("img_mode", "BGR")) != "BGR":
            raise ImportRefusedError(f"{file}: the network wants {mode} pictures; BGR ones are read here")
        normalise = before.get("NormalizeImage")
        characters = after.get("character_dict")
        return Settings(
            normalisation=Normalisation(mean=_channels(normalise["mean"]), std=_channels(normalise["std"]))
            if normalise
            else None,
            thresholds={key: float(after[key]) for key in ("thresh", "box_thresh", "unclip_ratio") if key in after},
            dictionary="".join(f"{character}\n" for character in characters).encode() if characters else None,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ImportRefusedError(f"{file}: not an inference.yml of PaddleOCR: {error!r}") from error


def _channels(values: list[str]) -> tuple[float, float, float]:
    first, second, third = map(float, values)
    return first, second, third
