r"""The layout that dots.ocr writes is passed on whole, mended where it is broken, and said to be so."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.dots.geometry import Scale, Size
from adapter.dots.layout import LayoutText

SAME = Scale(Size(560, 280), Size(560, 280))
HALVED = Scale(Size(280, 140), Size(560, 280))

TITLE = '{"bbox": [10, 20, 300, 40], "category": "Title", "text": "# A \\"quoted\\" {title}"}'
TABLE = '{"bbox": [10, 60, 300, 200], "category": "Table", "text": "<table><tr><td>€</td></tr></table>"}'
PICTURE = '{"bbox": [310, 60, 500, 200], "category": "Picture"}'


class Read:
    """What becomes of a text that comes in steps of some characters."""

    def __init__(self, text: str, scale: Scale = SAME, step: int = 7) -> None:
        layout = LayoutText(scale)
        self.pieces = []
        for start in range(0, len(text), step):
            self.pieces.append(layout.feed(text[start : start + step]))
            if layout.looping:
                break
        self.looping = layout.looping
        self.pieces.append(layout.finish())
        self.repaired = layout.repaired
        self.text = "".join(self.pieces)

    @property
    def elements(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.text)
        return found


def one(text: str) -> dict[str, Any]:
    """The one element of a text that is broken."""
    read = Read(text)
    assert read.repaired
    (element,) = read.elements
    return element


@pytest.mark.parametrize("step", [1, 7, 1000])
@pytest.mark.parametrize("text", [f"[{TITLE}, {TABLE}, {PICTURE}]", f"[\n  {TITLE},\n  {PICTURE}\n]\n", "[]", " [ ]\n"])
def test_a_well_formed_layout_passes_through_to_the_letter(text: str, step: int) -> None:
    read = Read(text, step=step)
    assert (read.text, read.repaired) == (text, False)


def test_boxes_are_mapped_and_nothing_else_is_changed() -> None:
    read = Read(f"[{TITLE}, {PICTURE}]", HALVED)
    assert read.text == f"[{TITLE}, {PICTURE}]".replace("[10, 20, 300, 40]", "[5, 10, 150, 20]").replace(
        "[310, 60, 500, 200]", "[155, 30, 250, 100]"
    )
    assert not read.repaired


def test_a_box_that_is_quoted_in_a_text_is_left_alone() -> None:
    element = {"text": 'so: {"bbox": [1, 2, 3, 4]}', "bbox": [10, 20, 300, 40], "category": "Text"}
    assert Read(json.dumps([element]), HALVED).elements == [{**element, "bbox": [5, 10, 150, 20]}]


def test_an_element_is_given_as_soon_as_it_is_complete() -> None:
    layout = LayoutText(SAME)
    assert layout.feed(f"[{TITLE[:-1]}") == ""
    assert layout.feed("}") == f"[{TITLE}"
    assert layout.feed(f", {PICTURE}") == f", {PICTURE}"
    assert layout.finish() == "]"


# Backspaces and form feeds are held for LaTeX.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\b\f"), max_size=30)
elements = st.builds(
    lambda category, text: {"bbox": [10, 20, 300, 40], "category": category, "text": text},
    st.sampled_from(["Text", "Formula"]),
    texts,
)
layouts = st.lists(elements, max_size=4, unique_by=str)


@given(layouts, st.booleans(), st.integers(1, 40))
def test_any_layout_passes_through_however_it_is_cut_into_pieces(
    layout: list[dict[str, Any]], escaped: bool, step: int
) -> None:
    text = json.dumps(layout, ensure_ascii=escaped)
    read = Read(text, step=step)
    assert (read.text, read.repaired) == (text, False)


@given(layouts, st.data())
def test_wherever_a_layout_is_cut_off_the_whole_elements_before_are_kept(
    layout: list[dict[str, Any]], data: st.DataObject
) -> None:
    text = json.dumps(layout)
    cut = data.draw(st.integers(0, len(text) - 1))
    whole = [element for n, element in enumerate(layout) if cut >= len(json.dumps(layout[: n + 1])) - 1]
    read = Read(text[:cut])
    assert read.elements[: len(whole)] == whole
    assert read.repaired
    for rest in read.elements[len(whole) :]:
        assert layout[len(whole)]["text"].startswith(rest.get("text", "").rstrip("�"))


@given(st.lists(st.sampled_from([*'{}[]",:\\ abnu01\n', '{"bbox":', '"text": "', '"category"']), max_size=80))
def test_no_text_at_all_makes_it_fail(pieces: list[str]) -> None:
    Read("".join(pieces), step=3)


def test_text_after_a_bare_quotation_mark_is_kept() -> None:
    read = Read(f'[{{"bbox": [1, 2, 30, 40], "category": "Text", "text": "he said "no" twice"}}, {TITLE}]')
    assert [element["text"] for element in read.elements] == ['he said "no" twice', '# A "quoted" {title}']
    assert read.repaired


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (r"\alpha + \sum_{i}", r"\alpha + \sum_{i}"),
        (r"\frac{a}{b}", r"\frac{a}{b}"),
        (r"\beta", r"\beta"),
        (r"\alpha \times \theta \\ \rho", r"\alpha \times \theta \ \rho"),
        (r"\\alpha\\frac{a}{b} \sqrt x", r"\alpha\frac{a}{b} \sqrt x"),
    ],
)
def test_latex_with_single_backslashes_is_understood(written: str, meant: str) -> None:
    assert one(f'[{{"bbox": [1, 2, 30, 40], "category": "Formula", "text": "{written}"}}]')["text"] == meant


@pytest.mark.parametrize(
    "box",
    ["[1, 2, 3]", "[1, 2, 30, 40, 50]", '"1 2 3 4"', "[30, 2, 1, 40]", "[1, null, 30, 40]", "null", "[1, [2], 3]"],
)
def test_the_text_of_an_element_with_a_malformed_box_is_kept(box: str) -> None:
    element = one(f'[{{"bbox": {box}, "category": "Text", "text": "kept"}}]')
    assert element == {"bbox": None, "category": "Text", "text": "kept"}


def test_raw_line_breaks_become_proper_ones() -> None:
    assert one('[{"bbox": [1, 2, 30, 40], "category": "Text", "text": "a\nb"}]')["text"] == "a\nb"


@pytest.mark.parametrize("wrapped", ["```json\n[{}]\n```", '{{"layout": [{}]}}', "{}", "Here it is:\n[{}]"])
def test_a_layout_is_found_within_what_does_not_belong_there(wrapped: str) -> None:
    assert one(wrapped.format(TITLE)) == json.loads(TITLE)


def test_an_element_that_is_written_over_and_over_is_given_once_and_ends_the_waiting() -> None:
    read = Read(f"[{PICTURE}" + f", {TITLE}" * 100)
    assert read.elements == [json.loads(PICTURE), json.loads(TITLE)]
    assert read.looping
    assert read.repaired
    assert len(read.pieces) < 150


def test_a_text_that_repeats_itself_without_end_is_given_up_to_its_repetition() -> None:
    read = Read(f'[{TITLE}, {{"bbox": [1, 2, 30, 40], "category": "Text", "text": "All of ' + "ha, " * 5000)
    assert read.looping
    assert read.elements[1]["text"] == "All of ha,"


def test_what_is_no_layout_is_given_as_it_is_and_said_to_be_odd() -> None:
    read = Read("I see nothing here.")
    assert (read.text, read.repaired) == ("I see nothing here.", True)


@pytest.mark.parametrize(
    "text",
    ["", "[", "[{", '[{"bbox": [1, 2', '[{"bbox": [1, 2, 3, 4], "catego', '[{"bbox": [1, 2, 3, 4], "category": "Te'],
)
def test_of_a_layout_that_is_cut_before_its_first_text_an_empty_one_is_left(text: str) -> None:
    read = Read(text)
    assert (read.text, read.repaired) == ("[]", True)


@pytest.mark.parametrize("box", ["[" * 100_000, "[1, " + "9" * 10_000, "[1e999, NaN, 3, 4]"])
def test_a_loop_within_a_box_costs_the_box_alone(box: str) -> None:
    assert one(f'[{{"category": "Text", "text": "kept", "bbox": {box}}}]')["text"] == "kept"
