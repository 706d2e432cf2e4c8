"""A profile is said to read a language only if its dictionary holds the language's letters."""

from __future__ import annotations

import pytest

from adapter.languages import languages
from scripts.launch.server import ROOT

PROFILES = ["PP-OCRv4_mobile", "PP-OCRv5_mobile", "PP-OCRv6_tiny", "PP-OCRv6_small"]
# Letters that tell a language from others, capitals where they are common.
LETTERS = {
    "ch": "的一是不了人我在有他这为之大来以个中上们到说国和地也子时道出而要于就下得可你年生",
    "chinese_cht": "說從麼沒並黨邊較別論幾戰則隊規領階認採積議鬥況眾須斷礦週勞稱準卻屬圓聽",
    "japan": "あいうえおかきくけこがざだばぱんゃゅょっアイウエオカキクケコガザダバパンャュョッー駅込働",
    "pinyin": "āáǎàēéěèīíǐìōóǒòūúǔùǖǘǚǜ",
    "az": "əƏğışçöü",
    "cs": "áčďéěíňóřšťúůýžČĎĚŇŘŠŤŮŽ",
    "da": "æøåÆØÅ",
    "de": "äöüßÄÖÜ",
    "es": "áéíñóúü¿ÑÁÉÍÓÚ",
    "fr": "àâæçéèêëîïôœùûüÀÂÉÈÊŒÇ",
    "hu": "áéíóöőúüűŐŰ",
    "is": "áðéíóúýþæöÐÞ",
    "lt": "ąčęėįšųūžĄČĘĖĮŠŲŪŽ",
    "lv": "āčēģīķļņšūž",
    "mt": "ċġħżĊĠĦŻ",
    "pl": "ąćęłńóśźżĄĆĘŁŃŚŹŻ",
    "pt": "áâãàçéêíóôõúÃÕÇ",
    "ro": "ăâîșțȘȚ",
    "sk": "áäčďéíĺľňóôŕšťúýž",
    "tr": "çğıöşüĞİŞ",
    "vi": "ơưạảấầẩẫậẹẻẽếềểễệ",
}


@pytest.mark.parametrize("profile", PROFILES)
def test_what_a_profile_reads_is_what_its_dictionary_can_write(profile: str) -> None:
    dictionary = ROOT / "model_repository" / "ocr_ensemble" / "1" / "dictionaries" / f"{profile}.txt"
    characters = set(dictionary.read_text(encoding="utf-8"))
    claimed = languages(profile)
    assert claimed
    for language in claimed:
        missing = set(LETTERS.get(language, "")) - characters
        assert not missing, f"{profile} is said to read {language} and lacks {missing}"


@pytest.mark.parametrize("profile", ["PP-OCRv6_tiny", "PP-OCRv6_small"])
def test_a_language_that_is_left_out_could_not_be_written(profile: str) -> None:
    dictionary = ROOT / "model_repository" / "ocr_ensemble" / "1" / "dictionaries" / f"{profile}.txt"
    characters = set(dictionary.read_text(encoding="utf-8"))
    for language in LETTERS.keys() - set(languages(profile)) - {"pinyin"}:
        assert set(LETTERS[language]) - characters, f"{profile} has every letter of {language}"
