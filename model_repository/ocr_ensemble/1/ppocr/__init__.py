"""PP-OCR around three networks: decoding, detection, orientation, recognition. No Triton, no network runtime."""

import os

# OpenCV reads its bound on a picture's pixels once, when it is loaded: before anything here imports it.
MAX_PIXELS = 50_000_000
os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(MAX_PIXELS)
