"""From a synthesiser's samples to the engine's frames."""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray

from worker.engine.base import FRAME_SAMPLES, SAMPLE_RATE_HZ


class FrameCutter:
    """int16 samples at `rate_hz` in, in pieces of any size; whole frames at 24 kHz out.

    soxr is fed one frame's worth at a time, so the frames never depend on how the samples were cut. Audio
    that is silent to its end gives no frame; the last frame is filled up with zeros.
    """

    def __init__(self, rate_hz: int) -> None:
        self._resampler = soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32", quality="HQ")
        self._block_bytes = 2 * (rate_hz * FRAME_SAMPLES // SAMPLE_RATE_HZ)  # one frame's worth
        self._received = bytearray()
        self._resampled = np.zeros(0, dtype=np.float32)
        self._is_audible = False
        self._is_flushed = False

    def feed(self, pcm: bytes) -> None:
        """Take any number of bytes of int16 samples."""
        self._received += pcm
        self._is_audible = self._is_audible or any(pcm)

    def take(self, n_frames: int, *, is_end: bool) -> NDArray[np.float32]:
        """At most `n_frames` frames, float32 [n * 1920] in -1..1. is_end: no more will be fed."""
        while self._is_audible and len(self._resampled) < n_frames * FRAME_SAMPLES and self._resample(is_end):
            pass
        n_samples = min(n_frames, len(self._resampled) // FRAME_SAMPLES) * FRAME_SAMPLES
        frames, self._resampled = self._resampled[:n_samples], self._resampled[n_samples:]
        return frames

    def _resample(self, is_end: bool) -> bool:
        """Resample one more block; False when there is none."""
        is_last = is_end and len(self._received) < self._block_bytes
        if self._is_flushed or (len(self._received) < self._block_bytes and not is_last):
            return False
        block = np.frombuffer(bytes(self._received[: self._block_bytes]), dtype=np.int16).astype(np.float32)
        del self._received[: self._block_bytes]
        resampled = self._resampler.resample_chunk(block / 32768.0, last=is_last).clip(-1.0, 1.0)
        self._resampled = np.concatenate([self._resampled, resampled])
        if is_last:
            self._is_flushed = True
            self._resampled = np.pad(self._resampled, (0, -len(self._resampled) % FRAME_SAMPLES))
        return True
