"""What a description of a document holds beside running text: tables, diagrams, annotations, specifications.

Only what the model has set apart is found: a table in Markdown or HTML, a diagram in a fenced block, a passage under a
heading or after a label that says what it is. Nothing is inferred from the words themselves.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum


class Kind(str, Enum):
    TABLE = "table"
    DIAGRAM = "diagram"
    ANNOTATION = "annotation"
    SPECIFICATION = "specification"


@dataclass(frozen=True)
class Passage:
    """A part of the text, from `start` to before `end`."""

    kind: Kind
    start: int
    end: int


_HTML_TABLE = re.compile(r"<table\b.*?(?:</table\s*>|\Z)", re.IGNORECASE | re.DOTALL)
# A row of cells, the row of dashes that makes it a header, and the rows below (GitHub Flavored Markdown).
_MARKDOWN_TABLE = re.compile(
    r"^[^\n]*\|[^\n]*\n"
    r"[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*(?:\n|\Z)"
    r"(?:[^\n]*\|[^\n]*(?:\n|\Z))*",
    re.MULTILINE,
)
_FENCED_DIAGRAM = re.compile(
    r"^[ \t]*```[ \t]*(?:mermaid|dot|graphviz|plantuml|ascii|diagram)\b[^\n]*\n.*?(?:^[ \t]*```[ \t]*$|\Z)",
    re.IGNORECASE | re.MULTILINE | re.DOTALL,
)

_KEYWORDS = {
    Kind.TABLE: r"tables?|表格?",
    Kind.DIAGRAM: r"diagrams?|figures?|drawings?|schematics?|flow ?charts?|(?:电路|流程|结构|示意)?图(?:示|表)?",
    Kind.ANNOTATION: r"annotations?|notes?|labels?|call-?outs?|remarks?|warnings?|cautions?"
    r"|注释|标注|注意|备注|说明|警告|注",
    Kind.SPECIFICATION: r"specifications?|specs?|parameters?|ratings?|技术(?:参数|规格|要求)|规格|参数",
}
# At most two words about it: "Technical specifications", "Figure 3", "Labels and annotations".
_NAMES = {
    kind: re.compile(rf"(?:[\w-]+ +(?:and +|& +)?){{0,2}}(?:{words})(?: *\(?[\w.-]{{1,8}}\)?)?", re.IGNORECASE)
    for kind, words in _KEYWORDS.items()
}
_LINE = re.compile(r"[^\n]+")
# "## Title", "**Title**", "**Title:**", "3. Title:" or "Title:", alone on a line.
_HEADING = re.compile(
    r"[ \t]*(?:#{1,6}[ \t]+(?:\d+[.)][ \t]*)?\*{0,2}(?P<hash>[^\n*]+?)[:：]?\*{0,2}[ \t]*#*"
    r"|(?:\d+[.)][ \t]+)?\*\*(?P<bold>[^\n*]+?)[:：]?\*\*[:：]?"
    r"|(?:\d+[.)][ \t]+)?(?P<plain>[^\n:：|<]{1,60})[:：])[ \t]*"
)
# "Note: …", "- **Warning:** …", "Figure 3: …"
_LABELLED = re.compile(
    r"[ \t]*(?:[-*+•][ \t]+|\d+[.)][ \t]+)?\*{0,2}(?P<label>[^\n*:：|<]{1,40})(?:\*\*)?[:：]\*{0,2}[ \t]*\S"
)
_ITEM = re.compile(r"[ \t]*(?:[-*+•]|\d+[.)])[ \t]+")
_RULE = re.compile(r"[ \t]*(?:-{3,}|\*{3,}|_{3,})[ \t]*")


def passages(text: str) -> list[Passage]:
    """The passages that are set apart in `text`, in its order; none lies within another."""
    found = [Passage(Kind.TABLE, *match.span()) for match in _HTML_TABLE.finditer(text)]
    for kind, pattern in ((Kind.DIAGRAM, _FENCED_DIAGRAM), (Kind.TABLE, _MARKDOWN_TABLE)):
        found += [Passage(kind, *match.span()) for match in pattern.finditer(text) if _free(match.span(), found)]
    found += [passage for passage in _named(text) if _free((passage.start, passage.end), found)]
    return sorted((_stripped(text, passage) for passage in found), key=lambda passage: passage.start)


def _named(text: str) -> Iterator[Passage]:
    """The items and paragraphs under headings that name a kind, and the lines that begin with a label of one."""
    section: Kind | None = None
    open_passage: Passage | None = None
    end = 0
    for line in _LINE.finditer(text):
        blank_before = text.count("\n", end, line.start()) > 1
        end = line.end()
        heading = _HEADING.fullmatch(line[0])
        labelled = None if heading else _label(line[0])
        starts_anew = bool(heading or labelled or blank_before or _ITEM.match(line[0]) or _RULE.fullmatch(line[0]))
        if open_passage and starts_anew:
            yield open_passage
            open_passage = None
        if heading:
            section = _kind(heading["hash"] or heading["bold"] or heading["plain"])
        elif open_passage:
            open_passage = Passage(open_passage.kind, open_passage.start, line.end())
        elif not _RULE.fullmatch(line[0]):
            kind = labelled or section
            # A table is known by its form; what else stands under such a heading is about it.
            if kind and kind is not Kind.TABLE:
                open_passage = Passage(kind, line.start(), line.end())
    if open_passage:
        yield open_passage


def _label(line: str) -> Kind | None:
    match = _LABELLED.match(line)
    kind = _kind(match["label"]) if match else None
    return None if kind is Kind.TABLE else kind


def _kind(name: str) -> Kind | None:
    return next((kind for kind, pattern in _NAMES.items() if pattern.fullmatch(name.strip())), None)


def _free(span: tuple[int, int], found: list[Passage]) -> bool:
    return all(span[1] <= passage.start or passage.end <= span[0] for passage in found)


def _stripped(text: str, passage: Passage) -> Passage:
    part = text[passage.start : passage.end]
    start = passage.start + len(part) - len(part.lstrip())
    return Passage(passage.kind, start, start + len(part.strip()))
