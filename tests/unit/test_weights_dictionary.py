"""Dictionaries: one character to a class, whatever the characters are."""

import pytest

from scripts.weights import dictionary
from scripts.weights.errors import DictionaryError

# str.splitlines would break at every one of these but the last three.
ODD = ("\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\u3000", "🇩🇪", "e\u0301")


def test_only_a_newline_ends_a_line() -> None:
    assert dictionary.parse("\n".join(ODD)) == ODD
    assert dictionary.parse("\n".join(ODD) + "\n") == ODD


def test_a_file_with_windows_line_ends_holds_the_same_characters() -> None:
    assert dictionary.parse("a\r\nb\r\n") == dictionary.parse("a\nb\n") == ("a", "b")


def test_a_byte_order_mark_is_no_part_of_the_first_character() -> None:
    assert dictionary.parse(b"\xef\xbb\xbfa\nb\n".decode()) == ("a", "b")


def test_the_space_is_appended_where_one_character_is_missing() -> None:
    assert dictionary.complete(("a", "b"), classes=4) == ("a", "b", " ")


def test_a_dictionary_that_has_its_space_is_complete() -> None:
    assert dictionary.complete(("a", " ", "b"), classes=4) == ("a", " ", "b")


@pytest.mark.parametrize("classes", [1, 2, 5, 6625])
def test_a_dictionary_that_does_not_fit_the_classes_is_refused(classes: int) -> None:
    with pytest.raises(DictionaryError, match=f"2 characters, but the recogniser has {classes} classes"):
        dictionary.complete(("a", "b"), classes)


def test_an_empty_line_is_refused() -> None:
    with pytest.raises(DictionaryError, match="line 2"):
        dictionary.complete(("a", "", "b"), classes=4)


def test_line_i_of_the_file_is_class_i_plus_1() -> None:
    encoded = dictionary.encode(dictionary.complete(ODD, classes=len(ODD) + 2))
    assert encoded.decode().split("\n") == [*ODD, " ", ""]
