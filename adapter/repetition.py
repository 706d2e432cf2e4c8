"""Endless repetition: how a language model fails when it falls into a loop."""

# A form may hold some hundred empty cells, a table of contents long rows of dots: a loop is longer than those.
_LOOP_CHARACTERS = 4000
_SUSPECT_CHARACTERS = 400
_LOOP_TIMES = 5
_LONGEST_UNIT = 2000
# So much of the text's end is looked for further up; it has to be rarer than what a unit repeats within itself.
_PROBE = 24


class RepetitionWatch:
    """Looks at a text as it is written, and tells when it does nothing but repeat itself.

    A unit of at most 2000 characters that is repeated at least five times, and over at least 4000 characters, counts
    as a loop; over at least 400 characters it is suspect.
    """

    def __init__(self) -> None:
        self._tail = ""
        self.looping = False
        self.suspect = False

    def feed(self, text: str) -> None:
        """Take what comes next of the text."""
        self._tail = (self._tail + text)[-_LOOP_TIMES * _LONGEST_UNIT :]
        self.suspect = _ends_in_repetition(self._tail, _SUSPECT_CHARACTERS)
        self.looping = self.looping or (self.suspect and _ends_in_repetition(self._tail, _LOOP_CHARACTERS))


class PlainText:
    """Takes a model's text as it comes, and gives it on; of a repetition that is suspect nothing until it ends.

    What a loop has written beyond that is never given: `repaired` tells.
    """

    def __init__(self) -> None:
        self._watch = RepetitionWatch()
        self._held = ""
        self.repaired = False

    @property
    def looping(self) -> bool:
        """Whether the model repeats itself without end: what it has yet to say is not worth waiting for."""
        return self._watch.looping

    def feed(self, text: str) -> str:
        """Take what comes next of the model's text, and give what is not held back."""
        self._watch.feed(text)
        self._held += text
        return "" if self._watch.suspect else self._release()

    def finish(self) -> str:
        """Give what is left, when no more text comes."""
        if self.looping:
            self._held = ""
            self.repaired = True
        return self._release()

    def _release(self) -> str:
        held, self._held = self._held, ""
        return held


def without_repetition(text: str) -> str:
    """`text` with the repetition at its end, if there is one that is suspect, taken back to its first unit."""
    unit = _unit(text, _SUSPECT_CHARACTERS)
    if not unit:
        return text
    start = len(text) - unit
    while start > 0 and text[start - 1] == text[start - 1 + unit]:
        start -= 1
    return text[: start + unit]


def _ends_in_repetition(text: str, characters: int) -> bool:
    return _unit(text, characters) > 0


def _unit(text: str, characters: int) -> int:
    """The length of the unit whose repetition the last `characters` of the text are, or more of a long unit; else 0."""
    probe = text[-_PROBE:]
    at = len(text) - len(probe)
    while len(text) - len(probe) - at < _LONGEST_UNIT:
        at = text.rfind(probe, 0, at + len(probe) - 1)
        if at < 0:
            break
        unit = len(text) - len(probe) - at
        span = max(characters, _LOOP_TIMES * unit)
        if len(text) < span:
            break
        repeated = text[-span:]
        if repeated[unit:] == repeated[:-unit]:
            return unit
    return 0
