"""The language that the script of a text decides, for a job that names none and for "Auto"."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.text.language import language_of, language_of_auto
from worker.voices.card import LANGUAGES

NO_CARD: tuple[str, ...] = ()


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Hello, I am Makima.", "English"),
        ("Grüß Gott, schönes Wetter heute!", "English"),
        ("Ça va très bien, merci.", "English"),
        ("¿Qué tal, señor?", "English"),
        ("Tudo bem? Não há de quê.", "English"),
        ("Perché no? È così.", "English"),
        ("Καλημέρα", "English"),
        ("12:30", "English"),
        ("", "English"),
        ("Привет, как дела?", "Russian"),
        ("안녕하세요. 마키마입니다.", "Korean"),
        ("こんにちは。", "Japanese"),
        ("ラーメン", "Japanese"),
        ("人々の前で話す", "Japanese"),
        ("你好，世界！", "Chinese"),
    ],
)
def test_one_script_alone_decides(text: str, language: str) -> None:
    assert language_of(text, NO_CARD) == language


@pytest.mark.parametrize(
    ("languages", "language"),
    [
        (("English",), "Chinese"),
        (("Chinese", "Japanese"), "Chinese"),
        (("English", "Japanese", "Chinese"), "Japanese"),
        (("Japanese",), "Japanese"),
    ],
)
def test_han_alone_is_the_cards_first_of_chinese_and_japanese(languages: tuple[str, ...], language: str) -> None:
    assert language_of("東京", languages) == language
    assert language_of("東京です", languages) == "Japanese"
    assert language_of("Tokyo", languages) == "English"


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("今日はMakimaと話した", "Japanese"),
        ("PythonとRust", "Japanese"),
        ("MakimaさんとDenji", "Japanese"),
        ("iPhone 15 Pro Maxを買った", "Japanese"),
        ("Pull Request を main に merge してください", "Japanese"),
        ("Hello World!と表示される", "Japanese"),
        ("OK、Google Mapsで Shinjuku Stationを検索して", "Japanese"),
        ("“Hi, Makima!”と言った", "Japanese"),
        ("Python과 Rust를 비교", "Korean"),
        ("iPhone 15 Pro Max를 샀다", "Korean"),
        ("我爱 Python", "Chinese"),
        ("Привет, Makima!", "Russian"),
        ("I live in 東京.", "English"),
        ("I live in とうきょう.", "English"),
        ("The word ありがとう means thank you.", "English"),
        ("She said こんにちは and then さようなら.", "English"),
        ("We had お好み焼き and たこ焼き in Osaka.", "English"),
        ("The particle は marks the topic.", "English"),
        ("I bought a new Tシャツ in the shop.", "English"),
        ("My friend's name is Иван.", "English"),
        ("Say 안녕 to your sister.", "English"),
    ],
)
def test_the_script_with_the_most_words_decides(text: str, language: str) -> None:
    assert language_of(text, NO_CARD) == language
    assert language_of_auto(text, NO_CARD) == language


@pytest.mark.parametrize(
    ("text", "languages", "language"),
    [
        ("ｱｲｽ 100 OK", (), "Japanese"),
        ("東京", ("English", "Japanese", "Chinese"), "Japanese"),
        ("Grüß Gott", ("Japanese", "German", "English"), "German"),
        ("Hello", ("Japanese", "Korean"), "English"),
        ("Ω", (), "English"),
        ("12:30 …", ("Japanese",), "Japanese"),
        ("", (), "English"),
    ],
)
def test_for_auto_the_card_decides_about_latin_letters(text: str, languages: tuple[str, ...], language: str) -> None:
    assert language_of_auto(text, languages) == language


@given(st.text(), st.lists(st.sampled_from(LANGUAGES), unique=True))
def test_any_text_has_a_language(text: str, languages: list[str]) -> None:
    assert language_of(text, languages) in ("Chinese", "English", "Japanese", "Korean", "Russian")
    assert language_of_auto(text, languages) in LANGUAGES
