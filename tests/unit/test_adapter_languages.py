"""A language that a profile does not read is refused with the list of those that it does."""

import re

import pytest

from adapter.errors import InvalidRequestError
from adapter.languages import check, languages


@pytest.mark.parametrize(
    ("wanted", "profile"),
    [
        (["ch", "en"], "PP-OCRv4_mobile"),
        (["ch_sim", "en"], "PP-OCRv4_mobile"),
        (["chinese_cht", "ch_tra", "japan", "ja"], "PP-OCRv5_mobile"),
        (["french", "fr", "german", "de", "sv"], "PP-OCRv6_tiny"),
        (["japan", "ch_tra"], "PP-OCRv6_small"),
        (["klingon"], "a profile of one's own"),
    ],
)
def test_a_language_that_is_read_passes_under_each_of_its_names(wanted: list[str], profile: str) -> None:
    check(wanted, profile, "lang")


@pytest.mark.parametrize(
    ("language", "profile"),
    [
        ("japan", "PP-OCRv4_mobile"),
        ("chinese_cht", "PP-OCRv6_tiny"),
        ("korean", "PP-OCRv5_mobile"),
        ("vi", "PP-OCRv6_small"),
        ("", "PP-OCRv6_small"),
    ],
)
def test_one_that_is_not_read_is_named_and_the_others_are_listed(language: str, profile: str) -> None:
    listed = ", ".join(languages(profile))
    with pytest.raises(InvalidRequestError, match=re.escape(f"lang: the profile {profile} does not read {language!r}")):
        check(["en", language], profile, "lang")
    with pytest.raises(InvalidRequestError, match=re.escape(listed)):
        check([language], profile, "lang")
