"""Tables, diagrams, annotations and specifications are found where the model set them apart, and only there."""

import time

import pytest

from adapter.internvl.structure import Kind, passages

MARKDOWN = "| No | Part |\n|----|:----:|\n| 1 | Bolt |\n| 2 | Nut |"
HTML = "<table border=1><tr><td>a | b</td></tr></table>"
MERMAID = "```mermaid\ngraph TD; A-->B\n```"

DESCRIPTION = f"""The picture shows a pump. It has two inlets: left and right.

## Technical Specifications
- Rated voltage: 220 V
- Flow: 3 l/min
  at 20 °C

### Tables
The parts are:
{MARKDOWN}

**Annotations:**
1. "A" marks the inlet
2. "B" marks the outlet

Note: do not run dry.

Figure 3: the wiring of the motor.

{MERMAID}

{HTML}

## Summary
All good. Note the colour.
"""


def found(text: str) -> list[tuple[Kind, str]]:
    return [(passage.kind, text[passage.start : passage.end]) for passage in passages(text)]


def test_everything_that_is_set_apart_is_found_in_order() -> None:
    assert found(DESCRIPTION) == [
        (Kind.SPECIFICATION, "- Rated voltage: 220 V"),
        (Kind.SPECIFICATION, "- Flow: 3 l/min\n  at 20 °C"),
        (Kind.TABLE, MARKDOWN),
        (Kind.ANNOTATION, '1. "A" marks the inlet'),
        (Kind.ANNOTATION, '2. "B" marks the outlet'),
        (Kind.ANNOTATION, "Note: do not run dry."),
        (Kind.DIAGRAM, "Figure 3: the wiring of the motor."),
        (Kind.DIAGRAM, MERMAID),
        (Kind.TABLE, HTML),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A cat sits on a mat.\nIt is noted for its fur: grey.",
        "Temperature: 20 °C",
        "a | b is either\nor not",
        "## Summary\nThe parameters are fine.",
        "---\n\n***\n",
        "```python\nprint('x')\n```",
    ],
)
def test_where_nothing_is_set_apart_nothing_is_found(text: str) -> None:
    assert found(text) == []


def test_a_table_that_was_cut_off_is_found() -> None:
    assert found("See <table><tr><td>a") == [(Kind.TABLE, "<table><tr><td>a")]


def test_chinese_headings_and_labels_are_known() -> None:
    assert found("## 技术参数\n- 电压：220 V\n\n## 总结\n完。\n\n注意：勿空转。") == [
        (Kind.SPECIFICATION, "- 电压：220 V"),
        (Kind.ANNOTATION, "注意：勿空转。"),
    ]


@pytest.mark.parametrize(
    "text", ["|" * 9000, "|\n" * 9000, "a|b\n" + "|-" * 9000, "<table" * 2000, "**" * 9000, "# *" * 9000]
)
def test_odd_texts_take_no_time(text: str) -> None:
    start = time.perf_counter()
    passages(text)
    assert time.perf_counter() - start < 5.0
