"""Profiles of weights that the user brings: added under versions of their own, and removed.

A profile is there once its JSON file is, which is written last and removed first; what a killed run leaves besides is
swept away by the next one.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.weights import paddle
from scripts.weights.build import Built, build
from scripts.weights.catalogue import CENTRED, PROFILES, Profile
from scripts.weights.errors import ImportRefusedError, WeightsError
from scripts.weights.exported import Exported, exported
from scripts.weights.fetch import fetch, staging, turn
from scripts.weights.networks import Kind, Normalisation

# Those of the catalogue stay below.
FIRST_VERSION = 1001

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
_ENSEMBLE = Path("model_repository", "ocr_ensemble", "1")
_KINDS = (Kind.DETECTOR, Kind.CLASSIFIER, Kind.RECOGNISER)
# Exports without an inference.yml are of PaddleOCR 2, whose newest weights are PP-OCRv4.
_LIKE_OLD, _LIKE_NEW = "PP-OCRv4_mobile", "PP-OCRv5_mobile"


@dataclass(frozen=True)
class Files:
    """What a profile is made of: ONNX files, or folders of Paddle's inference models.

    `detector` may also be the name of one that is here, such as PP-OCRv4_mobile_det. `dictionary` has a character a
    line; None where the recogniser brings it (in its inference.yml or its metadata). Without a `classifier` lines are
    turned by the one that all profiles share.
    """

    detector: Path
    recogniser: Path
    dictionary: Path | None = None
    classifier: Path | None = None


def import_profile(root: Path, name: str, files: Files, like: str | None = None) -> None:
    """Add a profile below `root`, saying on stdout what is done.

    What the weights do not say of themselves (an inference.yml says how pixels are normalised and DB's thresholds) is
    that of the profile `like`. Raises WeightsError, and then nothing was added.
    """
    profiles = {profile.name: profile for profile in PROFILES}
    if not _NAME.fullmatch(name):
        raise ImportRefusedError(f"{name!r} cannot be a profile's name: letters, digits, '.', '_' and '-' can")
    if name in profiles:
        raise ImportRefusedError(f"{name} is one of the profiles that come with the server: take another name")
    if like is not None and like not in profiles:
        raise ImportRefusedError(f"there is no profile {like!r} to be like; there are {', '.join(profiles)}")
    fetch(root)
    cache = root / ".cache"
    with turn(cache / "weights.lock"), staging(cache / "weights.staging") as folder:
        _sweep(root)
        if _table(root, name).exists():
            raise ImportRefusedError(f"{name} is there already: scripts/fetch remove {name}")
        detector, table = _detector(root, files.detector, profiles[like] if like else None, folder)
        recogniser = _built(Kind.RECOGNISER, exported(files.recogniser), CENTRED, folder, files.dictionary)
        graphs = {Kind.DETECTOR: detector, Kind.RECOGNISER: recogniser.graph}
        if files.classifier:
            graphs[Kind.CLASSIFIER] = _built(Kind.CLASSIFIER, exported(files.classifier), CENTRED, folder).graph
        version = max([FIRST_VERSION - 1, *_versions(root)]) + 1
        _install(root, version, graphs, folder)
        assert recogniser.dictionary is not None  # noqa: S101 - it has one
        _place(root / _ENSEMBLE / "dictionaries" / f"{name}.txt", recogniser.dictionary, folder)
        _place(_table(root, name), json.dumps(table | {"version": version}, indent=2).encode() + b"\n", folder)
    print(f"{name}: added as version {version}; a server that runs has to be started anew to read with it", flush=True)


def remove_profile(root: Path, name: str) -> None:
    """Remove an imported profile. Raises ImportRefusedError where there is none of that name."""
    cache = root / ".cache"
    cache.mkdir(exist_ok=True)
    with turn(cache / "weights.lock"):
        table = _table(root, name)
        if not _NAME.fullmatch(name) or not table.exists():
            there = ", ".join(sorted(path.stem for path in table.parent.glob("*.json"))) or "none"
            raise ImportRefusedError(f"{name} is no imported profile; there are: {there}")
        table.unlink()
        _sweep(root)
    print(f"{name}: removed", flush=True)


def _detector(root: Path, path: Path, like: Profile | None, folder: Path) -> tuple[bytes, dict[str, Any]]:
    """The graph, and the parameters of a profile with it."""
    if not path.exists() and path.name.endswith("_det"):
        name = path.name.removesuffix("_det")
        table = _parameters(root, name)
        if table is not None and like is None:
            graph = root / "model_repository" / Kind.DETECTOR.value / str(table["version"]) / "model.onnx"
            return graph.read_bytes(), table
        if table is not None:
            raise ImportRefusedError(f"{path.name} has parameters of its own, so it takes no --like")
    network = exported(path)
    named = like.name if like else _LIKE_NEW if network.settings else _LIKE_OLD
    model = next(profile for profile in PROFILES if profile.name == named)
    table = _parameters(root, named)
    assert table is not None  # noqa: S101 - it comes with the server
    normalisation = model.detector.normalisation
    if network.settings:
        normalisation = network.settings.normalisation or normalisation
        table["detection"] |= network.settings.thresholds
    return _built(Kind.DETECTOR, network, normalisation, folder).graph, table


def _parameters(root: Path, name: str) -> dict[str, Any] | None:
    """The profile's JSON; None where there is no such profile."""
    for file in (root / _ENSEMBLE / "profiles" / f"{name}.json", _table(root, name)):
        if file.exists():
            table: dict[str, Any] = json.loads(file.read_bytes())
            return table
    return None


def _built(
    kind: Kind, network: Exported, normalisation: Normalisation, folder: Path, dictionary: Path | None = None
) -> Built:
    try:
        original = network.onnx
        if network.program:
            original = paddle.convert(network.program, kind, normalisation, folder)
        assert original is not None  # noqa: S101 - it is one or the other
        built = build(kind, original, normalisation, _characters(network, dictionary))
    except WeightsError as error:
        raise type(error)(f"{network.path}: {error}") from error
    print(f"{network.path}: rewritten; no probability differs by more than {built.difference:.1g}", flush=True)
    return built


def _characters(network: Exported, dictionary: Path | None) -> bytes | None:
    """The dictionary that was named, else the one of the network's inference.yml."""
    if dictionary is None:
        return network.settings.dictionary if network.settings else None
    characters = dictionary.read_bytes()
    try:
        characters.decode()
    except UnicodeDecodeError as error:
        raise ImportRefusedError(f"{dictionary}: not UTF-8: {error}") from error
    return characters


def _install(root: Path, version: int, graphs: dict[Kind, bytes], folder: Path) -> None:
    for kind in _KINDS:
        shared = root / "model_repository" / kind.value / str(PROFILES[0].version) / "model.onnx"
        graph = graphs[kind] if kind in graphs else shared.read_bytes()
        _place(root / "model_repository" / kind.value / str(version) / "model.onnx", graph, folder)


def _place(file: Path, content: bytes, folder: Path) -> None:
    """Write a file whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = folder / "unfinished"
    unfinished.write_bytes(content)
    unfinished.replace(file)


def _table(root: Path, name: str) -> Path:
    return root / _ENSEMBLE / "profiles" / "imported" / f"{name}.json"


def _versions(root: Path) -> dict[int, str]:
    """The imported profiles' names by their versions."""
    return {json.loads(table.read_bytes())["version"]: table.stem for table in _table(root, "_").parent.glob("*.json")}


def _sweep(root: Path) -> None:
    """Remove what belongs to no profile."""
    versions = _versions(root)
    for kind in _KINDS:
        for folder in (root / "model_repository" / kind.value).iterdir():
            if folder.name.isdigit() and FIRST_VERSION <= int(folder.name) not in versions:
                shutil.rmtree(folder)
    known = {*versions.values(), *(profile.name for profile in PROFILES)}
    for dictionary in (root / _ENSEMBLE / "dictionaries").glob("*.txt"):
        if dictionary.stem not in known:
            dictionary.unlink()
