"""Lines cut out upright, and the way back into the picture."""

import numpy as np
import pytest
from ppocr.crops import cut, whole

PICTURE = np.random.default_rng(0).integers(0, 255, (400, 600, 3), np.uint8)


def quad(*points: tuple[float, float]) -> np.ndarray:
    return np.array(points, np.float32)


def test_an_upright_quad_is_cut_out_pixel_for_pixel():
    crop = cut(PICTURE, quad((100, 50), (300, 50), (300, 90), (100, 90)))
    assert np.array_equal(crop.image, PICTURE[50:90, 100:300])


def test_a_line_that_runs_downwards_is_laid_on_its_side():
    crop = cut(PICTURE, quad((100, 50), (140, 50), (140, 250), (100, 250)))
    assert np.array_equal(crop.image, np.rot90(PICTURE[50:250, 100:140]))


@pytest.mark.parametrize("turned_over", [False, True])
@pytest.mark.parametrize(
    "corners",
    [
        quad((100, 50), (300, 50), (300, 90), (100, 90)),
        quad((100, 50), (140, 50), (140, 250), (100, 250)),
        quad((120, 60), (320, 110), (310, 150), (110, 100)),
    ],
    ids=["level", "downwards", "slanted"],
)
def test_points_of_a_crop_lie_in_the_picture_where_their_pixels_came_from(corners, turned_over):
    ramp = np.zeros((400, 600, 3), np.uint8)
    ramp[..., 0] = np.arange(600) / 600 * 250
    ramp[..., 1] = np.arange(400)[:, None] / 400 * 250
    crop = cut(ramp, corners)
    if turned_over:
        crop = crop.turned_over()
    height, width = crop.image.shape[:2]
    for x, y in [(0.2, 0.3), (0.8, 0.6)]:
        column, row = int(x * width), int(y * height)
        ((picture_x, picture_y),) = crop.to_picture(np.array([[column, row]], float))
        blue, green, _ = crop.image[row, column]
        assert picture_x == pytest.approx(float(blue) / 250 * 600, abs=4)
        assert picture_y == pytest.approx(float(green) / 250 * 400, abs=4)


def test_the_whole_picture_can_be_one_line():
    crop = whole(PICTURE)
    assert crop.image is PICTURE
    assert crop.quad.tolist() == [[0, 0], [600, 0], [600, 400], [0, 400]]


def test_a_quad_without_area_gives_a_pixel_not_an_error():
    assert cut(PICTURE, quad((5, 5), (5, 5), (5, 5), (5, 5))).image.shape == (1, 1, 3)
