"""The characters of a recogniser, one to a CTC class."""

from __future__ import annotations

from scripts.weights.errors import DictionaryError


def parse(text: str) -> tuple[str, ...]:
    """The entries of a published dictionary: one to a line, ended by '\\n' or '\\r\\n'.

    Nothing else ends a line: U+2028, U+0085, '\\v' and their like, at which str.splitlines would break, are characters.
    The byte-order mark that some editors put before the first is none.
    """
    return tuple(text.removeprefix("\ufeff").replace("\r\n", "\n").removesuffix("\n").split("\n"))


def complete(entries: tuple[str, ...], classes: int) -> tuple[str, ...]:
    """The characters of the classes 1 .. classes - 1; class 0 is the blank.

    PaddleOCR appends a space to the published list where it trains one (use_space_char): so it is done here where one
    character is missing. Raises DictionaryError where the numbers do not agree in either way, and where an entry is
    empty or broken over lines, since it could not be told apart in a file with one to a line.
    """
    if bad := [number for number, entry in enumerate(entries, 1) if not entry or "\n" in entry]:
        raise DictionaryError(f"line {bad[0]} of the dictionary is no character: {entries[bad[0] - 1]!r}")
    characters = (*entries, " ") if len(entries) == classes - 2 else entries
    if len(characters) != classes - 1:
        raise DictionaryError(
            f"the dictionary has {len(entries)} characters, but the recogniser has {classes} classes: "
            f"{classes - 2} are wanted beside the blank and the space"
        )
    return characters


def encode(characters: tuple[str, ...]) -> bytes:
    """The file that is installed: UTF-8, each character ended by '\\n'; line i (from 0) is class i + 1."""
    return "".join(f"{character}\n" for character in characters).encode()
