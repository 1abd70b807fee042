"""espeak-ng's samples: the same ones for a text in any process, and nothing in a text is a command."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY
from worker.engine.base import VoiceUnavailable
from worker.engine.preview.espeak import Espeak, EspeakStream, Request
from worker.engine.preview.synthesiser import wait_for_samples

TEXTS = {
    "en": "Hello there, 12 apples cost $3.50!",
    "en-us+f3": "A breathy variant draws noise.",
    "ja": "こんにちは、マキマです。",
    "cmn": "你好,我是玛奇玛。",
    "ko": "안녕하세요.",
    "ru": "Привет, меня зовут Макима.",
    "de": "Grüß Gott, schöne Straße.",
    "fr": "Bonjour, ça va ?",
    "es": "¿Qué tal, señor?",
    "it": "Ciao, come stai?",
    "pt": "Olá, tudo bem?",
}


@pytest.fixture(scope="module")
def espeak() -> Espeak:
    return Espeak()


def samples_of(*streams: EspeakStream) -> list[bytes]:
    """Read these to their end, all at once, and close them."""
    spoken = [bytearray() for _ in streams]
    try:
        while not all(stream.ended for stream in streams):
            wait_for_samples([stream for stream in streams if not stream.ended], 1.0)
            for i, stream in enumerate(streams):
                spoken[i] += stream.read()
    finally:
        for stream in streams:
            stream.close()
    return [bytes(samples) for samples in spoken]


def say(espeak: Espeak, text: str, voice: str = "en") -> bytes:
    return samples_of(espeak.speak(Request(text, voice)))[0]


def test_every_language_sounds_the_same_in_any_order_and_at_once() -> None:
    first, second = Espeak(), Espeak()
    one_by_one = {voice: say(first, text, voice) for voice, text in TEXTS.items()}
    backwards = {voice: say(first, TEXTS[voice], voice) for voice in reversed(TEXTS)}
    streams = [second.speak(Request(text, voice)) for voice, text in TEXTS.items()]
    at_once = dict(zip(TEXTS, samples_of(*streams), strict=True))
    assert all(len(samples) > 2000 and any(samples) for samples in one_by_one.values())
    assert one_by_one == backwards == at_once


def test_a_text_sounds_the_same_beside_itself_and_after_others(espeak: Espeak) -> None:
    for voice in ("en", "en-us+f3"):
        alone = say(espeak, TEXTS[voice], voice)
        assert set(samples_of(*(espeak.speak(Request(TEXTS[voice], voice)) for _ in range(8)))) == {alone}


def test_a_text_sounds_the_same_in_another_interpreter(espeak: Espeak) -> None:
    program = (
        "import hashlib\nfrom tests.test_espeak import *\n"
        "print(hashlib.sha256(say(Espeak(), TEXTS['ja'], 'ja')).hexdigest())"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONHASHSEED": "1", "LANG": "C", "HOME": "/"},
    )
    assert printed.stdout.strip() == hashlib.sha256(say(espeak, TEXTS["ja"], "ja")).hexdigest()


def test_rate_and_pitch_are_heard(espeak: Espeak) -> None:
    text = "One two three four five six."
    usual, fast, high = samples_of(
        espeak.speak(Request(text, "en")),
        espeak.speak(Request(text, "en", rate_wpm=350)),
        espeak.speak(Request(text, "en", pitch=90)),
    )
    assert len(fast) < 0.7 * len(usual)
    assert high != usual


def test_a_nul_does_not_cut_the_text(espeak: Espeak) -> None:
    assert say(espeak, "Hello\0there") == say(espeak, "Hello there")


def test_control_characters_are_not_obeyed_as_commands(espeak: Espeak) -> None:
    assert say(espeak, "\x0199P Hello") == say(espeak, " 99P Hello")


def test_markup_is_spoken_and_not_obeyed(espeak: Espeak) -> None:
    slowed = say(espeak, '<prosody rate="x-slow">Hello</prosody>')
    silenced = say(espeak, "<!-- Hello there -->")
    assert len(slowed) > len(say(espeak, "prosody rate x slow hello"))
    assert len(silenced) > 0.8 * len(say(espeak, "Hello there"))


def test_a_half_surrogate_does_no_harm(espeak: Espeak) -> None:
    assert any(say(espeak, "Hello \ud800 there"))


@pytest.mark.parametrize("voice", ["xx", "tlh-none", "en+zzz", "en+", "en+../../lang/gmw/en"])
def test_a_voice_that_is_not_installed_is_refused_by_name(espeak: Espeak, voice: str) -> None:
    with pytest.raises(VoiceUnavailable) as refused:
        say(espeak, "Hello", voice)
    assert repr(voice) in str(refused.value)
    assert any(say(espeak, "Hello"))


def test_a_voice_name_may_hold_anything(espeak: Espeak) -> None:
    for voice in ("", "--help", "ü\udcff", "a b", "en\0"):
        with pytest.raises(VoiceUnavailable):
            say(espeak, "Hello", voice)


def test_a_text_larger_than_a_pipe_is_taken_whole(espeak: Espeak) -> None:
    stream = espeak.speak(Request("word " * 40_000, "en"))
    assert wait_for_first(stream)
    stream.close()


def wait_for_first(stream: EspeakStream) -> bytes:
    while not (data := stream.read()) and not stream.ended:
        wait_for_samples([stream], 1.0)
    return data
