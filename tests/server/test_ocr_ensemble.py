"""Reading pictures on the real weights, over Triton's own protocols."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from rapidfuzz.distance import Levenshtein
from tritonclient.utils import InferenceServerException

from scripts.launched import Launched
from tests import pages
from tests.server.ensemble import Reading, read

PROFILES = ["PP-OCRv4_mobile", "PP-OCRv5_mobile", "PP-OCRv6_tiny", "PP-OCRv6_small"]


def plain(text: str) -> str:
    return "".join(text.split())


def error_rate(lines: list[str], expected: tuple[str, ...]) -> float:
    """Character errors over all lines, spaces aside."""
    read_text, true_text = plain("".join(lines)), plain("".join(expected))
    return Levenshtein.distance(read_text, true_text) / len(true_text)


@pytest.fixture(scope="module")
def grpc(triton: Launched) -> Iterator[Any]:
    with tritonclient.grpc.InferenceServerClient(triton.grpc_url) as client:
        yield client


@pytest.fixture(scope="module")
def http(triton: Launched) -> Iterator[Any]:
    with tritonclient.http.InferenceServerClient(triton.http_url) as client:
        yield client


def assert_same(one: Reading, other: Reading) -> None:
    assert one.texts == other.texts
    assert np.array_equal(one.boxes, other.boxes)
    assert np.allclose(one.scores, other.scores, atol=1e-3)


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_reads_chinese_and_english(grpc, profile):
    for lines in (pages.CHINESE, pages.ENGLISH, pages.MIXED):
        reading = read(grpc, pages.page(lines).data, profile=profile)
        assert reading.profile == profile
        assert error_rate(reading.texts, lines) < 0.03
        assert reading.scores.min() > 0.8


def test_both_protocols_give_the_same_answer(grpc, http):
    picture = pages.page().data
    assert_same(read(grpc, picture), read(http, picture))


def test_the_answer_tells_where_the_lines_stand_and_how_large_the_picture_is(grpc):
    image = pages.draw(pages.CHINESE)
    reading = read(grpc, pages.encode(image))
    ink = np.argwhere(image.min(2) < 128)
    assert reading.size == (image.shape[1], image.shape[0])
    assert np.abs(reading.boxes.min((0, 1)) - ink.min(0)[::-1]).max() < 15
    assert np.abs(reading.boxes.max((0, 1)) - ink.max(0)[::-1]).max() < 15
    assert (np.diff(reading.boxes[:, 0, 1]) > 0).all()
    assert (reading.box_scores > 0.45).all()


def test_the_stages_are_timed(grpc):
    times = read(grpc, pages.page().data).times
    assert {"decode", "detection", "orientation", "recognition"} <= set(times)
    assert all(seconds >= 0 for seconds in times.values())


def test_without_detection_the_whole_picture_is_one_line(grpc):
    image = pages.draw(["合计 Total 128.50"])
    reading = read(grpc, pages.encode(image[20:-20]), use_det=False)
    assert [plain(text) for text in reading.texts] == ["合计Total128.50"]
    assert reading.boxes[0].tolist() == [
        [0, 0],
        [image.shape[1], 0],
        [image.shape[1], image.shape[0] - 40],
        [0, image.shape[0] - 40],
    ]
    assert reading.box_scores.tolist() == [1.0]


def test_without_recognition_there_are_boxes_and_no_texts(grpc):
    picture = pages.page(pages.CHINESE).data
    whole, boxes = read(grpc, picture), read(grpc, picture, use_rec=False)
    assert np.array_equal(boxes.boxes, whole.boxes)
    assert boxes.texts == ["", "", ""] and boxes.scores.tolist() == [0, 0, 0]


@pytest.mark.parametrize("profile", PROFILES)
def test_lines_on_their_heads_are_read_and_their_angle_is_told(grpc, profile):
    page = pages.upside_down()
    reading = read(grpc, page.data, profile=profile)
    assert error_rate(reading.texts[::-1], page.lines) < 0.03
    assert reading.angles == [180] * len(page.lines)


def test_without_orientation_lines_on_their_heads_are_left(grpc):
    page = pages.upside_down()
    reading = read(grpc, page.data, use_cls=False, text_score=0.0)
    assert error_rate(reading.texts[::-1], page.lines) > 0.5
    assert set(reading.angles) == {0}


def test_orientation_alone_tells_the_angle(grpc):
    image = cv2.rotate(pages.draw(pages.CHINESE[:1]), cv2.ROTATE_180)
    reading = read(grpc, pages.encode(image[20:-20]), use_det=False, use_rec=False)
    assert (reading.angles, reading.texts) == ([180], [""])


def test_lines_below_the_text_score_are_dropped(grpc):
    picture = pages.page().data
    scores = sorted(read(grpc, picture, text_score=0.0).scores.tolist())
    between = (scores[0] + scores[1]) / 2
    assert len(read(grpc, picture, text_score=between).texts) == len(scores) - 1
    assert read(grpc, picture, text_score=1.0).texts == []


def test_words_and_characters_have_boxes_of_their_own(grpc):
    reading = read(grpc, pages.page(["订单号 Order No"]).data, return_word_box=True)
    (words,) = reading.words
    assert [word["text"] for word in words] == ["订", "单", "号", "Order", "No"]
    assert [character["text"] for character in words[3]["characters"]] == list("Order")
    lefts = [word["quad"][0][0] for word in words]
    assert lefts == sorted(lefts)
    assert all(word["score"] > 0.8 for word in words)


def test_options_of_one_request_do_not_stay_for_the_next(grpc):
    picture = pages.page().data
    before = read(grpc, picture)
    read(grpc, picture, box_thresh=0.99, unclip_ratio=3.0, text_score=0.99, det_thresh=0.9, profile=PROFILES[0])
    assert_same(read(grpc, picture), before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"box_thresh": 1.5}, r"\[invalid_argument\] box_thresh must be between 0.0 and 1.0"),
        ({"unclip_ratio": 0.0}, r"\[invalid_argument\] unclip_ratio"),
        ({"max_side": 1}, r"\[invalid_argument\] max_side"),
        ({"min_side": 1}, r"\[invalid_argument\] min_side"),
        ({"profile": "PP-OCRv9"}, r"\[invalid_argument\] profile 'PP-OCRv9' is not loaded; there are PP-OCRv4_mobile"),
        ({"use_det": 1}, "use_det.*INT32.*BOOL|BOOL.*INT32"),
    ],
)
def test_a_bad_option_is_an_error_that_names_it(grpc, http, options, message):
    for client in (grpc, http):
        with pytest.raises(InferenceServerException, match=message):
            read(client, pages.page().data, **options)


def test_what_is_no_picture_is_an_error_and_harms_no_neighbour(grpc):
    page = pages.page()
    with ThreadPoolExecutor(8) as pool:
        good = [pool.submit(read, grpc, page.data) for _ in range(4)]
        bad = [pool.submit(read, grpc, data) for data in (b"", b"hello", page.data[:200], b"%PDF-1.7")]
        for future in bad:
            with pytest.raises(InferenceServerException, match=r"\[unreadable_image\]"):
                future.result()
        assert all(error_rate(future.result().texts, page.lines) < 0.03 for future in good)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_blank_page_is_an_empty_answer(grpc, profile):
    reading = read(grpc, pages.blank().data, profile=profile)
    assert reading.texts == [] and reading.boxes.shape == (0, 4, 2)


def test_a_small_blank_picture_has_no_boxes_though_nothing_is_read(grpc):
    blank = pages.encode(np.full((50, 200, 3), 255, np.uint8))
    assert read(grpc, blank, use_rec=False).boxes.shape == (0, 4, 2)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 1000), (1000, 1), (12, 3000), (3000, 12), (100, 10_000)])
def test_odd_shapes_are_answered(grpc, profile, width, height):
    reading = read(grpc, pages.encode(np.full((height, width, 3), 255, np.uint8)), profile=profile)
    assert (reading.texts, reading.size) == ([], (width, height))


def test_a_banner_is_read_from_end_to_end(grpc):
    image = np.full((100, 10_000, 3), 255, np.uint8)
    line = pages.draw(["MARKER 12345"], font_size=40, margin=10)
    for x in range(100, 9_000, 1_400):
        image[5 : 5 + line.shape[0], x : x + line.shape[1]] = line[:95]
    texts = read(grpc, pages.encode(image)).texts
    assert plain("".join(texts)) == "MARKER12345" * len(range(100, 9_000, 1_400))


def test_small_print_on_a_huge_page_is_read(grpc):
    image = np.full((5600, 4200, 3), 255, np.uint8)
    page = pages.draw(pages.CHINESE, font_size=60)
    for y, x in ((100, 100), (2700, 2000), (5100, 3000)):
        image[y : y + page.shape[0], x : x + page.shape[1]] = page[: 5600 - y, : 4200 - x]
    reading = read(grpc, pages.encode(image, ".jpg"))
    assert error_rate(reading.texts, pages.CHINESE * 3) < 0.03


@pytest.mark.parametrize("profile", PROFILES[1:])
def test_a_very_long_line_does_not_collapse(grpc, profile):
    page = pages.long_line(60)
    assert error_rate(read(grpc, page.data, profile=profile).texts, page.lines) < 0.03


def test_a_word_that_fills_its_picture_is_read(grpc):
    image = pages.draw(["HOTEL"])
    rows, columns = np.where(image.min(2) < 128)
    close = image[rows.min() - 1 : rows.max() + 2, columns.min() - 1 : columns.max() + 2]
    assert read(grpc, pages.encode(close)).texts == ["HOTEL"]


def test_text_is_looked_for_in_the_picture_enlarged_as_asked(grpc):
    small = cv2.resize(pages.draw(pages.ENGLISH, 28), None, fx=0.3, fy=0.3, interpolation=cv2.INTER_AREA)
    picture = pages.encode(small.astype(np.uint8))
    as_it_is, enlarged = (read(grpc, picture, use_rec=False, min_side=side).boxes for side in (32, 640))
    assert len(enlarged) == len(pages.ENGLISH)
    assert not np.array_equal(as_it_is, enlarged)


def test_the_exif_orientation_is_honoured(grpc):
    page = pages.exif_turned()
    assert error_rate(read(grpc, page.data).texts, page.lines) < 0.03


def test_further_frames_are_mentioned(grpc):
    frames = [pages.draw([text]) for text in ("FIRST", "LAST")]
    done, tiff = cv2.imencodemulti(".tiff", frames)
    assert done
    reading = read(grpc, tiff.tobytes())
    assert (reading.texts, reading.more_frames) == (["FIRST"], True)
    assert not read(grpc, pages.page().data).more_frames


def test_a_picture_reads_the_same_alone_again_and_beside_32_others(grpc):
    pictures = [
        pages.page(lines, size).data for lines in (pages.CHINESE, pages.ENGLISH, pages.MIXED) for size in (18, 31)
    ]
    alone = [read(grpc, picture) for picture in pictures]
    for picture, reading in zip(pictures, alone, strict=True):
        assert_same(read(grpc, picture), reading)
    with ThreadPoolExecutor(32) as pool:
        crowd = list(pool.map(lambda place: read(grpc, pictures[place % len(pictures)]), range(64)))
    for place, reading in enumerate(crowd):
        assert_same(reading, alone[place % len(pictures)])


def test_a_cancelled_request_frees_its_place(grpc):
    image = np.concatenate([pages.draw(pages.CHINESE * 20, 20)] * 2, axis=1)
    inputs = [tritonclient.grpc.InferInput("image", [1], "BYTES")]
    inputs[0].set_data_from_numpy(np.array([pages.encode(image)], np.object_))
    answered = threading.Event()
    calls = [grpc.async_infer("ocr_ensemble", inputs, lambda result, error: answered.set()) for _ in range(12)]
    time.sleep(0.2)
    for call in calls:
        call.cancel()
    assert answered.wait(5)
    start = time.monotonic()
    read(grpc, pages.page().data)
    assert time.monotonic() - start < 15  # twelve pages of 120 lines would take minutes


def test_recognition_by_another_profile_reads_with_its_weights_what_the_first_one_found(grpc):
    picture = pages.page(pages.MIXED).data
    found = read(grpc, picture, profile="PP-OCRv4_mobile")
    both = read(grpc, picture, profile="PP-OCRv4_mobile", rec_profile="PP-OCRv6_tiny")
    assert both.profile == "PP-OCRv4_mobile_det+PP-OCRv6_tiny_rec"
    assert np.array_equal(both.boxes, found.boxes)
    assert not np.array_equal(both.scores, found.scores)
    assert error_rate(both.texts, pages.MIXED) < 0.03


def test_lines_are_read_alone_where_the_batch_size_is_one(grpc):
    picture = pages.page(pages.MIXED).data
    assert read(grpc, picture, rec_batch_size=1).texts == read(grpc, picture).texts
    with pytest.raises(InferenceServerException, match="rec_batch_size must be between 1 and 32"):
        read(grpc, picture, rec_batch_size=0)
