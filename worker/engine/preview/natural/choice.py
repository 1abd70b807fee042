"""The natural voices as one synthesiser: hibari speaks English, Open JTalk Japanese, espeak-ng the other languages."""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
from typing import Any

from worker.engine.base import EngineError, Segment, VoiceUnavailable
from worker.engine.preview.espeak import Espeak
from worker.engine.preview.natural.forked import ForkedVoice
from worker.engine.preview.natural.pieces import pieces
from worker.engine.preview.synthesiser import SampleStream
from worker.text.language import language_of_auto
from worker.voices.card import Card

RATE_WPM = 175  # a card's rate at which the voices speak as they were trained
HIBARI_SPEEDS = (0.7, 1.2)  # outside them words blur
OPEN_JTALK_SPEEDS = (0.5, 2.0)
_SEMITONES = 0.12  # for each step of a card's pitch, whose middle is 50
_KANJI = re.compile("[々〆一-鿿㐀-䶿豈-﫿\U00020000-\U0003ffff]")
_WITH_JAPANESE = "pip install 'makima-tts[preview-ja]'"
_REINSTALL = "pip install --force-reinstall 'makima-tts[{}]', or set MAKIMA_TTS_PREVIEW_VOICES=espeak-ng"


class Natural:
    """A Synthesiser. Each natural voice has a process that is started at the warm-up or when it is first needed.

    Japanese without the extra `preview-ja` is left to espeak-ng, which reads kana and no kanji.
    """

    name = "natural"
    packages = (
        *("espeakng-loader", "hibari-tts", "onnxruntime", "numpy", "anyascii"),
        *("pyopenjtalk-plus", "sudachipy", "sudachidict-core"),
    )

    def __init__(self) -> None:
        self._espeak = Espeak()
        self._hibari = ForkedVoice("english", "hibari", 24_000, _REINSTALL.format("preview"))
        self._open_jtalk = ForkedVoice("japanese", "pyopenjtalk", 48_000, _REINSTALL.format("preview-ja"))

    def model(self, segment: Segment) -> str:
        """The voice that speaks a segment: "hibari", "openjtalk" or "espeak-ng"."""
        match _language(segment):
            case "English":
                return "hibari"
            case "Japanese" if self._has(self._open_jtalk):
                return "openjtalk"
            case _:
                return self._espeak.model(segment)

    def check(self, voice: Card, language: str) -> None:
        """Return when this language of a card can be spoken. Raises VoiceUnavailable, EngineError."""
        if language == "English":
            self._check_hibari()
        elif language != "Japanese" or not self._has(self._open_jtalk):
            self._espeak.check(voice, language)

    def check_installed(self) -> None:
        """Return when the packages are there. Raises EngineError."""
        self._check_hibari()
        self._espeak.check_installed()

    def _check_hibari(self) -> None:
        if os.name != "posix":
            raise EngineError("the preview engine needs a POSIX system", "use Linux, macOS or WSL")
        if not self._has(self._hibari):
            raise EngineError("hibari-tts is not installed", "pip install 'makima-tts[preview]'")

    def warm_up(self, languages: set[str]) -> None:
        """Start the processes that speak these languages."""
        if "English" in languages:
            self._hibari.start()
        if "Japanese" in languages and self._has(self._open_jtalk):
            self._open_jtalk.start()

    def wait_until_ready(self) -> None:
        """Wait until the processes that were started can begin a text at once."""
        self._hibari.wait_until_ready()
        self._open_jtalk.wait_until_ready()

    def begin(self, segment: Segment) -> SampleStream:
        """Begin a segment. Raises VoiceUnavailable, EngineError."""
        language, rate = _language(segment), segment.voice.preview.rate_wpm / RATE_WPM
        request: dict[str, Any] = {"pieces": pieces(segment)}
        if language == "English":
            self._check_hibari()
            return self._hibari.speak(request | {"speed": _within(rate, HIBARI_SPEEDS)})
        if language == "Japanese" and self._has(self._open_jtalk):
            half_tone = (segment.voice.preview.pitch - 50) * _SEMITONES
            return self._open_jtalk.speak(request | {"speed": _within(rate, OPEN_JTALK_SPEEDS), "half_tone": half_tone})
        if language == "Japanese" and _KANJI.search(segment.text):
            raise VoiceUnavailable("the preview engine cannot read kanji without Open JTalk", _WITH_JAPANESE)
        return self._espeak.begin(segment)

    def _has(self, voice: ForkedVoice) -> bool:
        return find_spec(voice.package) is not None

    def close(self) -> None:
        """End the processes. Safe to call twice."""
        self._hibari.close()
        self._open_jtalk.close()


def _language(segment: Segment) -> str:
    if segment.language != "Auto":
        return segment.language
    return language_of_auto(segment.text, segment.voice.languages)


def _within(rate: float, speeds: tuple[float, float]) -> float:
    return min(max(rate, speeds[0]), speeds[1])
