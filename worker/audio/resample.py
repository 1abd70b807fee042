"""A stateful resampler per utterance, from the engine's 24 kHz to the job's rate.

soxr's stream returns the same bits however its input is cut; a test checks that for every rate. It looks up to 20 ms
ahead and works in blocks, so `flush` returns an utterance's last samples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from schemas.jobs import SAMPLE_RATES
from worker.audio import AudioError
from worker.audio.edges import NOTHING

if TYPE_CHECKING:
    from soxr import ResampleStream

ENGINE_RATE_HZ = 24_000


class Resampler:
    """24 kHz in, `rate_hz` out. At 24 kHz samples pass unchanged and soxr is not loaded.

    Raises AudioError for a rate that is not in SAMPLE_RATES.
    """

    __slots__ = ("_stream",)

    def __init__(self, rate_hz: int) -> None:
        if rate_hz not in SAMPLE_RATES:
            raise AudioError(f"sample rate {rate_hz} Hz is not offered", f"use one of {SAMPLE_RATES}")
        self._stream = None if rate_hz == ENGINE_RATE_HZ else _stream(rate_hz)

    def process(self, pcm: NDArray[np.float32]) -> NDArray[np.float32]:
        """Add the next samples; return those that are final. pcm: float32 [n]."""
        if self._stream is None or not pcm.size:
            return pcm
        return np.asarray(self._stream.resample_chunk(pcm), dtype=np.float32)

    def flush(self) -> NDArray[np.float32]:
        """End the stream; return its last samples. `process` must not follow."""
        if self._stream is None:
            return NOTHING
        return np.asarray(self._stream.resample_chunk(NOTHING, last=True), dtype=np.float32)


def _stream(rate_hz: int) -> ResampleStream:
    import soxr

    return soxr.ResampleStream(ENGINE_RATE_HZ, rate_hz, 1, dtype="float32", quality="HQ")
