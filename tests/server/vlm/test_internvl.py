"""The InternVL service's paths, on a real Triton: readings, batches, and the loading anew of the model."""

import io
import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import httpx
import numpy as np
import pymupdf
import pytest
import tritonclient.grpc as triton_grpc
from PIL import Image

from scripts.launched import eventually
from tests.server.vlm.conftest import Order

MODEL = "internvl_python"
TABLE = "| a | b |\n|---|---|\n| 1 | 2 |"


def process(
    adapter: Any, file: bytes, filename: str = "page.png", timeout: float = 120.0, **form: str
) -> httpx.Response:
    files = {"file": (filename, file)}
    return httpx.post(f"{adapter.url}/ocr/process", files=files, data=form, timeout=timeout)


def batch(adapter: Any, files: list[tuple[str, bytes]], **form: str) -> httpx.Response:
    parts = [("files", file) for file in files]
    return httpx.post(f"{adapter.url}/ocr/batch", files=parts, data=form, timeout=120.0)


def reload(adapter: Any) -> httpx.Response:
    return httpx.post(f"{adapter.url}/model/reload", timeout=120.0)


class Stranger:
    """A client of Triton's own, whose request no adapter knows of; it leaves at the end."""

    def __init__(self, vlms: Any, order: Order) -> None:
        self._client = triton_grpc.InferenceServerClient(vlms.grpc)
        self._client.start_stream(lambda result, error: None)
        self._client.async_stream_infer(MODEL, [_input("image", order.picture()), _input("prompt", b"?")])

    def __enter__(self) -> None:
        time.sleep(0.5)  # until the request is there

    def __exit__(self, *_: object) -> None:
        self._client.stop_stream(cancel_requests=True)


def _input(name: str, value: bytes) -> Any:
    tensor = triton_grpc.InferInput(name, [1], "BYTES")
    tensor.set_data_from_numpy(np.array([value], np.object_))
    return tensor


def pdf(*orders: Order) -> bytes:
    """A page of each order's colour."""
    document = pymupdf.open()
    for order in orders:
        page = document.new_page(width=200, height=100)
        page.draw_rect(page.rect, color=None, fill=[part / 255 for part in order.colour])
    return bytes(document.tobytes())


def test_a_reading_has_the_documented_form_and_tells_the_truth(vlms: Any, adapter: Any) -> None:
    order = vlms.order("A table:\n\n", TABLE, "\n\nNote: €", logprob=-0.25)
    answer = process(adapter, order.picture((640, 480)), "manual.PNG", prompt="What is this?")
    assert answer.status_code == 200
    found = answer.json()
    assert found["status"] == "success"
    assert found["raw_text"] == f"A table:\n\n{TABLE}\n\nNote: €"
    assert found["confidence"] == round(math.exp(-0.25), 4)
    confidence = round(math.exp(-0.25), 4)
    assert found["structured_content"] == {
        "tables": [{"type": "detected_table", "content": TABLE, "confidence": confidence}],
        "diagrams": [],
        "annotations": [{"type": "detected_annotation", "content": "Note: €", "confidence": confidence}],
        "specifications": [],
    }
    size = len(order.picture((640, 480)))
    assert found["file_info"] == {"filename": "manual.PNG", "size": size, "format": ".png", "image_size": "640x480"}
    metadata = found["metadata"]
    assert (metadata["model"], metadata["device"], metadata["prompt"]) == ("internvl3-8b", "cpu", "What is this?")
    assert metadata["image_patches"] == 7
    assert 0 < metadata["processing_time"] <= metadata["total_processing_time"] < 30
    assert datetime.fromisoformat(metadata["timestamp"])


def test_the_model_is_asked_with_the_settings_and_the_prompt(vlms: Any, adapter_with: Any) -> None:
    order = vlms.order("x")
    process(adapter_with(max_image_patches=4, internvl_max_new_tokens=99), order.picture(), prompt="Why?")
    seen = order.seen()
    assert (seen["prompt"], seen["max_image_patches"], seen["max_new_tokens"]) == ("Why?", 4, 99)
    assert (seen["stream"], seen["temperature"]) == (True, 0.0)


@pytest.mark.parametrize("form", [{}, {"prompt": ""}, {"prompt": "  "}])
def test_without_a_prompt_the_technical_content_is_asked_for(vlms: Any, adapter: Any, form: dict[str, Any]) -> None:
    order = vlms.order("x")
    used = process(adapter, order.picture(), **form).json()["metadata"]["prompt"]
    assert "Describe the technical content" in used
    assert order.seen()["prompt"] == used


def test_confidence_is_of_the_tokens_that_were_written(vlms: Any, adapter: Any) -> None:
    sure, unsure = vlms.order("a", logprob=-0.01), vlms.order("a", logprob=-3.0)
    found = [process(adapter, order.picture()).json()["confidence"] for order in (sure, unsure)]
    assert found == [round(math.exp(-0.01), 4), round(math.exp(-3.0), 4)]
    assert process(adapter, vlms.order("").picture()).json()["raw_text"] == ""


@pytest.mark.parametrize(
    ("filename", "kind"),
    [("a.jpg", "JPEG"), ("a.jpeg", "JPEG"), ("a.bmp", "BMP"), ("a.tiff", "TIFF"), ("A.JPG", "JPEG")],
)
def test_every_supported_format_is_taken(vlms: Any, adapter: Any, filename: str, kind: str) -> None:
    picture = vlms.order("x").picture(kind=kind)
    answer = process(adapter, picture, filename)
    assert (answer.status_code, answer.json()["file_info"]["format"]) == (
        200,
        "." + filename.lower().rpartition(".")[2],
    )


@pytest.mark.parametrize("filename", ["page.gif", "page.txt", "page", "page.png.exe", ""])
def test_an_unsupported_extension_is_a_400_that_lists_the_supported_ones(
    vlms: Any, adapter: Any, filename: str
) -> None:
    answer = process(adapter, vlms.order("x").picture(), filename)
    assert (answer.status_code, answer.json()["status"]) == (400, "error")
    if filename:
        assert ".jpg, .jpeg, .png, .pdf, .bmp, .tiff" in answer.json()["error"]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "text"])
def test_unsupported_content_is_a_400_that_lists_the_supported_formats(adapter: Any, kind: str) -> None:
    file = io.BytesIO(b"only text")
    if kind != "text":
        Image.new("RGB", (40, 40)).save(file, kind)
    answer = process(adapter, file.getvalue(), "page.png")
    assert (answer.status_code, answer.json()["status"]) == (400, "error")
    assert ".tiff" in answer.json()["error"]


def test_a_file_or_a_picture_over_a_limit_is_a_413_that_names_it(vlms: Any, adapter_with: Any) -> None:
    picture = vlms.order("x").picture()
    for setting in ("internvl_max_file_size", "vlm_max_pixels"):
        answer = process(adapter_with(**{setting: 100}), picture)
        assert (answer.status_code, answer.json()["status"]) == (413, "error")
        assert f"OCR_{setting.upper()}" in answer.json()["error"]


def test_a_text_that_the_limit_cuts_off_or_a_loop_spoils_is_marked(vlms: Any, adapter: Any) -> None:
    cut = process(adapter, vlms.order("a", finish_reason="length").picture()).json()["metadata"]
    assert cut["truncated"] is True
    order = vlms.order("Sum: ", *["ha " * 20] * 500, delay=0.01)
    looped = process(adapter, order.picture()).json()
    assert (looped["metadata"]["repaired"], "truncated" in looped["metadata"]) == (True, False)
    assert len(looped["raw_text"]) < 1000
    assert order.seen()["cancelled"]


def test_the_pages_of_a_pdf_are_read_each_alone_and_given_in_order(vlms: Any, adapter: Any) -> None:
    first = vlms.order("one", delay=0.5)
    second = vlms.order("two", " ", "words", logprob=-2.0)
    third = vlms.order("three")
    found = process(adapter, pdf(first, second, third), "manual.pdf").json()
    assert found["raw_text"] == "--- Page 1 ---\none\n\n--- Page 2 ---\ntwo words\n\n--- Page 3 ---\nthree"
    assert [(page["page"], page["raw_text"]) for page in found["pages"]] == [(1, "one"), (2, "two words"), (3, "three")]
    assert [page["confidence"] for page in found["pages"]] == [
        round(math.exp(logprob), 4) for logprob in (-0.5, -2, -0.5)
    ]
    # Five tokens in all, three of them unsure.
    assert found["confidence"] == round(math.exp((-0.5 - 6.0 - 0.5) / 5), 4)
    assert found["metadata"]["image_patches"] == 21
    assert (found["file_info"]["format"], found["file_info"]["pages"]) == (".pdf", 3)


def test_a_batch_answers_each_file_on_its_own_and_in_order(vlms: Any, adapter: Any) -> None:
    slow, quick = vlms.order("slow", delay=0.5), vlms.order("quick")
    files = [
        ("1.png", slow.picture()),
        ("2.png", b"\x89PNG\r\n\x1a\n broken"),
        ("3.xyz", quick.picture()),
        ("4.png", quick.picture()),
    ]
    answer = batch(adapter, files, prompt="?")
    assert answer.status_code == 200
    found = answer.json()
    assert (found["status"], found["total"], found["succeeded"], found["failed"]) == ("partial", 4, 2, 2)
    assert [entry["status"] for entry in found["results"]] == ["success", "error", "error", "success"]
    assert [entry["file_info"]["filename"] for entry in found["results"]] == [name for name, _ in files]
    assert [entry.get("raw_text") for entry in found["results"]] == ["slow", None, None, "quick"]
    assert found["results"][0]["metadata"]["prompt"] == "?"
    assert ".jpg" in found["results"][2]["error"]


def test_a_batch_whose_files_are_all_bad_has_the_status_of_the_first(adapter: Any) -> None:
    answer = batch(adapter, [("1.txt", b"x"), ("2.png", b"y")])
    assert (answer.status_code, answer.json()["status"], answer.json()["failed"]) == (400, "error", 2)
    assert "1.txt" in answer.json()["error"]
    assert [entry["status"] for entry in answer.json()["results"]] == ["error", "error"]


def test_more_files_than_a_batch_may_have_are_refused(vlms: Any, adapter_with: Any) -> None:
    picture = vlms.order("x").picture()
    adapter = adapter_with(internvl_max_files=2)
    assert batch(adapter, [("1.png", picture)] * 2).status_code == 200
    answer = batch(adapter, [("1.png", picture)] * 3)
    assert answer.status_code == 400
    assert "OCR_INTERNVL_MAX_FILES" in answer.json()["error"]


def test_a_missing_file_is_a_400(adapter: Any) -> None:
    for path, field in (("process", "file"), ("batch", "files")):
        answer = httpx.post(f"{adapter.url}/ocr/{path}", data={"prompt": "x"})
        assert (answer.status_code, answer.json()["status"]) == (400, "error")
        assert field in answer.json()["error"]


def test_without_its_model_the_service_says_so_in_its_own_form(vlms: Any, adapter: Any) -> None:
    picture = vlms.order("x").picture()
    with vlms.without(MODEL):
        for answer in (process(adapter, picture), batch(adapter, [("1.png", picture)])):
            assert answer.status_code == 503
            assert (answer.json()["status"], answer.json()["error"]) == ("error", f"the model '{MODEL}' is not loaded")
            assert answer.headers["Retry-After"]
        # What is wrong with the file is said first.
        assert process(adapter, picture[: len(picture) // 2]).status_code == 400
        health = httpx.get(f"{adapter.url}/internvl/health")
        assert (health.status_code, health.json()["status"]) == (200, "healthy")
        assert (health.json()["model_loaded"], health.json()["device"]) == (False, None)
        assert httpx.get(f"{adapter.url}/model/info").json()["is_loaded"] is False


def test_health_and_info_have_the_documented_fields(adapter_with: Any) -> None:
    adapter = adapter_with(MODEL_PATH="/models/InternVL3-8B-hf")
    health = httpx.get(f"{adapter.url}/internvl/health").json()
    assert datetime.fromisoformat(health.pop("timestamp"))
    assert isinstance(health.pop("gpu_available"), bool)
    assert health == {
        "status": "healthy",
        "service": "InterVL OCR",
        "model": "internvl3-8b",
        "model_loaded": True,
        "device": "cpu",
    }
    info = httpx.get(f"{adapter.url}/model/info").json()
    assert isinstance(info.pop("gpu_available"), bool)
    assert info == {
        "model_name": "internvl3-8b",
        "model_path": "/models/InternVL3-8B-hf",
        "device": "cpu",
        "is_loaded": True,
        "supported_formats": [".jpg", ".jpeg", ".png", ".pdf", ".bmp", ".tiff"],
        "max_file_size_mb": 50,
    }


def test_when_triton_is_away_health_says_so_and_requests_fail_at_once(vlms: Any, adapter_with: Any) -> None:
    adapter = adapter_with(triton_url="127.0.0.1:1")
    start = time.perf_counter()
    answer = process(adapter, vlms.order("x").picture())
    assert (answer.status_code, answer.json()["status"]) == (503, "error")
    health = httpx.get(f"{adapter.url}/internvl/health")
    assert (health.status_code, health.json()["status"], health.json()["model_loaded"]) == (503, "unhealthy", False)
    assert time.perf_counter() - start < 2.0


def test_the_start_page_says_what_is_here(adapter: Any) -> None:
    page = httpx.get(f"{adapter.url}/internvl/")
    assert page.headers["Content-Type"].startswith("text/html")
    assert "ocr/process" in page.text


def test_a_client_that_leaves_cancels_the_models_work(vlms: Any, adapter: Any) -> None:
    order = vlms.order(*["a "] * 100, delay=0.1)
    with pytest.raises(httpx.TimeoutException):
        process(adapter, order.picture(), timeout=2.0)
    seen = order.seen()
    assert seen["cancelled"]
    assert seen["sent"] < 60


def test_while_the_model_is_loaded_anew_what_runs_ends_and_what_arrives_waits(vlms: Any, adapter: Any) -> None:
    running, arriving = vlms.order(*["a"] * 10, delay=0.2), vlms.order("b")
    before = len(vlms.loads())
    with vlms.loading(sleep=0.5), ThreadPoolExecutor(3) as pool:
        first = pool.submit(process, adapter, running.picture())
        assert eventually(lambda: adapter.metric("ocr_in_flight") == 1, 10)
        reloaded = pool.submit(reload, adapter)
        time.sleep(0.3)
        second = pool.submit(process, adapter, arriving.picture())
        assert first.result().json()["raw_text"] == "a" * 10
        assert reloaded.result().json()["status"] == "success"
        assert (reloaded.result().status_code, reloaded.result().json()["device"]) == (200, "cpu")
        assert second.result().json()["raw_text"] == "b"
    # The old copy had ended before the new one began.
    assert vlms.loads()[before:] == ["unloaded", "loaded"]


def test_a_reload_goes_on_when_its_caller_leaves_and_is_shared_by_those_who_ask_meanwhile(
    vlms: Any, adapter: Any
) -> None:
    before = len(vlms.loads())
    with vlms.loading(sleep=0.5):
        with pytest.raises(httpx.TimeoutException):
            httpx.post(f"{adapter.url}/model/reload", timeout=0.3)
        assert reload(adapter).status_code == 200
    assert vlms.loads()[before:] == ["unloaded", "loaded"]
    assert process(adapter, vlms.order("x").picture()).status_code == 200


def test_what_arrives_during_a_reload_waits_no_longer_than_its_deadline(vlms: Any, adapter_with: Any) -> None:
    adapter = adapter_with(generation_timeout=1.0)
    with vlms.loading(sleep=1.5):
        caller = threading.Thread(target=reload, args=(adapter,))
        caller.start()
        time.sleep(0.3)
        answer = process(adapter, vlms.order("x").picture())
        assert (answer.status_code, answer.json()["status"]) == (504, "error")
        caller.join()
        assert eventually(lambda: httpx.get(f"{adapter.url}/model/info").json()["is_loaded"], 10)


def test_a_model_that_cannot_be_unloaded_says_why_and_can_be_once_its_work_has_ended(
    vlms: Any, adapter_with: Any
) -> None:
    adapter = adapter_with(generation_timeout=1.0)
    with Stranger(vlms, vlms.order("a", "b", delay=60)):
        answer = reload(adapter)
        assert (answer.status_code, answer.json()["status"]) == (503, "error")
        assert "'internvl_python' was not unloaded within 6 s: a request to it has not ended" in answer.json()["error"]
        assert process(adapter, vlms.order("x").picture()).status_code == 503
    assert reload(adapter).status_code == 200
    assert process(adapter, vlms.order("x").picture()).status_code == 200


def test_a_model_that_cannot_be_loaded_says_why_and_leaves_the_rest_running(vlms: Any, adapter: Any) -> None:
    try:
        with vlms.loading(fail="/models/gone does not exist"):
            answer = reload(adapter)
        assert (answer.status_code, answer.json()["status"]) == (503, "error")
        assert "FileNotFoundError: /models/gone does not exist" in answer.json()["error"]
        assert "Traceback" not in answer.text
        assert process(adapter, vlms.order("x").picture()).status_code == 503
        assert httpx.get(f"{adapter.url}/dots/health").json()["model_loaded"] is True
    finally:
        vlms.load(MODEL)
    assert process(adapter, vlms.order("x").picture()).status_code == 200


def test_without_the_key_nothing_is_loaded_or_unloaded(vlms: Any, adapter_with: Any) -> None:
    before = vlms.loads()
    answer = reload(adapter_with(triton_key=None))
    assert (answer.status_code, answer.json()["status"]) == (503, "error")
    assert vlms.loads() == before
