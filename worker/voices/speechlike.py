"""Whether a recording has the properties that any speech has. A guess: it is reported, and refuses nothing.

Speech moves its energy between frequency bands several times a second, fills many bands at once, and its sounds last.
This holds for whispering, singing, a telephone's band and noise 10 dB below the speech; it does not for steady or
pulsing noise, tones, hum, chords, instruments and clicks. The limits lie between what was measured for 309
spoken and 57 other recordings; the nearest spoken one's figure is beside each.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_RATE_HZ = 8000
_WINDOW, _HOP = 256, 80  # 32 ms, 10 ms
_BAND_EDGES_HZ = (120, 3700)
_N_BANDS = 18
_SMOOTH = 5  # frames: shorter changes are a noise's own
_MIN_FRAMES = 30

_MIN_SPREAD_DB = 2.5  # of a band's share in the energy, over time (3.6: speech with noise 5 dB below it)
_MIN_CHANGE_DB = 2.2  # of a band's share within 100 ms (2.7: slow singing)
_MIN_FILLED = 0.3  # of the bands are within 25 dB of the loudest one (0.45)
_MIN_LASTING = 0.5  # of the sound is in stretches of at least 80 ms (0.76)
_MAX_STEADY = 0.98  # likeness of a spectrum's lines 60 ms apart: 1 for held notes (0.96: singing without vibrato)

Frames = NDArray[np.float32]


def sounds_like_speech(audio: NDArray[np.float32], rate_hz: int) -> bool:
    """Whether no property of the recording rules speech out. audio: float32 [n]."""
    power = _power(audio, rate_hz)
    bands = _bands(power)
    energy = bands.sum(axis=1)
    floor = max(energy.max() * 10**-3.5, min(np.percentile(energy, 5) * 4, energy.max() * 0.04))
    sound = energy >= floor
    if sound.sum() < _MIN_FRAMES:
        return False
    level_db = _smoothed(10 * np.log10(bands + energy.max() * 10**-5.5))
    edge = _SMOOTH // 2
    sound, power = sound[edge:-edge], power[edge:-edge]
    shape_db = level_db - level_db.mean(axis=1, keepdims=True)
    return bool(
        shape_db[sound].std(axis=0).mean() >= _MIN_SPREAD_DB
        and _mean(np.abs(shape_db[10:] - shape_db[:-10]).mean(axis=1), sound[10:] & sound[:-10]) >= _MIN_CHANGE_DB
        and (level_db[sound] >= level_db[sound].max(axis=1, keepdims=True) - 25).mean() >= _MIN_FILLED
        and _lasting(sound) >= _MIN_LASTING
        and _steadiness(power, sound) <= _MAX_STEADY
    )


def _power(audio: NDArray[np.float32], rate_hz: int) -> Frames:
    """The power spectrum of every frame below 4 kHz. [frames, bins]"""
    import soxr

    centred = audio - audio.mean()
    speech = centred if rate_hz == _RATE_HZ else soxr.resample(centred, rate_hz, _RATE_HZ, quality="HQ")
    frames = np.lib.stride_tricks.sliding_window_view(speech, _WINDOW)[::_HOP]
    power: Frames = np.abs(np.fft.rfft(frames * np.hanning(_WINDOW).astype(np.float32), axis=1)) ** 2
    return power.astype(np.float32)


def _bands(power: Frames) -> Frames:
    """Energy in bands of equal width on the mel scale. [frames, bands]"""
    low, high = (2595 * np.log10(1 + edge / 700) for edge in _BAND_EDGES_HZ)
    edges_hz = 700 * (10 ** (np.linspace(low, high, _N_BANDS + 1) / 2595) - 1)
    edges = np.unique(np.round(edges_hz * _WINDOW / _RATE_HZ).astype(int))
    bands: Frames = np.add.reduceat(power[:, : edges[-1]], edges[:-1], axis=1)
    return bands


def _smoothed(rows: Frames) -> Frames:
    """The mean of every _SMOOTH rows that follow one another."""
    means: Frames = np.lib.stride_tricks.sliding_window_view(rows, _SMOOTH, axis=0).mean(axis=-1)
    return means


def _mean(values: Frames, where: NDArray[np.bool_]) -> float:
    return float(values[where].mean()) if where.any() else 0.0


def _lasting(sound: NDArray[np.bool_]) -> float:
    """The share of the sound that is in stretches of at least 80 ms."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], sound, [False]))))
    lengths = edges[1::2] - edges[::2]
    return float(lengths[lengths >= 8].sum() / max(1, lengths.sum()))


def _steadiness(power: Frames, sound: NDArray[np.bool_]) -> float:
    """The median likeness (cosine) of the fine structure of two spectra 60 ms apart."""
    level = np.log(power + power.max() * 1e-6)[:, 4:112]
    around = np.lib.stride_tricks.sliding_window_view(np.pad(level, ((0, 0), (7, 7))), 15, axis=1).mean(axis=-1)
    lines = level - around
    lines /= np.linalg.norm(lines, axis=1, keepdims=True) + 1e-9
    both = sound[6:] & sound[:-6]
    return float(np.median((lines[6:] * lines[:-6]).sum(axis=1)[both])) if both.any() else 1.0
