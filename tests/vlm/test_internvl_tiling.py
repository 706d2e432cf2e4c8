"""internvl_python cuts pictures as transformers' own processor does."""

import numpy as np
import pytest
from internvl.tiling import grid, tiles
from PIL import Image
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import (
    GotOcr2ImageProcessorPil,
    get_optimal_tiled_canvas,
)

SIDE = 448


def test_the_grid_is_transformers_for_every_shape():
    rng = np.random.default_rng(1)
    shapes = [*rng.integers(1, 5000, (300, 2)).tolist(), [595, 842], [448, 448], [896, 896], [1, 5000], [5000, 1]]
    for width, height in shapes:
        for most in (1, 2, 5, 6, 12):
            theirs = get_optimal_tiled_canvas((height, width), (SIDE, SIDE), 1, most)
            assert grid(width, height, SIDE, most) == theirs, (width, height, most)


def test_an_a4_page_is_six_tiles():
    assert grid(595, 842, SIDE, 12) == (2, 3)


@pytest.mark.parametrize("size", [(595, 842), (300, 300), (1300, 330), (97, 1203)])
@pytest.mark.parametrize("most", [1, 4, 12])
def test_the_pixels_are_transformers(size, most):
    width, height = size
    picture = Image.fromarray(np.random.default_rng(2).integers(0, 256, (height, width, 3)).astype(np.uint8))
    processor = GotOcr2ImageProcessorPil(
        size={"height": SIDE, "width": SIDE}, crop_to_patches=True, max_patches=most, do_normalize=False
    )
    theirs = processor(picture, return_tensors="np")["pixel_values"]
    ours = tiles(picture, SIDE, most)
    assert ours.dtype == np.uint8
    np.testing.assert_allclose(ours.transpose(0, 3, 1, 2) / 255, theirs, atol=1e-6)
