"""Reading pictures and PDFs through the server, in the manner of PaddleX.

    from triton_ocr import create_pipeline

    pipeline = create_pipeline(pipeline="OCR")
    for result in pipeline.predict("general_ocr_002.png"):
        result.print()
        result.save_to_img("./output/")

It needs NumPy, Pillow and PyYAML; the models run in the server.
"""

from triton_ocr.errors import ConfigError, DrawingError, InputError, OCRError, ServerError
from triton_ocr.pipeline import OCRPipeline, create_pipeline
from triton_ocr.result import OCRResult

__all__ = [
    "ConfigError",
    "DrawingError",
    "InputError",
    "OCRError",
    "OCRPipeline",
    "OCRResult",
    "ServerError",
    "create_pipeline",
]
