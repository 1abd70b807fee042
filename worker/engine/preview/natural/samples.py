"""From a call's samples to ones that join without a click: level, edges and pauses. Runs in a voice's process."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_AUDIBLE = 0.003  # -50 dBFS
_BEFORE_S, _AFTER_S = 0.02, 0.04  # kept of the silence at either end: a breath, a decay
_FADE_S = 0.005
_KNEE = 0.8  # peaks above bend, so that nothing clips


def levelled(samples: NDArray[np.floating], gain: float) -> NDArray[np.float32]:
    """Samples in -1..1 times `gain`, with peaks bent below full scale."""
    louder = samples.astype(np.float32) * np.float32(gain)
    size = np.abs(louder)
    bent = _KNEE + (1 - _KNEE) * np.tanh((size - _KNEE) / (1 - _KNEE))
    return np.where(size > _KNEE, np.copysign(bent, louder), louder).astype(np.float32)


def trimmed(samples: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:
    """The samples without the silence at their ends, faded in and out; empty when all is silence."""
    audible = np.flatnonzero(np.abs(samples) > _AUDIBLE)
    if not audible.size:
        return samples[:0]
    start = max(0, int(audible[0]) - round(_BEFORE_S * rate_hz))
    kept = samples[start : int(audible[-1]) + 1 + round(_AFTER_S * rate_hz)].copy()
    n_faded = min(round(_FADE_S * rate_hz), len(kept) // 2)
    ramp = np.linspace(0.0, 1.0, n_faded, dtype=np.float32)
    kept[:n_faded] *= ramp
    kept[len(kept) - n_faded :] *= ramp[::-1]
    return kept


def shortened(samples: NDArray[np.float32], most_s: float, rate_hz: int) -> NDArray[np.float32]:
    """The samples with every silence between sounds cut to at most `most_s`; the cut lies in its middle."""
    audible = np.flatnonzero(np.abs(samples) > _AUDIBLE)
    most = round(most_s * rate_hz)
    kept, at = [], 0
    for index in np.flatnonzero(np.diff(audible) > most):
        kept.append(samples[at : int(audible[index]) + 1 + most // 2])
        at = int(audible[index + 1]) - (most - most // 2)
    return np.concatenate([*kept, samples[at:]])


def with_pause(samples: NDArray[np.float32], pause_ms: int, rate_hz: int) -> bytes:
    """int16 samples, followed by silence; the silence that `trimmed` kept at the ends counts as part of the pause."""
    kept_s = _BEFORE_S + _AFTER_S
    n_silent = max(0, round((pause_ms / 1000 - kept_s) * rate_hz))
    whole = np.pad(samples, (0, n_silent if len(samples) else 0))
    return np.rint(whole * 32767).astype("<i2").tobytes()
