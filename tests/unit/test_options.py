"""A request's options are checked, and profiles found, before anything is computed."""

import json

import pytest
from ppocr.errors import InvalidArgumentError
from ppocr.options import Options
from ppocr.profiles import choose, load_profiles, mixed


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("det_thresh", -0.1),
        ("box_thresh", 1.1),
        ("unclip_ratio", 0.0),
        ("text_score", float("nan")),
        ("max_side", 0),
        ("rec_batch_size", 33),
    ],
)
def test_an_option_out_of_range_is_named(name, value):
    with pytest.raises(InvalidArgumentError, match=rf"\[invalid_argument\] {name} must be between"):
        Options(**{name: value})


def test_bounds_are_allowed():
    assert Options(det_thresh=0.0, text_score=1.0, max_side=32).max_side == 32


PARAMETERS = {
    "version": 7,
    "detection": {
        "min_side": 736,
        "max_enlargement": 2,
        "max_pixels": 8_000_000,
        "thresh": 0.3,
        "box_thresh": 0.5,
        "unclip_ratio": 1.6,
        "dilate": False,
    },
    "recognition": {"least": 320, "step": 32, "most": 1600, "by_page": False},
    "text_score": 0.5,
}


def test_a_dictionary_may_hold_characters_that_look_like_line_ends(tmp_path):
    (tmp_path / "profiles").mkdir()
    (tmp_path / "dictionaries").mkdir()
    (tmp_path / "profiles" / "mine.json").write_text(json.dumps(PARAMETERS))
    (tmp_path / "dictionaries" / "mine.txt").write_bytes("a\n\u2028\n\x85\n\r\n \n".encode())
    profile = choose(load_profiles(tmp_path), "mine")
    assert profile.characters == ["", "a", "\u2028", "\x85", "\r", " "]
    assert (profile.version, profile.detection.unclip_ratio) == (7, 1.6)


def install(folder, path, characters, **parameters):
    profile = folder / "profiles" / path
    dictionary = folder / "dictionaries" / f"{profile.stem}.txt"
    profile.parent.mkdir(parents=True, exist_ok=True)
    dictionary.parent.mkdir(exist_ok=True)
    profile.write_text(json.dumps(PARAMETERS | parameters))
    dictionary.write_text("".join(f"{character}\n" for character in characters))


def test_recognition_can_be_that_of_another_profile_an_imported_one_too(tmp_path):
    install(tmp_path, "own.json", "ab")
    install(tmp_path, "imported/mine.json", "cd", version=1001, text_score=0.1)
    profiles = load_profiles(tmp_path)
    both = mixed(profiles["own"], profiles["mine"])
    assert (both.name, both.version, both.rec_version) == ("own_det+mine_rec", 7, 1001)
    assert (both.characters, both.text_score) == (["", "c", "d"], 0.5)
    assert mixed(profiles["own"], profiles["own"]) == profiles["own"]


def test_an_unknown_profile_is_refused_with_those_there_are():
    with pytest.raises(InvalidArgumentError, match=r"'v9' is not loaded; there are small, tiny"):
        choose({"small": None, "tiny": None}, "v9")
