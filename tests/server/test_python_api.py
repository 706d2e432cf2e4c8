"""The Python API in the document's words, through a real server and through one that it starts."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from scripts.launched import Launched
from tests.pages import ENGLISH, MIXED, draw, page
from tests.pdfs import typeset
from triton_ocr import ConfigError, InputError, OCRPipeline, create_pipeline


@pytest.fixture(scope="module")
def pipeline(triton: Launched) -> OCRPipeline:
    return create_pipeline(pipeline="OCR", server=triton.adapter_url)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.png").write_bytes(page(MIXED).data)
    (tmp_path / "b.pdf").write_bytes(typeset(["First page"], ["Second page"]))
    return tmp_path


def squeezed(lines: object) -> list[str]:
    return [line.replace(" ", "") for line in lines]  # type: ignore[attr-defined]


def test_the_documented_call_gives_the_documented_result(pipeline: OCRPipeline, folder: Path) -> None:
    (result,) = pipeline.predict(f"{folder}/a.png")
    assert list(result) == ["input_path", "dt_polys", "dt_scores", "rec_text", "rec_score"]
    assert result["input_path"] == f"{folder}/a.png"
    assert squeezed(result["rec_text"]) == squeezed(MIXED)
    assert {len(result[key]) for key in list(result)[1:]} == {len(MIXED)}
    assert np.array(result["dt_polys"]).shape == (len(MIXED), 4, 2)
    assert all(0 < score <= 1 for key in ("dt_scores", "rec_score") for score in result[key])
    drawing = cv2.imread(str(result.save_to_img(f"{folder}/output/")))
    height, width = draw(MIXED).shape[:2]
    assert drawing.shape == (height, 2 * width, 3)


def test_everything_that_predict_takes_is_read_in_order(pipeline: OCRPipeline, folder: Path) -> None:
    array = draw(ENGLISH)
    results = list(pipeline.predict([{"img": str(folder)}, array, f"{folder}/a.png"]))
    assert [result["input_path"] for result in results] == [
        *(f"{folder}/a.png", f"{folder}/b.pdf", f"{folder}/b.pdf"),
        None,
        f"{folder}/a.png",
    ]
    assert [result.get("page_index") for result in results] == [None, 0, 1, None, None]
    assert squeezed(results[2]["rec_text"]) == ["Secondpage"]
    assert squeezed(results[3]["rec_text"]) == squeezed(ENGLISH)
    saved = [result.save_to_json(folder / "out").name for result in results]
    assert saved == ["a.json", "b_0.json", "b_1.json", "array.json", "a-2.json"]


def test_reading_goes_on_only_as_far_as_results_are_taken(pipeline: OCRPipeline, folder: Path) -> None:
    results = pipeline.predict([f"{folder}/a.png", f"{folder}/gone.png"])
    assert next(results)["input_path"] == f"{folder}/a.png"
    with pytest.raises(InputError, match=r"gone\.png: No such file"):
        next(results)


def test_the_configuration_chooses_the_weights(triton: Launched, folder: Path) -> None:
    picture = f"{folder}/a.png"
    config = folder / "OCR.yaml"
    config.write_text(
        "Pipeline: {text_det_model: PP-OCRv4_mobile_det, text_rec_model: PP-OCRv6_tiny_rec, text_rec_batch_size: 1}"
    )
    (mixed,) = create_pipeline(str(config), server=triton.adapter_url).predict(picture)
    config.write_text("Pipeline: {text_det_model: PP-OCRv4_mobile_det, text_rec_model: PP-OCRv4_mobile_rec}")
    (old,) = create_pipeline(str(config), server=triton.adapter_url).predict(picture)
    assert mixed["dt_polys"] == old["dt_polys"]
    assert mixed["rec_score"] != old["rec_score"]


def test_a_device_that_is_not_there_and_a_precision_that_is_not_run_are_refused(triton: Launched) -> None:
    with pytest.raises(ConfigError, match="no device 'gpu:1'"):
        create_pipeline("OCR", device="gpu:1", server=triton.adapter_url)
    with pytest.raises(ConfigError, match="OCR_PRECISION=fast"):
        create_pipeline("OCR", use_hpip=True, server=triton.adapter_url)


def test_a_server_of_its_own_is_started_and_ends_with_the_pipeline(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.delenv("OCR_SERVER", raising=False)
    monkeypatch.setenv("OCR_PORT", "9")  # where nothing answers
    with create_pipeline("OCR") as pipeline:
        client = pipeline._client
        assert client.is_ready()
        (result,) = pipeline.predict(f"{folder}/a.png")
        assert squeezed(result["rec_text"]) == squeezed(MIXED)
    assert not client.is_ready()
