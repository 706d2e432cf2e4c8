from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from scripts.launch.dots import MODEL, engine_arguments, load_parameters, loadable
from scripts.launch.loading import LoadError
from scripts.launch.server import ROOT

REPOSITORY = ROOT / "model_repository"


def test_on_a_gpu_only_the_weights_are_other_than_in_the_repository(tmp_path: Path) -> None:
    arguments = engine_arguments(REPOSITORY, str(tmp_path), gpu=True)
    committed = json.loads((REPOSITORY / MODEL / "1" / "model.json").read_text())
    assert arguments == {**committed, "model": str(tmp_path), "use_tqdm_on_load": False}


def test_on_a_cpu_the_weights_keep_their_type_and_the_memory_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"torch_dtype": "float32"}')
    arguments = engine_arguments(REPOSITORY, str(tmp_path), gpu=False)
    assert arguments["dtype"] == "float32"
    assert arguments["kv_cache_memory_bytes"] > 0
    assert "gpu_memory_utilization" not in arguments
    (tmp_path / "config.json").write_text("{}")
    assert engine_arguments(REPOSITORY, str(tmp_path), gpu=False)["dtype"] == "bfloat16"


def test_a_folder_is_named_as_triton_will_find_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights").mkdir()
    monkeypatch.chdir(tmp_path)
    assert engine_arguments(REPOSITORY, "weights", gpu=True)["model"] == str(tmp_path / "weights")


@pytest.mark.parametrize("weights", ["/nowhere", "nowhere", "no/where/at/all", "../no"])
def test_a_folder_that_is_not_there_is_no_name_on_a_hub(weights: str) -> None:
    with pytest.raises(LoadError, match=f"DOTS_MODEL_PATH: there is no folder {weights}"):
        engine_arguments(REPOSITORY, weights, gpu=True)


def test_the_load_call_brings_the_configuration_and_the_arguments() -> None:
    parameters = load_parameters(REPOSITORY, {"model": "here"})
    config = json.loads(parameters["config"])
    assert (config["name"], config["backend"]) == (MODEL, "vllm")
    assert config["model_transaction_policy"] == {"decoupled": True}
    assert json.loads(base64.b64decode(parameters["file:1/model.json"])) == {"model": "here"}


def test_it_is_loaded_again_when_it_has_unloaded_itself(tmp_path: Path) -> None:
    found = loadable(REPOSITORY, str(tmp_path))
    assert (found.name, found.weights, found.again) == (MODEL, str(tmp_path), True)
    assert json.loads(base64.b64decode(found.parameters()["file:1/model.json"]))["model"] == str(tmp_path)
