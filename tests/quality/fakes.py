"""Judges without models, and speech-like sound with known silences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from worker.quality.judges import Judges
from worker.quality.mos import Cleanness

Pcm = NDArray[np.float32]
RATE_HZ = 24_000


class FakeRecogniser:
    """Recognises the words that `words` gives for each piece of speech, in order."""

    def __init__(self, words: Callable[[int], str]) -> None:
        self._words, self.n = words, 0

    def transcribe(self, pcm: Pcm, language: str) -> str:
        self.n += 1
        return self._words(self.n - 1)


class FakeScores:
    """Every score the same, and an embedding that depends on the sound's loudness."""

    def score(self, pcm: Pcm) -> Any:
        return 4.0

    def embedding(self, pcm: Pcm) -> Pcm:
        angle = float(np.abs(pcm).mean())
        return np.array([np.cos(angle), np.sin(angle)], np.float32)


class FakeCleanness:
    def score(self, pcm: Pcm) -> Cleanness:
        return Cleanness(4.0, 3.9, 3.8)


def fake_judges(words: Callable[[int], str]) -> Judges:
    return Judges(*cast(Any, (FakeRecogniser(words), FakeScores(), FakeCleanness(), FakeScores())))


def vowels(seconds: float = 1.0, pitch_hz: float = 140.0, peak: float = 0.5) -> Pcm:
    """A voiced sound: harmonics of a gliding pitch, lower ones louder. float32 [n] at 24 kHz."""
    time_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    phase = 2 * np.pi * np.cumsum(pitch_hz * (1 + 0.1 * np.sin(2 * np.pi * 1.7 * time_s))) / RATE_HZ
    sound = sum(np.sin(n * phase + n) / n**1.3 for n in range(1, 25))
    loud: Pcm = (peak * sound / np.abs(sound).max()).astype(np.float32)
    return loud


def with_pause(pause_ms: float, before_ms: float = 0.0, after_ms: float = 0.0) -> Pcm:
    """Two faded vowels with silence between, before and after them."""
    ramp = np.linspace(0, 1, 240, dtype=np.float32)
    sound = vowels(0.5)
    sound[:240] *= ramp
    sound[-240:] *= ramp[::-1]
    parts = (_silence(before_ms), sound, _silence(pause_ms), sound, _silence(after_ms))
    return np.concatenate(parts)


def _silence(ms: float) -> Pcm:
    return np.zeros(int(ms * RATE_HZ / 1000), np.float32)
