"""DB post-processing against what geometry says of rectangles, and the rules of sizes, tiles and order."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ppocr import MAX_PIXELS, MAX_SIDE
from ppocr.detection import LEAST_SIDE, Box, DetectionRules, boxes_of_map, frame, in_rows, input_size

RULES = DetectionRules(
    min_side=736, max_enlargement=100, max_pixels=8_000_000, thresh=0.3, box_thresh=0.5, unclip_ratio=1.6, dilate=False
)


def rectangle(centre_x: float, centre_y: float, width: float, height: float, degrees: float) -> np.ndarray:
    """Corners [4, 2], clockwise from the top-left of the unrotated rectangle."""
    angle = math.radians(degrees)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    corners = np.array([[-width, -height], [width, -height], [width, height], [-width, height]]) / 2
    return corners @ turn.T + [centre_x, centre_y]


def map_of(corners: np.ndarray, probability: float = 0.9, size: int = 640) -> np.ndarray:
    return cv2.fillPoly(np.zeros((size, size), np.float32), [np.round(corners).astype(np.int32)], probability)


@given(
    width=st.floats(60, 300),
    height=st.floats(12, 40),
    degrees=st.floats(-30, 30),
    ratio=st.sampled_from([1.4, 1.6, 2.0]),
)
def test_a_box_is_the_rectangle_grown_by_area_times_ratio_over_perimeter(width, height, degrees, ratio):
    rules = DetectionRules(**{**vars(RULES), "unclip_ratio": ratio})
    offset = width * height * ratio / (2 * (width + height))
    expected = rectangle(320, 320, width + 2 * offset, height + 2 * offset, degrees)
    (box,) = boxes_of_map(map_of(rectangle(320, 320, width, height, degrees)), 640, 640, rules)
    assert np.abs(box.quad - expected).max() < 4.5  # half a pixel of drawing, grown with the box, and whole corners


def test_the_score_is_the_mean_probability_inside_the_box():
    probability = map_of(rectangle(320, 320, 200, 40, 0), 0.6)
    probability[:, 320:] *= 1.5
    (box,) = boxes_of_map(probability, 640, 640, RULES)
    assert box.score == pytest.approx(0.75, abs=0.01)


def test_a_box_below_its_threshold_is_dropped():
    probability = map_of(rectangle(320, 320, 200, 40, 0), 0.45)
    assert boxes_of_map(probability, 640, 640, RULES) == []


def test_corners_come_in_pixels_of_the_picture_not_of_the_map():
    probability = map_of(rectangle(320, 320, 200, 40, 0))
    (small,) = boxes_of_map(probability, 640, 640, RULES)
    (large,) = boxes_of_map(probability, 1280, 1920, RULES)
    assert np.abs(large.quad - small.quad * [2, 3]).max() <= 3


def test_boxes_at_the_border_stay_inside_the_picture():
    (box,) = boxes_of_map(map_of(rectangle(10, 5, 300, 30, 0)), 640, 640, RULES)
    assert box.quad.min() >= 0 and box.quad.max() <= 639


@pytest.mark.parametrize("gap", [1, 2])
def test_dilation_closes_a_gap_of_one_pixel_only(gap):
    probability = map_of(rectangle(320, 320, 200, 40, 0))
    probability[:, 320 : 320 + gap] = 0
    rules = DetectionRules(**{**vars(RULES), "dilate": True})
    assert len(boxes_of_map(probability, 640, 640, RULES)) == 2
    assert len(boxes_of_map(probability, 640, 640, rules)) == gap


def test_specks_are_no_text():
    probability = np.zeros((640, 640), np.float32)
    probability[100:102, 100:300] = 0.9
    assert boxes_of_map(probability, 640, 640, RULES) == []


def box_at(x: float, y: float) -> Box:
    return Box(np.array([[x, y], [x + 50, y], [x + 50, y + 20], [x, y + 20]], np.float32), 1.0)


def test_boxes_whose_tops_differ_by_less_than_ten_pixels_are_read_from_left_to_right():
    boxes = [box_at(300, 100), box_at(0, 109), box_at(150, 104), box_at(0, 130), box_at(10, 0)]
    assert [tuple(box.quad[0]) for box in in_rows(boxes)] == [(10, 0), (0, 109), (150, 104), (300, 100), (0, 130)]


def test_boxes_ten_pixels_apart_are_two_rows():
    assert [box.quad[0, 0] for box in in_rows([box_at(0, 10), box_at(300, 0)])] == [300, 0]


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (736, 1280, (736, 1280)),
        (400, 600, (736, 1088)),  # the shorter side grows to 736; 1104 is 34.5 × 32, and halves go to the even one
        (1500, 1000, (1504, 992)),
        (4000, 3000, (3264, 2464)),  # 8 megapixels
        (100, 10_000, (288, 28_288)),
    ],
)
def test_the_networks_input_is_a_multiple_of_32_within_both_limits(height, width, expected):
    assert input_size(height, width, RULES) == expected


def test_a_small_picture_is_enlarged_no_further_than_allowed():
    rules = DetectionRules(**{**vars(RULES), "max_enlargement": 2})
    assert input_size(100, 200, rules) == (192, 384)  # 200 is 6.25 × 32
    assert input_size(500, 500, rules) == (736, 736)


def test_a_bound_on_the_longer_side_goes_before_the_least_shorter_side():
    rules = DetectionRules(**{**vars(RULES), "max_side": 960})
    assert input_size(4000, 3000, rules) == (960, 704)
    assert input_size(400, 1200, rules) == (320, 960)


@settings(deadline=None, max_examples=30)
@example(height=5040, width=8)
@given(height=st.integers(LEAST_SIDE, MAX_SIDE), width=st.integers(LEAST_SIDE, MAX_SIDE))
def test_no_shape_of_picture_costs_more_than_the_bound_on_pixels(height, width):
    height = max(LEAST_SIDE, min(height, MAX_PIXELS // width))
    framed = frame(np.broadcast_to(np.uint8(0), (height, width, 3)))
    rows, columns = input_size(*framed.pixels.shape[:2], RULES)
    assert rows % 32 == columns % 32 == 0
    # A third more where a side of a little over 48 is rounded to 64; a picture of common shape stays within 1 %.
    assert rows * columns <= RULES.max_pixels * 4 / 3
    assert max(framed.pixels.shape) <= MAX_SIDE + 16
    assert framed.pixels.size <= 3 * max(height * width, MAX_SIDE * 600)


def test_a_picture_of_common_shape_is_its_own_frame():
    picture = np.zeros((600, 800, 3), np.uint8)
    assert frame(picture).pixels is picture


def test_a_banner_is_set_between_black_bars_and_its_points_find_back():
    framed = frame(np.full((50, 1000, 3), 255, np.uint8))
    assert framed.pixels.shape == (250, 1000, 3)
    assert framed.pixels[:100].max() == 0 and framed.pixels[100:150].min() == 255
    assert framed.to_picture(np.array([[20, 110]], np.float32), 1000, 50).tolist() == [[20, 10]]


def test_a_thin_picture_is_enlarged_and_its_points_find_back():
    framed = frame(np.full((10, 60, 3), 255, np.uint8))
    assert framed.pixels.shape == (32, 192, 3)
    assert framed.to_picture(np.array([[192, 32]], np.float32), 60, 10).tolist() == [[60, 10]]
