"""Faults and silences that the samples themselves show, without a model.

A *click* is a step or impulse that stands out of the curvature around it. A *hole* is digital silence that cuts loud
sound off, as a lost piece of audio leaves it; speech decays before a pause, and the audio chain fades it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from worker.audio.edges import AUDIBLE, first_audible

Pcm = NDArray[np.float32]

PAUSE_BLOCK_MS = 5
SEAM_MS = 20  # a fault this near to a segment's border counts as one of the seam

# Measured on espeak-ng, hibari and Open JTalk: clean speech has ratios of at most 4.4, an impulse of 0.3 of full scale
# within loud speech 5 and more in three of four places, in quieter ones always.
_CLICK_RATIO = 5.0
_CLICK_LEVEL = 0.02
_CURVE = 4  # order of the difference; a higher one stands out more, and rounding more too
_CLICK_FAR = 120  # samples compared on each side

# A pause of the same engines begins with a sample of at most 0.006, a cut in loud speech with 0.03 and more.
_HOLE_MS = 2.0
_HOLE_LEVEL = 1e-4  # of full scale, -80 dBFS
_CUT_LEVEL = 0.015
_EDGE_MS = 3.0
_EDGE_RMS = 0.02


@dataclass(frozen=True, slots=True)
class SampleReport:
    """Silences in ms, and the samples at which faults begin. longest_pause_ms: between first and last sound."""

    sound_s: float
    leading_ms: float
    trailing_ms: float
    longest_pause_ms: float
    peak: float
    clicks: tuple[int, ...]
    holes: tuple[int, ...]
    at_seams: tuple[int, ...]


def examine(pcm: Pcm, rate_hz: int, seams: Sequence[int] = ()) -> SampleReport:
    """Measure silences and find faults. pcm: float32 [n]. seams: the samples at which later segments begin."""
    clicks, holes = find_clicks(pcm), find_holes(pcm, rate_hz)
    near = SEAM_MS * rate_hz / 1000
    at_seams = tuple(at for at in (*clicks, *holes) if any(abs(at - seam) <= near for seam in seams))
    ms = 1000 / rate_hz
    first = first_audible(pcm)
    if first is None:
        return SampleReport(0.0, pcm.size * ms, 0.0, 0.0, _peak(pcm), clicks, holes, at_seams)
    last = pcm.size - (first_audible(pcm[::-1]) or 0)
    return SampleReport(
        sound_s=(last - first) / rate_hz,
        leading_ms=first * ms,
        trailing_ms=(pcm.size - last) * ms,
        longest_pause_ms=longest_pause_ms(pcm[first:last], rate_hz),
        peak=_peak(pcm),
        clicks=clicks,
        holes=holes,
        at_seams=at_seams,
    )


def longest_pause_ms(pcm: Pcm, rate_hz: int) -> float:
    """The longest run of blocks of 5 ms without an audible sample. pcm: float32 [n]."""
    block = rate_hz * PAUSE_BLOCK_MS // 1000
    blocks = np.abs(pcm[: pcm.size // block * block]).reshape(-1, block)
    runs = _runs(blocks.max(axis=1, initial=0) <= AUDIBLE)
    return float(max((end - start for start, end in runs), default=0) * PAUSE_BLOCK_MS)


def find_clicks(pcm: Pcm) -> tuple[int, ...]:
    """Samples whose curvature is several times that of all samples around them. pcm: float32 [n]."""
    if pcm.size <= _CURVE:
        return ()
    curve = np.abs(np.diff(pcm.astype(np.float64), _CURVE)) / 2 ** (_CURVE - 2)
    padded = np.pad(curve, _CLICK_FAR)
    beside = sliding_window_view(padded, _CLICK_FAR - _CURVE).max(axis=1)
    around = np.maximum(beside[: curve.size], beside[_CLICK_FAR + _CURVE + 1 :][: curve.size])
    found: list[int] = []
    for at in np.flatnonzero((curve > _CLICK_LEVEL) & (curve > _CLICK_RATIO * around)):
        if not found or at - found[-1] > _CLICK_FAR:
            found.append(int(at) + _CURVE // 2)
    return tuple(found)


def find_holes(pcm: Pcm, rate_hz: int) -> tuple[int, ...]:
    """First samples of the holes. pcm: float32 [n]."""
    shortest, edge = int(_HOLE_MS * rate_hz / 1000), int(_EDGE_MS * rate_hz / 1000)
    return tuple(
        start
        for start, end in _runs(np.abs(pcm) <= _HOLE_LEVEL)
        if end - start >= shortest
        and start > 0
        and end < pcm.size
        and abs(float(pcm[start - 1])) > _CUT_LEVEL
        and _rms(pcm[max(0, start - edge) : start]) > _EDGE_RMS
    )


def _runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """(start, end) of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(np.int8)))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


def _rms(pcm: Pcm) -> float:
    return float(np.sqrt(np.square(pcm, dtype=np.float64).mean())) if pcm.size else 0.0


def _peak(pcm: Pcm) -> float:
    return float(np.abs(pcm).max(initial=0.0))
