"""The frame budget: above what honest speech takes, and bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.text import frame_budget

FRAME_S = 0.08
LANGUAGES = ["English", "Japanese", "Chinese", "Korean", "German", "Russian", "Auto"]
languages = st.sampled_from(LANGUAGES)


@pytest.mark.slow
@given(st.text(max_size=300), st.text(max_size=50), languages)
def test_more_text_never_has_a_smaller_budget(text: str, more: str, language: str) -> None:
    assert frame_budget(text + more, language) >= frame_budget(text, language)


@given(st.text(max_size=300), languages)
def test_a_budget_is_at_least_six_seconds_and_bounded_by_the_text(text: str, language: str) -> None:
    budget_s = frame_budget(text, language) * FRAME_S
    assert 6.0 <= budget_s <= 6.1 + 1.5 * len(text)


@given(st.text(max_size=300), languages)
def test_auto_takes_the_slowest_language(text: str, language: str) -> None:
    assert frame_budget(text, "Auto") >= frame_budget(text, language)


@pytest.mark.parametrize(
    ("text", "language", "slow_speech_s"),
    [
        ("The quick brown fox jumps over the lazy dog near the river.", "English", 6.0),
        ("777,777,777,777", "English", 12.0),
        ("WWW WWW WWW WWW", "English", 8.0),
        ("承り候、志を貫く。", "Japanese", 6.0),
        ("東京特許許可局", "Japanese", 7.0),
        ("Makima WWW ABC", "Japanese", 6.0),
        ("Donaudampfschifffahrtsgesellschaft fährt ab.", "German", 6.0),
        ("안녕하세요 저는 로봇입니다.", "Korean", 4.0),
        ("你好，我是机器人。", "Chinese", 4.0),
        ("привет мир, как твои дела сегодня", "Russian", 5.0),
        ("100% ∞ ≠ ½ Ⅷ ÄÖÜ —", "Auto", 12.0),
    ],
)
def test_slow_speech_fits_its_budget(text: str, language: str, slow_speech_s: float) -> None:
    assert frame_budget(text, language) * FRAME_S > slow_speech_s


def test_a_runaway_sentence_is_stopped_within_seconds() -> None:
    assert frame_budget("Hello.", "English") * FRAME_S < 7
    assert frame_budget("こんにちは、マキマです。", "Japanese") * FRAME_S < 9
