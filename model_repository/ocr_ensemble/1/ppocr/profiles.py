"""Profiles: named sets of weights and the parameters that go with them, one JSON file each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from .detection import DetectionRules
from .errors import InvalidArgumentError
from .recognition import RecognitionRules


@dataclass(frozen=True)
class Profile:
    """`version` is the version of det_onnx and cls_onnx that holds the weights, `rec_version` that of rec_onnx; they
    differ where two profiles are mixed. `characters` are the CTC classes; the blank, class 0, is the empty string.
    `text_score` is a line's least score where none is asked for."""

    name: str
    version: int
    rec_version: int
    detection: DetectionRules
    recognition: RecognitionRules
    text_score: float
    characters: list[str]


def load_profiles(folder: Path, precision: str = "exact") -> dict[str, Profile]:
    """The profiles of `folder`/profiles, and of imported/ in it, by name; dictionaries lie in `folder`/dictionaries.

    `precision` is what the networks compute in: what a profile lists under its name takes the place of its values.

    A dictionary has one character a line, class 1 first. Only "\\n" ends a line: some characters look like line ends.
    """
    profiles = {}
    for path in sorted((folder / "profiles").rglob("*.json")):
        table = json.loads(path.read_text(encoding="utf-8"))
        table.update(table.get(precision, {}))
        dictionary = (folder / "dictionaries" / f"{path.stem}.txt").read_bytes().decode("utf-8")
        profiles[path.stem] = Profile(
            name=path.stem,
            version=table["version"],
            rec_version=table["version"],
            detection=DetectionRules(**table["detection"]),
            recognition=RecognitionRules(**table["recognition"]),
            text_score=table["text_score"],
            characters=["", *dictionary.removesuffix("\n").split("\n")],
        )
    return profiles


def choose(profiles: Mapping[str, Profile], name: str) -> Profile:
    """The profile of that name; raises InvalidArgumentError, which lists those there are."""
    if name not in profiles:
        raise InvalidArgumentError(f"profile {name!r} is not loaded; there are {', '.join(profiles)}")
    return profiles[name]


def mixed(profile: Profile, recogniser: Profile) -> Profile:
    """Detection and orientation of one profile, recognition of another."""
    if profile.name == recogniser.name:
        return profile
    return replace(
        profile,
        name=f"{profile.name}_det+{recogniser.name}_rec",
        rec_version=recogniser.rec_version,
        recognition=recogniser.recognition,
        characters=recogniser.characters,
    )
