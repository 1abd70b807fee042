"""Voices and recordings for the tests, made in a folder of their own."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from worker.voices.card import load_card
from worker.voices.registry import Registry

TRANSCRIPT = "これはためしに読んだ、少し長い文です。間の取り方も確かめます。"
CARD = f"""\
name = "{{name}}"
languages = ["Japanese"]
reference = "reference.wav"
transcript = "{TRANSCRIPT}"
licence = "ours"
consent = "given"
"""


def make_voice(folder: Path, name: str = "alice", extra: str = "", seconds: float = 6.0, rate: int = 24000) -> Path:
    """Write a voice that is ready, and give its folder."""
    voice = folder / name
    voice.mkdir(parents=True)
    digest = record(voice / "reference.wav", seconds, rate)
    text = CARD.format(name=name) + f'reference_sha256 = "{digest}"\n' + extra
    (voice / "voice.toml").write_text(text, encoding="utf-8")
    return voice


def record(file: Path, seconds: float = 6.0, rate: int = 24000, peak: float = 0.5, channels: int = 1) -> str:
    """Write a recording of inverted babble, another one than babble's own, and give its digest."""
    sound = -babble(seconds, rate, peak) if seconds else np.zeros(0, np.float32)
    soundfile.write(file, np.stack([sound] * channels, axis=1), rate, subtype="PCM_16")
    return hashlib.sha256(file.read_bytes()).hexdigest()


def replace_recording(
    voice: Path, samples: NDArray[np.floating[Any]], rate: int = 24000, subtype: str = "PCM_16"
) -> None:
    """Put another recording into a voice, and its digest into the card. samples: [n] or [n, channels]."""
    soundfile.write(voice / "reference.wav", samples, rate, format="WAV", subtype=subtype)
    set_digest(voice, hashlib.sha256((voice / "reference.wav").read_bytes()).hexdigest())


def babble(seconds: float = 6.0, rate: int = 24000, peak: float = 0.5) -> NDArray[np.float32]:
    """Sound like speech: four syllables a second, each a burst of noise and a vowel of a gliding pitch. float32 [n]."""
    return _babble(seconds, rate) * np.float32(peak)


@cache
def _babble(seconds: float, rate: int) -> NDArray[np.float32]:
    time_s = np.arange(int(seconds * rate), dtype=np.float32) / rate
    syllable, within = np.divmod(time_s * 4, 1)
    formants = np.array(((750, 1250), (300, 2300), (350, 1200), (550, 1900), (500, 900)), dtype=np.float32)
    vowel = formants[(syllable * 3 % 5).astype(int)]
    pitch_hz = 170 + 30 * np.sin(2 * np.pi * 0.7 * time_s)
    phase = 2 * np.pi * np.cumsum(pitch_hz, dtype=np.float64) / rate
    voiced = sum(
        np.sin(n * phase) * (1 / (1 + ((n * pitch_hz[:, None] - vowel) / 120) ** 2)).sum(axis=1) for n in range(1, 15)
    )
    noise = np.diff(np.random.default_rng(2).uniform(-1, 1, time_s.size + 1))
    sound = np.where(within < 0.3, 0.4 * noise, voiced * np.clip(np.sin(np.pi * (within - 0.3) / 0.7) * 2, 0, 1))
    loud: NDArray[np.float32] = (sound / np.abs(sound).max()).astype(np.float32)
    return loud


def set_digest(voice: Path, digest: str) -> None:
    card = voice / "voice.toml"
    old = load_card(voice).reference_sha256
    assert old is not None
    card.write_text(card.read_text(encoding="utf-8").replace(old, digest), encoding="utf-8")


def problem(folder: Path, name: str = "alice") -> str:
    return Registry.load(folder).problems[name]
