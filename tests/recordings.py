"""Voices and recordings for the tests, made in a folder of their own."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from worker.voices.card import load_card
from worker.voices.registry import Registry

TRANSCRIPT = "これはためしに読んだ、少し長い文です。"
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
    """Write a recording of noise, and give its digest."""
    noise = np.random.default_rng(1).uniform(-peak, peak, (int(seconds * rate), channels))
    noise[:1] = peak
    soundfile.write(file, noise, rate, subtype="PCM_16")
    return hashlib.sha256(file.read_bytes()).hexdigest()


def replace_recording(
    voice: Path, samples: NDArray[np.floating[Any]], rate: int = 24000, subtype: str = "PCM_16"
) -> None:
    """Put another recording into a voice, and its digest into the card. samples: [n] or [n, channels]."""
    soundfile.write(voice / "reference.wav", samples, rate, format="WAV", subtype=subtype)
    set_digest(voice, hashlib.sha256((voice / "reference.wav").read_bytes()).hexdigest())


def babble(seconds: float = 6.0, rate: int = 24000, peak: float = 0.5) -> NDArray[np.float32]:
    """Sound of syllables: four bursts a second of a tone and noise. float32 [n]."""
    time_s = np.arange(int(seconds * rate)) / rate
    burst = np.clip(np.sin(2 * np.pi * 4 * time_s) + 0.8, 0, 1)
    noise = np.random.default_rng(2).uniform(-0.3, 0.3, time_s.size)
    sound = burst * (0.6 * np.sin(2 * np.pi * 180 * time_s) + noise)
    loud: NDArray[np.float32] = (sound * peak / np.abs(sound).max()).astype(np.float32)
    return loud


def set_digest(voice: Path, digest: str) -> None:
    card = voice / "voice.toml"
    old = load_card(voice).reference_sha256
    assert old is not None
    card.write_text(card.read_text(encoding="utf-8").replace(old, digest), encoding="utf-8")


def problem(folder: Path, name: str = "alice") -> str:
    return Registry.load(folder).problems[name]
