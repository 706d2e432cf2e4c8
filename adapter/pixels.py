"""Decoded pictures of any mode as plain RGB."""

import numpy as np
from PIL import Image


def flat(image: Image.Image) -> Image.Image:
    """As 8-bit RGB, what is transparent on white; 16-bit grey keeps its upper byte."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if not image.has_transparency_data:
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image.convert("RGBA"))
    return white.convert("RGB")
