"""The questions that dots.ocr was trained to answer, in its own words.

They are part of its protocol and stand, word for word and with their source, in prompts.json.
"""

import json
from enum import Enum
from pathlib import Path

from adapter.dots.geometry import Box

# The chat template of the model, written out: NVIDIA's vLLM backend takes the prompt as it is. vLLM puts a picture
# token for each 28x28 pixels in the place of <|imgpad|>.
_TEMPLATE = "<|user|><|img|><|imgpad|><|endofimg|>{question}<|endofuser|><|assistant|>"
_QUESTIONS: dict[str, str] = json.loads(Path(__file__).with_name("prompts.json").read_text(encoding="utf-8"))["prompts"]


class PromptType(str, Enum):
    """What is asked for, by the names of the documented API, in its order."""

    LAYOUT_ALL = "prompt_layout_all_en"
    """The elements of the page with box, category and text, as JSON."""
    LAYOUT_ONLY = "prompt_layout_only_en"
    """The elements with box and category, as JSON."""
    OCR = "prompt_ocr"
    """The text of the page without its header and footer."""
    GROUNDING = "prompt_grounding_ocr"
    """The text within one box."""

    @property
    def answers_layout(self) -> bool:
        """Whether the answer is the JSON of a layout; otherwise it is text."""
        return self in (PromptType.LAYOUT_ALL, PromptType.LAYOUT_ONLY)


def prompt(kind: PromptType, box: Box | None) -> str:
    """What the model is given besides the picture. `box`, in pixels of the picture as it is fed, for grounding."""
    question = _QUESTIONS[kind.value]
    return _TEMPLATE.format(question=question + str(list(box)) if box else question)
