"""PP-OCR around three networks: decoding, detection, orientation, recognition. No Triton, no network runtime."""

import os

MAX_PIXELS = 50_000_000
MAX_SIDE = 32_766  # OpenCV warps pictures whose sides fit a signed 16-bit integer

# OpenCV reads its bounds on a picture once, when it is loaded: before anything here imports it.
os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(MAX_PIXELS)
os.environ["OPENCV_IO_MAX_IMAGE_WIDTH"] = os.environ["OPENCV_IO_MAX_IMAGE_HEIGHT"] = str(MAX_SIDE)
