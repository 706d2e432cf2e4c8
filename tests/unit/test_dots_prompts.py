"""What dots.ocr is asked is what it was trained on, letter for letter."""

import hashlib

from adapter.dots.prompts import PromptType, prompt


def test_the_prompt_types_are_the_documented_ones_in_their_order() -> None:
    assert [kind.value for kind in PromptType] == [
        "prompt_layout_all_en",
        "prompt_layout_only_en",
        "prompt_ocr",
        "prompt_grounding_ocr",
    ]


def test_a_picture_stands_before_the_question_and_the_answer_after_it() -> None:
    assert prompt(PromptType.OCR, None) == (
        "<|user|><|img|><|imgpad|><|endofimg|>Extract the text content from this image.<|endofuser|><|assistant|>"
    )


def test_the_box_follows_the_question_as_the_model_has_learnt_it() -> None:
    assert prompt(PromptType.GROUNDING, (10, 20, 300, 40)).endswith(
        "Bounding Box:\n[10, 20, 300, 40]<|endofuser|><|assistant|>"
    )


def test_the_long_questions_have_not_been_touched() -> None:
    """A stray blank costs accuracy and is seen by nobody."""
    digests = {
        kind: hashlib.sha256(prompt(kind, None).encode()).hexdigest()[:16]
        for kind in (PromptType.LAYOUT_ALL, PromptType.LAYOUT_ONLY)
    }
    assert digests == {PromptType.LAYOUT_ALL: "73f3eb5e3750a61a", PromptType.LAYOUT_ONLY: "f106c970f7f8a1e8"}
