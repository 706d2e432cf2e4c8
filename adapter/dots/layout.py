r"""The layout that dots.ocr writes, element by element, as the layout of the original picture.

The model writes a JSON array of objects with `bbox`, `category` and `text`, most of the time. A limit on tokens cuts
it off; LaTeX comes with single backslashes, quotation marks come unescaped; boxes come with three numbers; and a loop
writes one element over and over. What is well-formed passes through as it was written but for the numbers of its box.
What is not is put right, element by element, and `repaired` tells.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from adapter.dots.geometry import Scale
from adapter.repetition import RepetitionWatch, without_repetition

# Where an element begins. Within the text of an element the quotation mark would be escaped; where it is not, the text
# is broken and its element ends before the next one.
_ELEMENT = re.compile(r'\{\s*"(?:bbox|category|text)"\s*:')
_BOX = re.compile(r'("bbox"\s*:\s*)\[[^\[\]]*\]')
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_SEPARATOR = re.compile(r"\s*,\s*")
_OPENING = re.compile(r"\s*\[\s*")
_BEGUN = re.compile(r"\s*(?:```(?:json)?\s*)?(?:[\[{]|$)")
_CLOSING = re.compile(r"\s*\]\s*")

_BROKEN_BOX = re.compile(r'"bbox"\s*:\s*\[?([^\]"]*)')
_BROKEN_CATEGORY = re.compile(r'"category"\s*:\s*"([A-Za-z-]+)"')
# Up to what closes it: another field, the beginning of one where the text is cut off, or the element's end, perhaps
# with the beginning of the next element.
_BROKEN_TEXT = re.compile(
    r'"text"\s*:\s*"(.*?)'
    r'(?:"\s*,\s*"(?:bbox|category)"\s*:.*|"\s*(?:,\s*(?:"[a-z]*"?)?)?|"\s*\}[\s,\]]*(?:\{\s*(?:"[a-z]*)?)?)?$',
    re.DOTALL,
)

# No text holds a form feed or a backspace: such an escape is the beginning of \frac, \beta and their like.
_CONTROL = re.compile(r"\\(?:([bf])|.)", re.DOTALL)
# Where a text is broken, these escapes are taken for such; any other backslash is a character.
_ESCAPE = re.compile(r'\\(?:["\\/n]|u[0-9a-fA-F]{4}|[rt](?![a-z]))|\\')
_CUT_ESCAPE = re.compile(r"((?:^|[^\\])(?:\\\\)*)\\(?:u[0-9a-fA-F]{0,3})?$")
_BARE_QUOTE = re.compile(r'\\.|"', re.DOTALL)

_MAX_REPEATS = 5

# Takes line breaks and tabs within texts that are no escapes, too.
_LENIENT = json.JSONDecoder(strict=False)
# Numbers of thousands of digits and brackets without end, as a loop writes them, are no JSONDecodeError.
_UNDECODABLE = (ValueError, RecursionError)
# No coordinate is larger; NaN is not within, either.
_FAR = 1e9

Element = dict[str, Any]


class LayoutText:
    """Takes the model's text as it comes, and gives it on as soon as an element of it is complete.

    All that is given, joined, is one JSON array.
    """

    def __init__(self, scale: Scale) -> None:
        self._scale = scale
        self._watch = RepetitionWatch()
        self._rest = ""
        self._tried = 0
        self._given: set[str] = set()
        self._repeats = 0
        self.repaired = False
        """Whether what was given differs from what the model wrote in more than the numbers of boxes."""

    @property
    def looping(self) -> bool:
        """Whether the model repeats itself without end: what it has yet to say is not worth waiting for."""
        return self._watch.looping or self._repeats >= _MAX_REPEATS

    def feed(self, text: str) -> str:
        """Take what comes next of the model's text, and give what is complete."""
        self._watch.feed(text)
        self._rest += text
        return "".join(self._complete(final=False))

    def finish(self) -> str:
        """Give what is left, when no more text comes."""
        if self._watch.looping:
            self._rest = without_repetition(self._rest)
        return "".join([*self._complete(final=True), self._end()])

    def _complete(self, final: bool) -> Iterator[str]:
        while (begin := _ELEMENT.search(self._rest)) is not None:
            found = self._element(begin, final)
            if found is None:
                return
            element, written, end = found
            gap = self._rest[: begin.start()]
            self._rest, self._tried = self._rest[end:], 0
            yield from self._place(gap, element, written)

    def _element(self, begin: re.Match[str], final: bool) -> tuple[Element | None, str | None, int] | None:
        """The element that begins there, as it was written if that is well-formed, and where it ends.

        None while it is not complete; no element where nothing of it can be told.
        """
        start = begin.start()
        following = _ELEMENT.search(self._rest, begin.end())
        # Only a closing bracket can complete it: without a new one there is nothing to try.
        if not final and following is None and "}" not in self._rest[self._tried :]:
            return None
        self._tried = len(self._rest)
        try:
            element, end = _LENIENT.raw_decode(self._rest, start)
        except _UNDECODABLE:
            if following is None and not final:
                return None
            end = following.start() if following else len(self._rest)
            return _salvaged(self._rest[start:end]), None, end
        written = self._rest[start:end]
        mended = _CONTROL.sub(lambda escape: "\\" + escape[0] if escape[1] else escape[0], written)
        if mended == written and _is_json(written):
            return element, written, end
        return _LENIENT.decode(mended), None, end

    def _place(self, gap: str, element: Element | None, written: str | None) -> Iterator[str]:
        """The element with its box in the original's pixels, after what belongs before it."""
        first = not self._given
        well_formed = (_OPENING if first else _SEPARATOR).fullmatch(gap) is not None
        self.repaired |= not well_formed or written is None
        if element is None:
            return
        identity = json.dumps(element, sort_keys=True)
        if identity in self._given:
            self._repeats += 1
            self.repaired = True
            return
        self._repeats = 0
        self._given.add(identity)
        yield gap if well_formed else "[" if first else ", "
        yield self._mapped(element, written)

    def _mapped(self, element: Element, written: str | None) -> str:
        box = _box(element.get("bbox"))
        if box is None:
            self.repaired = True
            return _dumped({**element, "bbox": None})
        mapped = list(self._scale.to_original(box))
        if written is None:
            return _dumped({**element, "bbox": mapped})
        return _BOX.sub(rf"\g<1>{mapped}", written, count=1)

    def _end(self) -> str:
        rest, self._rest = self._rest, ""
        if self._given:
            well_formed = _CLOSING.fullmatch(rest) is not None
            self.repaired |= not well_formed
            return rest if well_formed else "]"
        if _is_empty_array(rest):
            return rest
        self.repaired = True
        # What is no layout at all is still what the model had to say.
        return "[]" if _BEGUN.match(rest) and not _is_json(rest) else rest


def _box(value: Any) -> tuple[float, float, float, float] | None:
    """A box, if it is one: four finite numbers, the second corner to the right of the first and below it."""
    if not isinstance(value, list) or len(value) != 4:
        return None
    if not all(type(number) in (int, float) and -_FAR < number < _FAR for number in value):
        return None
    x1, y1, x2, y2 = value
    return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None


def _salvaged(broken: str) -> Element | None:
    """What can be told of an element that is cut off or not well-formed."""
    try:
        element: Element = _LENIENT.raw_decode(_escaped(broken))[0]
        return element
    except _UNDECODABLE:
        pass
    element = {}
    if numbers := _BROKEN_BOX.search(broken):
        element["bbox"] = [float(number) for number in _NUMBER.findall(numbers[1])]
    if category := _BROKEN_CATEGORY.search(broken):
        element["category"] = category[1]
    if text := _BROKEN_TEXT.search(broken):
        whole = _CUT_ESCAPE.sub(r"\1", text[1])
        quoted = _BARE_QUOTE.sub(lambda found: '\\"' if found[0] == '"' else found[0], _escaped(whole))
        element["text"] = _LENIENT.decode(f'"{quoted}"')
    return element if element.keys() & {"category", "text"} else None


def _escaped(text: str) -> str:
    return _ESCAPE.sub(lambda escape: "\\\\" if escape[0] == "\\" else escape[0], text)


def _dumped(element: Element) -> str:
    text = json.dumps(element, ensure_ascii=False)
    # Half of a pair, which only an escape can bring in, is no character.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _is_json(text: str) -> bool:
    """Whether any decoder takes it; Python's takes NaN, too."""
    try:
        json.loads(text, parse_constant=float.fromhex)
    except _UNDECODABLE:
        return False
    return True


def _is_empty_array(text: str) -> bool:
    return "".join(text.split()) == "[]"
