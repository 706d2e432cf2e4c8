"""Which languages each profile reads, by PaddleOCR's names."""

from collections.abc import Iterable

from adapter.errors import InvalidRequestError

# Other names of the same languages: EasyOCR's and PaddleOCR's own.
_ALIASES = {"ch_sim": "ch", "ch_tra": "chinese_cht", "ja": "japan", "french": "fr", "german": "de"}

# Of the 46 Latin languages that PP-OCRv6 was published for, those whose letters its dictionaries hold.
_V6_TINY = (
    *("ch", "en", "af", "bs", "ca", "cs", "cy", "da", "de", "es", "et", "eu", "fi", "fr", "ga", "gl", "hr", "hu"),
    *("id", "is", "it", "ku", "la", "lb", "lt", "lv", "mi", "ms", "mt", "nl", "no", "oc", "pl", "pt", "qu", "rm"),
    *("rs_latin", "sk", "sl", "sq", "sv", "sw", "tl", "tr", "uz"),
)
_LANGUAGES = {
    "PP-OCRv4_mobile": ("ch", "en"),
    "PP-OCRv5_mobile": ("ch", "chinese_cht", "en", "japan", "pinyin"),
    "PP-OCRv6_tiny": _V6_TINY,
    "PP-OCRv6_small": (*_V6_TINY, "az", "chinese_cht", "japan", "ro"),
}


def languages(profile: str) -> tuple[str, ...]:
    """What the profile reads; nothing for one that is not known here."""
    return _LANGUAGES.get(profile, ())


def check(wanted: Iterable[str], profile: str, name: str) -> None:
    """Raise `InvalidRequestError`, with the list of what the profile reads, where the field `name` wants another."""
    readable = languages(profile)
    for language in wanted:
        if readable and _ALIASES.get(language, language) not in readable:
            raise InvalidRequestError(
                f"{name}: the profile {profile} does not read {language!r}; it reads {', '.join(readable)}"
            )
