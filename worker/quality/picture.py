"""The picture of an utterance: its waveform above its spectrogram, segments' borders and the first audible sound."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from worker.audio.edges import first_audible
from worker.quality.png import GLYPH_HEIGHT, Canvas, encode_png, label_width, write_label

WIDTH, HEIGHT = 1200, 420
LEFT, RIGHT, TOP, BOTTOM = 92, 28, 34, 40  # margins, for labels
WAVE_HEIGHT, GAP = 120, 12
WINDOW = 768  # samples of one spectrum: 32 ms at 24 kHz show syllables and the harmonics of most voices
FLOOR_DB = 75.0  # below the loudest
TICKS_S = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)

N_SHADES = 240
_SHADES = ("0b0e16", "1d1a4e", "5b1f78", "a32c6e", "e0503f", "f7a03c", "fdf6c8")
_COLORS = {"background": "12161f", "panel": "0b0e16", "wave": "74aefc", "axis": "4a5364", "text": "b4bdca",
           "border": "f4c95d", "onset": "ff5c5c"}  # fmt: skip
BACKGROUND, PANEL, WAVE, AXIS, TEXT, BORDER, ONSET = range(N_SHADES, N_SHADES + len(_COLORS))
_SPECTRUM_TOP = TOP + WAVE_HEIGHT + GAP
_SPECTRUM_HEIGHT = HEIGHT - BOTTOM - _SPECTRUM_TOP

Pcm = NDArray[np.float32]


def picture(pcm: Pcm, rate_hz: int, seams: Sequence[int] = (), span_s: float = 0.0) -> bytes:
    """A PNG of WIDTH x HEIGHT. pcm: float32 [n]. seams: samples at which later segments begin.

    span_s: the time that the width stands for, at least the utterance's; pictures with one span can be compared.
    """
    canvas: Canvas = np.full((HEIGHT, WIDTH), BACKGROUND, np.uint8)
    span_s = max(span_s, pcm.size / rate_hz, 0.1)
    per_s = (WIDTH - LEFT - RIGHT) / span_s
    canvas[TOP : HEIGHT - BOTTOM, LEFT : WIDTH - RIGHT] = PANEL
    canvas[TOP + WAVE_HEIGHT : _SPECTRUM_TOP] = BACKGROUND
    n_columns = round(pcm.size / rate_hz * per_s)
    if n_columns:
        _draw_wave(canvas[TOP : TOP + WAVE_HEIGHT, LEFT : LEFT + n_columns], pcm)
        shades = _spectrogram(pcm, rate_hz, n_columns, _SPECTRUM_HEIGHT)
        canvas[_SPECTRUM_TOP : HEIGHT - BOTTOM, LEFT : LEFT + n_columns] = shades
    _draw_axes(canvas, rate_hz, span_s, per_s)
    for seam in seams:
        _mark(canvas, LEFT + round(seam / rate_hz * per_s), BORDER, dash=8)
    if (onset := first_audible(pcm)) is not None:
        x = LEFT + round(onset / rate_hz * per_s)
        _mark(canvas, x, ONSET, dash=0)
        write_label(canvas, f"{onset * 1000 / rate_hz:.0f} ms", x, TOP - 2 * GLYPH_HEIGHT - 6, ONSET)
    return encode_png(canvas, _palette())


def _draw_wave(panel: Canvas, pcm: Pcm) -> None:
    """Each column from the lowest to the highest of its samples, full scale from edge to edge."""
    height, width = panel.shape
    edges = np.linspace(0, pcm.size, width + 1).astype(int)
    starts = np.minimum(edges[:-1], pcm.size - 1)
    lows, highs = np.minimum.reduceat(pcm, starts), np.maximum.reduceat(pcm, starts)
    rows = np.arange(height)[:, None]
    middle = (height - 1) / 2
    inside = (rows >= np.floor(middle * (1 - highs.clip(-1, 1)))) & (rows <= np.ceil(middle * (1 - lows.clip(-1, 1))))
    panel[inside] = WAVE


def _spectrogram(pcm: Pcm, rate_hz: int, width: int, height: int) -> Canvas:
    """Shades [height, width], 0 Hz at the bottom and half the rate at the top."""
    window = WINDOW * rate_hz // 24_000
    padded = np.pad(pcm, window // 2)
    starts = np.linspace(0, pcm.size - 1, width).astype(int)
    frames = sliding_window_view(padded, window)[starts] * np.hanning(window)
    power = np.square(np.abs(np.fft.rfft(frames, n=2 * window))).T
    edges = np.linspace(0, power.shape[0] - 1, height + 1).astype(int)
    rows = np.maximum.reduceat(power, edges[:-1])
    decibels = 10 * np.log10(rows / max(rows.max(), 1e-12) + 1e-12)
    shades: Canvas = ((1 + decibels / FLOOR_DB).clip(0, 1) ** 0.8 * (N_SHADES - 1)).astype(np.uint8)
    return shades[::-1]


def _draw_axes(canvas: Canvas, rate_hz: int, span_s: float, per_s: float) -> None:
    tick_s = next((tick for tick in TICKS_S if tick * per_s > 90), TICKS_S[-1])
    for n in range(int(span_s / tick_s + 1e-6) + 1):
        x = LEFT + round(n * tick_s * per_s)
        canvas[HEIGHT - BOTTOM : HEIGHT - BOTTOM + 6, min(x, WIDTH - 1)] = AXIS
        label = f"{n * tick_s:g} s"
        at = min(x - label_width(label) // 2, WIDTH - label_width(label))
        write_label(canvas, label, at, HEIGHT - BOTTOM + 12, TEXT)
    nyquist_khz = rate_hz / 2000
    for khz in range(0, int(nyquist_khz) + 1, 4 if nyquist_khz > 6 else 2):
        y = HEIGHT - BOTTOM - round(khz / nyquist_khz * _SPECTRUM_HEIGHT)
        canvas[min(y, HEIGHT - BOTTOM - 1), LEFT - 6 : LEFT] = AXIS
        label = f"{khz} kHz"
        write_label(canvas, label, LEFT - 10 - label_width(label) + 2, y - GLYPH_HEIGHT, TEXT)
    canvas[TOP + WAVE_HEIGHT // 2, LEFT - 6 : LEFT] = AXIS


def _mark(canvas: Canvas, x: int, color: int, dash: int) -> None:
    """A vertical line over both panels; dash: its period in pixels, 0 for a whole line."""
    rows = np.arange(TOP, HEIGHT - BOTTOM)
    rows = rows[(rows // dash) % 2 == 0] if dash else rows
    canvas[rows[:, None], np.arange(x, min(x + 2, WIDTH))] = color


def _palette() -> bytes:
    anchors = np.array([tuple(bytes.fromhex(shade)) for shade in _SHADES], float)
    at = np.linspace(0, len(anchors) - 1, N_SHADES)
    shades = np.stack([np.interp(at, np.arange(len(anchors)), anchors[:, n]) for n in range(3)], axis=1)
    return shades.astype(np.uint8).tobytes() + bytes.fromhex("".join(_COLORS.values()))
