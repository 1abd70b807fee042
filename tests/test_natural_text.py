"""What the natural voices read: no letter, digit or symbol is left out in silence, and no call is long."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.previewing import card, segment
from worker.engine.preview.natural.pieces import MAX_CHARS, pieces
from worker.engine.preview.natural.readable import EnglishText, japanese_text, romaji
from worker.engine.preview.natural.samples import shortened


@pytest.fixture(scope="module")
def phonemes() -> Iterator[object]:
    """hibari's front-end behind ours, as the voice's process has them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "scipy", None)
        from hibari.g2p import G2P

        g2p = G2P()
        words = g2p.lexicon
        text = EnglishText(
            set(g2p.oov.cin),
            g2p.oov.maxlen,
            lambda word: word.lower() in words.golds or word.lower() in words.silvers,
            {"太郎": "タロウ"}.get,
        )
        yield lambda written: g2p(text.readable(written))


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("21.5 °C", "twenty one point five degrees celsius"),
        ("70%", "seventy percent"),
        ("$5", "five dollars"),
        ("€3.50", "three euros and fifty cents"),
        ("Dr. Smith", "doctor smith"),
        ("at 3:45 PM", "at three forty five P M"),
        ("the U.S.", "the U S"),
        ("R&D", "R and D"),
        ("a@b.com", "a at b dot com"),
        ("version 2.0.1", "version two point zero point one"),
        ("4 × 5 ≈ 20", "four times five about twenty"),
        ("x ≠ y", "x is not equal to y"),
        ("10⁻³", "ten to the power of minus three"),
        ("1e-5", "one times ten to the power of minus five"),
        ("√2", "the square root of two"),
        ("π and α", "pie and alpha"),
        ("１２３", "one hundred twenty three"),
        ("№ 5", "number five"),
    ],
)
def test_symbols_are_read_as_words(phonemes, written: str, spoken: str) -> None:  # type: ignore[no-untyped-def]
    def plain(text: str) -> str:
        return re.sub(r"[^a-zA-Zæɑɔəɛɜɪʊʌðŋɡɹʃʒʤʧθᵊᵻɐ]", "", phonemes(text))

    def consonants(text: str) -> str:  # vowels are weak or strong by their place
        return re.sub("[aeiouAIOWYQæɑɔəɛɜɪʊʌᵊᵻɐT]", "", plain(text)).replace("jj", "j")

    assert consonants(written)[:40] == consonants(spoken)[:40] or plain(written) == plain(spoken)


OTHERS = ("Привет", "makima まきま", "太郎", "東京", "한국", "नमस्ते", "مرحبا", "Łódź", "∑", "☃", "‰")


@pytest.mark.parametrize("word", OTHERS)
def test_other_scripts_and_signs_are_not_left_out(phonemes, word: str) -> None:  # type: ignore[no-untyped-def]
    without, with_it = phonemes("I like and you."), phonemes(f"I like {word} and you.")
    assert len(with_it) >= len(without) + 3


def test_kanji_are_read_in_japanese_where_that_can_be_and_else_in_chinese(phonemes) -> None:  # type: ignore[no-untyped-def]
    assert phonemes("太郎") == phonemes("tarou")
    assert phonemes("東京") == phonemes("DongJing")


@pytest.mark.parametrize("digits", ["1" * 40, "1,234,567,890,123,456,789,012", "9" * 400 + ".5"])
def test_a_number_of_any_length_is_read(phonemes, digits: str) -> None:  # type: ignore[no-untyped-def]
    n_digits = sum(map(str.isdigit, digits))
    assert len(phonemes(digits).split()) >= n_digits - 1


def test_a_word_longer_than_hibari_reads_is_read_to_its_end(phonemes) -> None:  # type: ignore[no-untyped-def]
    assert len(phonemes("bab" * 40)) > 3 * len(phonemes("bab" * 8))


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("Makima", "mɑkˈimə"),
        ("Makima's", "mɑkˈiməs"),
        ("ryouri", "ɹjˈOɹi"),
        ("りょうりが", "ɹjOɹˈiɡə"),
        ("banana", "bənˈænə"),
    ],
)
def test_japanese_words_in_latin_letters_are_read_in_japanese(phonemes, written: str, spoken: str) -> None:  # type: ignore[no-untyped-def]
    assert phonemes(written).replace("ˌ", "") == spoken


def test_kana_become_romaji() -> None:
    assert [romaji(kana) for kana in ("りょうり", "しゃしん", "がっこう", "まきま", "ラーメン")] == [
        "ryouri", "shashin", "gakkou", "makima", "ramen",
    ]  # fmt: skip


def test_japanese_text_keeps_what_open_jtalk_would_skip() -> None:
    assert japanese_text("Привет と ㎏ & ５％") == "Privet と kg アンド 5パーセント"


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("ab1 .,;!?\n。、漢かな\ud800\x00…"), max_size=1200))
def test_no_piece_is_long_and_none_loses_a_letter(text: str) -> None:
    for language in ("English", "Japanese"):
        found = pieces(segment(text, language))
        assert all(len(piece.text) <= MAX_CHARS for piece in found)
        assert [c for piece in found for c in piece.text if c.isalnum()] == [c for c in text if c.isalnum()]


def test_the_pauses_of_the_card_follow_sentences_and_clauses_and_none_the_last() -> None:
    found = pieces(segment("Yes. One thing, and then another one that is quite long, friend. No!"))
    assert [pause_ms for _, pause_ms in found] == [300, 300, 0]
    first, *_ = pieces(segment("When all of this has come to its end, we go home together."))
    assert (first.text, first.pause_ms) == ("When all of this has come to its end,", card().pauses.clause_ms)


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("The old library stayed open very late because we had asked.", "The old library stayed open very late"),
        ("When it had rained for three whole days, the river rose.", "When it had rained for three whole days,"),
        ("Short and sweet.", "Short and sweet."),
        ("昨日の夜は風が強くて、なかなか眠れませんでした。", "昨日の夜は風が強くて、なかなか眠れませんでした。"),
        ("昨日の夜は風が強くて、なかなか眠れなかったので、今朝はいつもより遅く起きました。", "昨日の夜は風が強くて、"),
        ("はい、そうです。", "はい、そうです。"),
    ],
)
def test_a_long_first_sentence_begins_with_a_short_piece(text: str, first: str) -> None:
    language = "English" if text.isascii() else "Japanese"
    found = pieces(segment(text, language))
    assert found[0].text == first
    assert "".join(piece.text for piece in found).replace(" ", "") == text.replace(" ", "")


def test_a_long_silence_between_sounds_is_shortened_in_its_middle() -> None:
    rate_hz = 1000
    loud, soft = np.full(50, 0.5, np.float32), np.linspace(0.0005, 0.001, 600, dtype=np.float32)
    out = shortened(np.concatenate([loud, soft, loud]), 0.25, rate_hz)
    assert len(out) == 50 + 250 + 50
    assert np.array_equal(out[50:175], soft[:125])
    assert np.array_equal(out[175:300], soft[-125:])
    assert np.array_equal(shortened(loud, 0.25, rate_hz), loud)
