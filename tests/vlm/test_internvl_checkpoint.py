"""Which weights internvl_python takes, and how it refuses others."""

import json
import shutil

import pytest
import torch
from internvl import checkpoint
from safetensors.torch import load_file, save_file

CPU = torch.device("cpu")


def test_the_parameter_comes_before_the_environment(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    one, other = str(tmp_path / "one"), str(tmp_path / "other")
    assert checkpoint.locate(one, {"MODEL_PATH": other}) == one
    assert checkpoint.locate("", {"MODEL_PATH": other}) == other


@pytest.mark.parametrize("setting", ["", "/no/such/folder", "E:\\models\\internvl3-8b"])
def test_weights_that_are_not_there_are_named(setting):
    with pytest.raises(FileNotFoundError, match="MODEL_PATH is not set" if not setting else "does not exist"):
        checkpoint.locate("", {"MODEL_PATH": setting})


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no config"):
        checkpoint.locate(str(tmp_path), {})


def test_the_original_layout_is_refused_by_the_name_of_the_other(tmp_path):
    config = {
        "architectures": ["InternVLChatModel"],
        "auto_map": {"AutoModel": "modeling_internvl_chat.InternVLChatModel"},
        "model_type": "internvl_chat",
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(checkpoint.LayoutError, match="OpenGVLab/InternVL3-8B-hf"):
        checkpoint.load(str(tmp_path), CPU, torch.float32)


def test_another_model_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    with pytest.raises(checkpoint.LayoutError, match="'qwen2'"):
        checkpoint.load(str(tmp_path), CPU, torch.float32)


def test_the_weights_take_the_type_that_is_asked_for(tiny_models):
    loaded = checkpoint.load(str(tiny_models.folder / "internvl"), CPU, torch.bfloat16)
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.bfloat16}
    assert (loaded.vision.side, loaded.vision.most_tiles, loaded.vision.tokens_per_tile) == (448, 12, 16)


def test_weights_of_which_some_are_missing_are_refused(tiny_models, tmp_path):
    folder = tmp_path / "internvl"
    shutil.copytree(tiny_models.folder / "internvl", folder)
    weights = load_file(folder / "model.safetensors")
    del weights["multi_modal_projector.linear_1.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(checkpoint.LayoutError, match=r"multi_modal_projector\.linear_1\.weight"):
        checkpoint.load(str(folder), CPU, torch.float32)
