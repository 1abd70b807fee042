"""The guess whether a recording is speech: every kind of speech passes, and noise, tones, music and clicks do not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

from tests.recordings import babble
from worker.voices.speechlike import sounds_like_speech

RATE = 24_000
Pcm = NDArray[np.float32]
REFERENCE: Pcm = soundfile.read(Path(__file__).parents[1] / "voices/placeholder/reference.wav", dtype="float32")[0]
RECORDED = REFERENCE[: REFERENCE.size // RATE * RATE]  # whole seconds: their Fourier transform is fast
N = RECORDED.size
TIME_S = np.arange(N) / RATE


def noise(power_falls_as: float = 0, level: float = 1) -> Pcm:
    """Noise whose power falls as this power of the frequency."""
    spectrum = np.fft.rfft(np.random.default_rng(7).normal(size=N))
    shaped = np.fft.irfft(spectrum / np.maximum(np.arange(spectrum.size), 1) ** (power_falls_as / 2), N)
    return np.asarray(level * shaped / shaped.std(), dtype=np.float32)


def tone(hz: float, n_harmonics: int = 1) -> Pcm:
    waves = sum(np.sin(2 * np.pi * hz * n * TIME_S) / n for n in range(1, n_harmonics + 1))
    return np.asarray(0.2 * waves, dtype=np.float32)


def notes(n_harmonics: int, each_s: float) -> Pcm:
    """Notes, one after the other, each of which decays."""
    turn = (TIME_S / each_s).astype(int)
    played = sum(tone(hz, n_harmonics) * (turn % 4 == n) for n, hz in enumerate((262, 330, 392, 294)))
    return np.asarray(played * np.exp(-(TIME_S % each_s) / 0.4), dtype=np.float32)


def bursts(a_second: float, decay_s: float, floor: float = 0) -> Pcm:
    """Decaying noise so often. floor: of the noise below."""
    return noise() * np.asarray(0.2 * np.exp(-(TIME_S % (1 / a_second)) / decay_s) + floor, dtype=np.float32)


def only(low_hz: float, high_hz: float, sound: Pcm) -> Pcm:
    spectrum = np.fft.rfft(sound)
    hz = np.fft.rfftfreq(N, 1 / RATE)
    return np.asarray(np.fft.irfft(np.where((hz >= low_hz) & (hz <= high_hz), spectrum, 0), N), dtype=np.float32)


def whispered(sound: Pcm) -> Pcm:
    """The spectrum's envelope over time, on noise."""
    length, hop = 1024, 256
    window = np.hanning(length)
    out, excitation = np.zeros(N), noise()
    for at in range(0, N - length, hop):
        size = np.abs(np.fft.rfft(sound[at : at + length] * window))
        smooth = np.convolve(size, np.ones(15) / 15, "same")
        out[at : at + length] += np.fft.irfft(np.fft.rfft(excitation[at : at + length] * window) * smooth) * window
    return np.asarray(0.3 * out / np.abs(out).max(), dtype=np.float32)


LEVEL = float(RECORDED.std())
SPOKEN: dict[str, Callable[[], Pcm]] = {
    "recorded": lambda: RECORDED,
    "babble": babble,
    "noise 10 dB below": lambda: RECORDED + noise() * LEVEL * 10**-0.5,
    "rumble 10 dB below": lambda: RECORDED + noise(2) * LEVEL * 10**-0.5,
    "music 10 dB below": lambda: RECORDED + notes(6, 0.5) / notes(6, 0.5).std() * LEVEL * 10**-0.5,
    "over a telephone": lambda: only(300, 3400, RECORDED),
    "over a noisy telephone": lambda: only(300, 3400, RECORDED + noise() * LEVEL * 10**-0.75),
    "whispered": lambda: whispered(RECORDED),
    "higher": lambda: soxr.resample(RECORDED, 1.4 * RATE, RATE),
    "deeper": lambda: soxr.resample(RECORDED, 0.7 * RATE, RATE),
    "hum 10 dB below": lambda: RECORDED + tone(50, 8) / tone(50, 8).std() * LEVEL * 10**-0.5,
    "clipped": lambda: np.clip(RECORDED * 8, -0.5, 0.5),
    "short": lambda: RECORDED[: 3 * RATE],
    "long pauses": lambda: np.concatenate(
        (np.zeros(2 * RATE, dtype=np.float32), RECORDED, np.zeros(RATE, dtype=np.float32))
    ),
}
OTHER: dict[str, Callable[[], Pcm]] = {
    **{f"noise falling as {power}": partial(noise, power, 0.1) for power in (-1, 0, 1, 2)},
    **{f"tone of {hz} Hz": partial(tone, hz) for hz in (50, 300, 1000, 3000, 6000)},
    "hum": lambda: tone(50, 20),
    "chord": lambda: tone(220, 6) + tone(277, 6) + tone(330, 6),
    "notes": lambda: notes(1, 0.4),
    "notes of an instrument": lambda: notes(8, 0.25),
    "siren": lambda: np.asarray(
        0.3 * np.sin(2 * np.pi * 800 * TIME_S + 600 * np.sin(np.pi * TIME_S)), dtype=np.float32
    ),
    "beeps": lambda: tone(1000) * (TIME_S % 1 < 0.3).astype(np.float32),
    "pulsing noise": lambda: 0.1 * noise() * (1 + np.sin(8 * np.pi * TIME_S)).astype(np.float32),
    **{f"{n} clicks a second": partial(bursts, n, 0.001) for n in (2, 10, 30)},
    **{f"{n} pops a second": partial(bursts, n, 0.01, 0.0005) for n in (2, 10, 30)},
    "silence with pops": partial(bursts, 0.7, 0.02, 0.0003),
}


@pytest.mark.parametrize("kind", SPOKEN)
def test_speech_sounds_like_speech(kind: str) -> None:
    assert sounds_like_speech(SPOKEN[kind](), RATE)


@pytest.mark.parametrize("kind", OTHER)
def test_what_is_no_speech_does_not(kind: str) -> None:
    assert not sounds_like_speech(OTHER[kind](), RATE)


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100, 48_000])
def test_the_rate_makes_no_difference(rate: int) -> None:
    for sound, expected in ((RECORDED, True), (0.1 * noise(), False), (tone(440), False)):
        assert sounds_like_speech(soxr.resample(sound, RATE, rate), rate) is expected
