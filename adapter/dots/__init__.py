"""dots.ocr: what it is asked, what it is shown, and what its answers mean."""
