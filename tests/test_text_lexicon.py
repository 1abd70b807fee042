"""How a voice's lexicon respells words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.text import Lexicon, plan

words = st.text(alphabet="abcABC あいア漢", min_size=1, max_size=5).filter(str.strip)


def test_a_word_is_replaced_wherever_it_stands_alone() -> None:
    assert Lexicon({"GIF": "jif"}).apply("A GIF, (GIF) GIF's GIF.") == "A jif, (jif) jif's jif."


def test_a_word_inside_another_is_left_alone() -> None:
    assert Lexicon({"cat": "kat"}).apply("concatenate cats cat_1 scat cat") == "concatenate cats cat_1 scat kat"


def test_any_case_matches_and_the_very_case_wins() -> None:
    lexicon = Lexicon({"us": "us", "US": "U S"})
    assert lexicon.apply("US us Us") == "U S us us"
    assert Lexicon({"Makima": "Mah-kee-mah"}).apply("makima MAKIMA") == "Mah-kee-mah Mah-kee-mah"


def test_the_longest_entry_wins() -> None:
    lexicon = Lexicon({"New": "nu", "New York": "Noo Yawk", "York": "Yawk"})
    assert lexicon.apply("New York, New Jersey, York") == "Noo Yawk, nu Jersey, Yawk"


def test_japanese_words_need_no_boundary() -> None:
    lexicon = Lexicon({"真紀真": "まきま", "東京": "とうきょう", "東京都": "とうきょうと"})
    assert lexicon.apply("私は真紀真です。東京都、東京") == "私はまきまです。とうきょうと、とうきょう"


def test_a_latin_word_may_stand_against_japanese_and_korean() -> None:
    assert Lexicon({"AI": "エーアイ"}).apply("最新のAIは、AI를 MAIN") == "最新のエーアイは、エーアイ를 MAIN"


def test_what_was_put_in_is_not_replaced_again() -> None:
    assert Lexicon({"a": "b", "b": "a", "c": "a b c"}).apply("a b c") == "b a a b c"


def test_signs_in_an_entry_are_taken_literally() -> None:
    lexicon = Lexicon({"C++": "see plus plus", "C#": "see sharp", "a.b": "x", "$1": r"\1"})
    assert lexicon.apply("C++ and C#; a.b acb $1") == r"see plus plus and see sharp; x acb \1"


def test_an_entry_is_found_however_its_characters_were_written() -> None:
    assert (
        Lexicon({"caf\u0065\u0301": "kafay", "it’s": "its", "ＡＢＣ": "abc"}).apply("café it's ABC") == "kafay its abc"
    )


def test_an_entry_with_quotation_marks_is_found_in_a_plan() -> None:
    assert plan("Then “Bo” called.", "English", {"“Bo”": "Beau"})[0].spoken == "Then Beau called."


def test_an_entry_of_several_words_matches_across_a_newline() -> None:
    assert Lexicon({"New  York": "NY"}).apply("New\nYork") == "NY"


@pytest.mark.parametrize("word", ["", "  ", "\u200b"])
def test_an_entry_without_a_word_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match="no word"):
        Lexicon({word: "x"})


@given(st.text())
def test_an_empty_lexicon_changes_nothing(text: str) -> None:
    assert Lexicon({}).apply(text) == text


@given(st.dictionaries(words, st.just("|")), st.text(alphabet="xyzんカ字 .,", max_size=60))
def test_a_text_without_the_words_is_unchanged(entries: dict[str, str], text: str) -> None:
    assert Lexicon(entries).apply(text) == text


@given(st.dictionaries(words, words, min_size=1))
def test_every_entry_is_found_when_it_stands_alone(entries: dict[str, str]) -> None:
    lexicon = Lexicon(entries)
    spelt = {" ".join(word.split()): spoken for word, spoken in entries.items()}
    for word, spoken in spelt.items():
        assert lexicon.apply(word) == spoken


def test_a_letter_whose_lower_case_is_two_characters_moves_nothing() -> None:
    assert Lexicon({"GIF": "jif"}).apply("İİ gif İ.") == "İİ jif İ."


def test_hundreds_of_entries_are_applied() -> None:
    lexicon = Lexicon({f"word{i}": f"spoken{i}" for i in range(500)})
    assert lexicon.apply("word499 word1 word12 word500") == "spoken499 spoken1 spoken12 word500"
