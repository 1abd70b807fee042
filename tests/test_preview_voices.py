"""Which voice the preview engine speaks with: by the language, the text's script and the card."""

from __future__ import annotations

import math

import pytest

from tests.previewing import Make, card, segment, speak
from worker.engine.base import Finish, VoiceUnavailable
from worker.voices.card import LANGUAGES, Preview


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_of_the_contract_is_spoken(make_preview: Make, language: str) -> None:
    assert speak(make_preview(), segment("1, 2, 3.", language)).n_frames > 3


def test_auto_finds_the_language_by_the_script(make_preview: Make) -> None:
    engine = make_preview()
    voice = card(("Japanese", "English"))
    found = speak(engine, segment("Привет, как дела?", "Auto", voice))
    named = speak(engine, segment("Привет, как дела?", "Russian", voice))
    assert found.audio.tobytes() == named.audio.tobytes()


def test_the_card_sets_voice_rate_and_pitch(make_preview: Make) -> None:
    engine = make_preview()
    usual = speak(engine, segment()).audio
    fast = speak(engine, segment(voice=card(preview=Preview(rate_wpm=350)))).audio
    high = speak(engine, segment(voice=card(preview=Preview(pitch=90)))).audio
    other = speak(engine, segment(voice=card(preview=Preview(espeak_voices={"English": "en-us+f3"})))).audio
    assert len(fast) < 0.7 * len(usual)
    assert len({usual.tobytes(), fast.tobytes(), high.tobytes(), other.tobytes()}) == 4


def test_a_voice_espeak_lacks_is_refused_and_keeps_no_slot(make_preview: Make) -> None:
    engine = make_preview(1)
    odd = card(("English", "German"), Preview(espeak_voices={"English": "tlh-none"}))
    refused = speak(engine, segment(voice=odd)).error
    assert isinstance(refused, VoiceUnavailable)
    assert "tlh-none" in str(refused)
    with pytest.raises(VoiceUnavailable, match="Klingon"):
        engine.open(segment(language="Klingon"))
    assert speak(engine, segment("Guten Tag", "German", odd)).finish is Finish.STOP


def test_a_card_is_refused_when_none_of_its_languages_can_be_spoken(make_preview: Make) -> None:
    engine = make_preview()
    unspeakable = Preview(espeak_voices={"English": "tlh-none"})
    engine.check(card(("English", "German"), unspeakable))
    with pytest.raises(VoiceUnavailable, match="tlh-none"):
        engine.check(card(("English",), unspeakable))


def test_warming_up_leaves_out_what_cannot_be_spoken(make_preview: Make) -> None:
    engine = make_preview(1)
    engine.warm_up([card(preview=Preview(espeak_voices={"English": "tlh-none"})), card(("German",))])
    engine.warm_up([])
    assert engine.wait_s() == math.inf
    assert speak(engine, segment()).finish is Finish.STOP
