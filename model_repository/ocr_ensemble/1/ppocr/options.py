"""What one request may ask for, checked."""

from __future__ import annotations

from dataclasses import dataclass, fields

from .errors import InvalidArgumentError

_RANGES = {
    "det_thresh": (0.0, 1.0),
    "box_thresh": (0.0, 1.0),
    "unclip_ratio": (0.5, 10.0),
    "text_score": (0.0, 1.0),
    "min_side": (32, 4096),
    "max_side": (32, 10_000),
    "rec_batch_size": (1, 32),  # rec_onnx takes no more
}


@dataclass(frozen=True)
class Options:
    """Options of a reading; None takes the profile's own value.

    `profile` names the weights, `rec_profile` those of recognition where they are to be another profile's.
    `use_det` false reads the whole picture as one line; `use_cls` false leaves lines as they stand; `use_rec` false
    gives boxes alone. `use_doc_orientation_classify` sets a page upright that lies on its side or head before it is
    read. `reading_order` gives the lines as a person reads them, column by column, and the page's whole text; else they
    come in PP-OCR's order, from the top. `det_thresh` binarises the probability map, `box_thresh` is a box's least mean
    probability, `unclip_ratio` widens boxes, `text_score` is a line's least score. Text is looked for in the picture
    enlarged until its shorter side has `min_side` pixels, and made smaller until its longer one has `max_side`.
    `rec_batch_size` is how many lines recognition is given in one call. Raises InvalidArgumentError for a value out of
    its range.
    """

    profile: str | None = None
    rec_profile: str | None = None
    use_det: bool = True
    use_cls: bool = True
    use_rec: bool = True
    use_doc_orientation_classify: bool = False
    reading_order: bool = False
    return_word_box: bool = False
    det_thresh: float | None = None
    box_thresh: float | None = None
    unclip_ratio: float | None = None
    text_score: float | None = None
    min_side: int | None = None
    max_side: int | None = None
    rec_batch_size: int | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name not in _RANGES or value is None:
                continue
            least, most = _RANGES[field.name]
            if not least <= value <= most:  # false for NaN, too
                raise InvalidArgumentError(f"{field.name} must be between {least} and {most}, not {value}")
