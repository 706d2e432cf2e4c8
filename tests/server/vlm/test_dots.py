"""The DotsOCR server's paths, on a real Triton: streams, their ends of all kinds, and the documented words."""

import base64
import io
import json
import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import httpx
import pytest
from PIL import Image

from scripts.launched import eventually

TITLE = '{"bbox": [28, 49, 308, 98], "category": "Title", "text": "# Höhe"}'
TEXT = '{"bbox": [0, 98, 154, 196], "category": "Text", "text": "€ 5"}'
LAYOUT = f"[{TITLE}, {TEXT}]"

# Where no Triton is: what is answered has not asked it.
NOWHERE = "127.0.0.1:1"


def in_tokens(text: str, size: int = 5) -> list[bytes]:
    """Pieces that end wherever they end, within a character or not."""
    data = text.encode()
    return [data[start : start + size] for start in range(0, len(data), size)]


def body(picture: bytes, **fields: Any) -> dict[str, Any]:
    return {"image": base64.b64encode(picture).decode(), "image_format": "base64", **fields}


def ask(adapter: Any, picture: bytes, timeout: float = 30.0, **fields: Any) -> httpx.Response:
    return httpx.post(f"{adapter.url}/dots/ocr", json=body(picture, **fields), timeout=timeout)


def streamed(adapter: Any, picture: bytes, **fields: Any) -> list[dict[str, Any]]:
    answer = ask(adapter, picture, stream=True, **fields)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/x-ndjson")
    return [json.loads(line) for line in answer.text.splitlines()]


def test_a_layout_comes_in_the_documented_form_with_boxes_of_the_picture_that_was_sent(vlms: Any, adapter: Any) -> None:
    order = vlms.order(*in_tokens(LAYOUT))
    answer = ask(adapter, order.picture((300, 200)))
    assert answer.status_code == 200
    assert answer.json() == {
        "model": "dots-ocr",
        "response": LAYOUT.replace("[28, 49, 308, 98]", "[27, 50, 300, 100]").replace(
            "[0, 98, 154, 196]", "[0, 100, 150, 200]"
        ),
        "prompt_type": "prompt_layout_all_en",
    }


def test_the_model_is_shown_whole_cells_and_asked_as_the_document_says(vlms: Any, adapter: Any) -> None:
    order = vlms.order("[]")
    ask(adapter, order.picture((300, 200), "CMYK", "TIFF"))
    seen = order.seen()
    assert (seen["size"], seen["mode"]) == ([308, 196], "RGB")
    assert seen["text_input"].startswith("<|user|><|img|><|imgpad|><|endofimg|>Please output the layout information")
    assert json.loads(seen["sampling_parameters"]) == {"temperature": 0.1, "top_p": 1.0, "max_tokens": 12000}
    assert (seen["stream"], seen["return_finish_reason"]) == (True, True)


def test_sampling_is_what_the_caller_wants(vlms: Any, adapter: Any) -> None:
    order = vlms.order("x")
    ask(adapter, order.picture(), prompt_type="prompt_ocr", temperature=0.7, top_p=0.5, max_new_tokens=9)
    wanted = {"temperature": 0.7, "top_p": 0.5, "max_tokens": 9}
    assert json.loads(order.seen()["sampling_parameters"]) == wanted


def test_plain_text_is_passed_on_with_its_characters_whole(vlms: Any, adapter: Any) -> None:
    text = "Ü 北京 😀 end"
    order = vlms.order(*in_tokens(text, 1))
    answer = ask(adapter, order.picture(), prompt_type="prompt_ocr").json()
    assert answer == {"model": "dots-ocr", "response": text, "prompt_type": "prompt_ocr"}


def test_a_character_that_never_ends_is_shown_as_one_that_is_broken(vlms: Any, adapter: Any) -> None:
    order = vlms.order("a", "€".encode()[:2])
    assert ask(adapter, order.picture(), prompt_type="prompt_ocr").json()["response"] == "a�"


@pytest.mark.parametrize("kind", ["prompt_ocr", "prompt_layout_all_en"])
def test_a_stream_has_the_documented_lines_and_joined_the_same_text(vlms: Any, adapter: Any, kind: str) -> None:
    order = vlms.order(*in_tokens(LAYOUT))
    *lines, end = streamed(adapter, order.picture((300, 200)), prompt_type=kind)
    assert end.pop("created_at")
    assert end == {"model": "dots-ocr", "response": "", "done": True}
    whole = ask(adapter, order.picture((300, 200)), prompt_type=kind).json()["response"]
    assert "".join(line["response"] for line in lines) == whole
    for line in lines:
        assert line.keys() == {"model", "created_at", "response", "done"}
        assert (line["model"], line["done"]) == ("dots-ocr", False)
        assert datetime.strptime(line["created_at"], "%Y-%m-%dT%H:%M:%S.%f")


def test_a_stream_is_heard_while_the_model_writes(vlms: Any, adapter: Any) -> None:
    order = vlms.order("a", "b", "c", delay=0.5)
    arrivals = []
    request = body(order.picture(), prompt_type="prompt_ocr", stream=True)
    with httpx.stream("POST", f"{adapter.url}/dots/ocr", json=request) as answer:
        for line in answer.iter_lines():
            arrivals.append((time.perf_counter(), json.loads(line)["response"]))
    assert [text for _, text in arrivals] == ["a", "b", "c", ""]
    assert arrivals[2][0] - arrivals[0][0] > 0.8


def test_what_the_limit_of_tokens_cuts_off_is_mended_and_said_to_be_cut(vlms: Any, adapter: Any) -> None:
    order = vlms.order(*in_tokens(LAYOUT[:-5]), finish_reason="length")
    answer = ask(adapter, order.picture()).json()
    assert (answer["repaired"], answer["truncated"]) == (True, True)
    assert [element["category"] for element in json.loads(answer["response"])] == ["Title", "Text"]
    end = streamed(adapter, order.picture())[-1]
    assert (end["done"], end["repaired"], end["truncated"]) == (True, True, True)


def test_a_model_in_a_loop_is_stopped(vlms: Any, adapter: Any) -> None:
    order = vlms.order("Total: ", *["ha " * 20] * 500, delay=0.01)
    answer = ask(adapter, order.picture(), prompt_type="prompt_ocr").json()
    assert answer["repaired"] is True
    assert answer["response"].startswith("Total: ha ha")
    assert len(answer["response"]) < 1000
    seen = order.seen()
    assert seen["cancelled"]
    assert seen["sent"] < 200


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_cancels_the_models_work(vlms: Any, adapter: Any, stream: bool) -> None:
    order = vlms.order(*["a "] * 100, delay=0.1)
    if stream:
        request = body(order.picture(), prompt_type="prompt_ocr", stream=True)
        with httpx.stream("POST", f"{adapter.url}/dots/ocr", json=request) as answer:
            next(answer.iter_lines())
    else:
        with pytest.raises(httpx.TimeoutException):
            ask(adapter, order.picture(), timeout=2.0, prompt_type="prompt_ocr")
    seen = order.seen()
    assert seen["cancelled"]
    assert seen["sent"] < 60
    assert eventually(lambda: adapter.metric("ocr_in_flight") == 0, 10)


@pytest.mark.parametrize("stream", [False, True])
def test_a_text_that_takes_too_long_is_ended(vlms: Any, adapter_with: Any, stream: bool) -> None:
    order = vlms.order("a", "b", "c", delay=0.6)
    adapter = adapter_with(generation_timeout=1.0)
    if stream:
        first, end = streamed(adapter, order.picture(), prompt_type="prompt_ocr")
        assert (first["response"], end["done"]) == ("a", True)
        error = end["error"]
    else:
        answer = ask(adapter, order.picture(), prompt_type="prompt_ocr")
        assert answer.status_code == 504
        error = answer.json()["error"]
    assert "within 1 s" in error
    assert order.seen()["cancelled"]


def test_a_failure_on_the_way_is_the_last_line_of_a_stream_and_else_a_500(vlms: Any, adapter: Any) -> None:
    order = vlms.order("a", "b", error="KeyError: secret")
    failure = "the inference server failed to process the request"
    *lines, end = streamed(adapter, order.picture(), prompt_type="prompt_ocr")
    assert [line["response"] for line in lines] == ["a", "b"]
    assert end.pop("created_at")
    assert end == {"model": "dots-ocr", "error": failure, "done": True}
    answer = ask(adapter, order.picture(), prompt_type="prompt_ocr")
    assert (answer.status_code, answer.json()) == (500, {"error": failure})


def test_a_failure_before_the_first_token_has_its_status_when_streamed_too(vlms: Any, adapter: Any) -> None:
    order = vlms.order(error="[out_of_memory] lower max_new_tokens")
    answer = ask(adapter, order.picture(), stream=True)
    assert (answer.status_code, answer.json()) == (503, {"error": "lower max_new_tokens"})


def test_beyond_the_queue_the_answer_is_429_at_once(vlms: Any, adapter_with: Any) -> None:
    adapter = adapter_with(vlm_max_in_flight=1, vlm_max_waiting=0)
    order = vlms.order("a", delay=4.0)
    running = threading.Thread(target=ask, args=(adapter, order.picture()))
    running.start()
    assert eventually(lambda: adapter.metric("ocr_in_flight") == 1, 3)
    start = time.perf_counter()
    for stream in (False, True):
        answer = ask(adapter, order.picture(), stream=stream)
        assert (answer.status_code, answer.json()) == (429, {"error": "Server is busy processing another request"})
        assert int(answer.headers["Retry-After"]) >= 1
    assert time.perf_counter() - start < 3.0
    running.join()


def test_many_callers_are_served_at_once_and_each_gets_its_own(vlms: Any, adapter: Any) -> None:
    orders = [vlms.order(f"answer {number}", delay=1.0) for number in range(16)]
    start = time.perf_counter()
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda order: ask(adapter, order.picture(), prompt_type="prompt_ocr").json(), orders))
    assert [answer["response"] for answer in answers] == [f"answer {number}" for number in range(16)]
    assert time.perf_counter() - start < 8.0


def test_a_box_is_asked_for_in_pixels_of_the_picture_as_it_is_shown(vlms: Any, adapter: Any) -> None:
    order = vlms.order('{"a": 1}')
    answer = ask(adapter, order.picture((300, 200)), prompt_type="prompt_grounding_ocr", bbox=[30, 50, 300, 100])
    # A grounded answer is text, whatever it looks like.
    assert answer.json()["response"] == '{"a": 1}'
    assert "Bounding Box:\n[31, 49, 308, 98]<|endofuser|>" in order.seen()["text_input"]


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"image": None}, "No image data provided"),
        ({"image": ""}, "No image data provided"),
        (
            {"prompt_type": "prompt_poem"},
            "Invalid prompt_type. Must be one of: ['prompt_layout_all_en', 'prompt_layout_only_en', 'prompt_ocr', "
            "'prompt_grounding_ocr']",
        ),
        ({"image_format": "file"}, "Invalid image_format. Must be one of: ['path', 'url', 'base64']"),
    ],
)
def test_documented_faults_have_their_documented_words(
    vlms: Any, adapter: Any, fields: dict[str, Any], error: str
) -> None:
    answer = ask(adapter, vlms.order("[]").picture(), **fields)
    assert (answer.status_code, answer.json()) == (400, {"error": error})


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": 2.1}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"top_p": 1.1}, "top_p"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"max_new_tokens": 32769}, "OCR_DOTS_MAX_NEW_TOKENS"),
        ({"stream": "perhaps"}, "stream"),
        ({"prompt_type": "prompt_grounding_ocr"}, "bbox"),
        ({"bbox": [1, 2, 3, 4]}, "bbox"),
        ({"prompt_type": "prompt_grounding_ocr", "bbox": [1, 2, 3]}, "bbox"),
        ({"prompt_type": "prompt_grounding_ocr", "bbox": [5, 2, 3, 4]}, "bbox"),
        ({"prompt_type": "prompt_grounding_ocr", "bbox": [0, 0, 561, 10]}, "560x280"),
        ({"image": "!!!"}, "not base64"),
        ({"image": base64.b64encode(b"no picture").decode()}, "image: not a picture"),
        ({"image": 7}, "image"),
    ],
)
def test_a_fault_of_the_request_is_a_400_that_names_it_before_the_model_is_asked(
    vlms: Any, adapter_with: Any, fields: dict[str, Any], named: str
) -> None:
    adapter = adapter_with(triton_url=NOWHERE)
    answer = ask(adapter, vlms.order("[]").picture(), **fields)
    assert (answer.status_code, list(answer.json())) == (400, ["error"])
    assert named in answer.json()["error"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"x"', b"\xff"])
def test_a_body_that_is_no_object_is_a_400(adapter: Any, content: bytes) -> None:
    answer = httpx.post(f"{adapter.url}/dots/ocr", content=content)
    assert (answer.status_code, list(answer.json())) == (400, ["error"])


def test_a_body_is_json_whatever_its_content_type_says(vlms: Any, adapter: Any) -> None:
    content = json.dumps(body(vlms.order("[]").picture()))
    for headers in ({}, {"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"}):
        assert httpx.post(f"{adapter.url}/dots/ocr", content=content, headers=headers).json()["response"] == "[]"


def test_a_picture_that_is_too_long_and_thin_is_refused(vlms: Any, adapter: Any) -> None:
    answer = ask(adapter, vlms.order("[]").picture((2010, 10)))
    assert answer.status_code == 400
    assert "2010x10" in answer.json()["error"]


def test_without_its_model_the_server_says_so(vlms: Any, adapter: Any) -> None:
    health = f"{adapter.url}/dots/health"
    assert httpx.get(health).json() == {"status": "healthy", "model_loaded": True}
    with vlms.without("dots_vllm"):
        assert httpx.get(health).json() == {"status": "healthy", "model_loaded": False}
        for stream in (False, True):
            answer = ask(adapter, vlms.order("[]").picture(), stream=stream)
            assert (answer.status_code, answer.json()) == (500, {"error": "Model not loaded"})
    assert ask(adapter, vlms.order("[]").picture()).status_code == 200


def test_of_a_file_of_several_pictures_the_first_is_read_and_that_is_said(vlms: Any, adapter: Any) -> None:
    first, second = (Image.open(io.BytesIO(vlms.order(text).picture())) for text in ("first", "second"))
    file = io.BytesIO()
    first.save(file, "TIFF", save_all=True, append_images=[second])
    answer = ask(adapter, file.getvalue(), prompt_type="prompt_ocr").json()
    assert (answer["response"], answer["more_frames"]) == ("first", True)
    assert streamed(adapter, file.getvalue(), prompt_type="prompt_ocr")[-1]["more_frames"] is True


def test_pages_are_counted(vlms: Any, adapter: Any) -> None:
    ask(adapter, vlms.order("[]").picture())
    assert 'ocr_pages_total{api="dots_ocr_server"} 1.0' in httpx.get(f"{adapter.url}/metrics").text
    assert math.isclose(adapter.metric("ocr_in_flight"), 0)
