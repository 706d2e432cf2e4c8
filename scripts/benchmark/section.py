"""A part of the report that is not the comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Section:
    """What a part has found.

    Attributes:
        title: of the part, and of what it was measured on.
        text: for people; Markdown.
        data: the same for programs, as JSON.
    """

    title: str
    text: str
    data: dict[str, Any]
