"""A word error rate counts what a listener would count: words, not spelling."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.quality.recogniser import CODES
from worker.quality.sentences import MAX_SENTENCES, sentences
from worker.quality.text import BY_CHARACTER, WrongUnit, align, units

WORDS = st.lists(st.sampled_from(["a", "b", "c", "kettle", "stove"]), max_size=12)
TEXTS = st.text(max_size=60)


@pytest.mark.parametrize(
    ("one", "other", "language"),
    [
        ("Hello, I'm here!", "hello i am here", "English"),
        ("Don't, can't and won’t.", "do not cannot and will not", "English"),
        ("It leaves at 7:30.", "it leaves at seven thirty", "English"),
        ("12 of 1,250 cups, 2.5%", "twelve of one thousand two hundred fifty cups two point five percent", "English"),
        ("well-known", "well known", "English"),
        ("Größe", "GRÖSSE", "German"),
        ("четырёх", "четырех", "Russian"),
        ("はい、 わかりました。", "はいわかりました", "Japanese"),
        ("ＡＢＣ", "abc", "Japanese"),
        ("여섯 시 반", "여섯시 반", "Korean"),
    ],
)
def test_spelling_that_makes_no_sound_is_no_error(one: str, other: str, language: str) -> None:
    assert units(one, language) == units(other, language)


@pytest.mark.parametrize(
    ("one", "other"), [("two cups", "too cups"), ("is", "was"), ("I can", "I cannot"), ("7:30", "7:13")]
)
def test_another_word_is_an_error(one: str, other: str) -> None:
    assert align(units(one, "English"), units(other, "English")).rate > 0


@settings(deadline=None)
@given(TEXTS, st.sampled_from(sorted(CODES)))
def test_units_are_stable_and_a_text_equals_itself(text: str, language: str) -> None:
    found = units(text, language)
    blank = "" if language in BY_CHARACTER else " "
    assert units(blank.join(found), language) == found
    assert align(found, found).wrong == ()


@settings(deadline=None)
@given(WORDS, WORDS)
def test_an_alignment_explains_every_difference(expected: list[str], recognised: list[str]) -> None:
    """Undoing the wrong units turns one into the other, and fewer cannot."""
    found = align(expected, recognised)
    missing = sum(not pair.recognised for pair in found.wrong)
    extra = sum(not pair.expected for pair in found.wrong)
    assert len(expected) - missing + extra == len(recognised)
    assert abs(len(expected) - len(recognised)) <= len(found.wrong) <= max(len(expected), len(recognised))
    assert len(found.wrong) == len(align(recognised, expected).wrong)
    assert (not found.wrong) == (expected == recognised)


@settings(deadline=None)
@given(WORDS, st.data())
def test_one_changed_word_is_one_wrong_word(words: list[str], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(words)))
    assert align(words, [*words[:at], "new", *words[at:]]).wrong == (WrongUnit("", "new"),)
    if at < len(words):
        assert align(words, [*words[:at], "new", *words[at + 1 :]]).wrong == (WrongUnit(words[at], "new"),)
        assert len(align(words, words[:at] + words[at + 1 :]).wrong) == 1


def test_nothing_recognised_is_a_rate_of_one_and_a_text_without_words_has_none() -> None:
    assert align(["a", "b"], []).rate == 1
    assert align([], []).rate == 0


@pytest.mark.parametrize("language", sorted(CODES))
def test_every_language_has_its_sentences_without_digits(language: str) -> None:
    listed = sentences(language, MAX_SENTENCES)
    assert len(set(listed)) == MAX_SENTENCES
    assert not any(char.isdigit() for text in listed for char in text)
    assert all(units(text, language) for text in listed)
