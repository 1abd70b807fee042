"""The audio chain of an utterance: fades at seams, leading silence trimmed, resampling, encoding.

Invariant: the concatenated bytes depend on the samples of each segment, never on how they were cut into calls to
`feed`. A worker that takes an utterance over therefore replays it through a new chain, drops the samples that were
delivered, and continues with the exact next one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from worker.audio import AudioError
from worker.audio.edges import MAX_TRIM_MS, NOTHING, Fader, LeadingTrim, OnsetMeter
from worker.audio.encode import encoder
from worker.audio.resample import ENGINE_RATE_HZ, Resampler


class Chain:
    """Turns float32 samples at 24 kHz into encoded bytes at the job's rate.

    Call `begin_segment`, `feed` and `end_segment` for each segment, then `flush` once. Their results in order are
    the utterance. `end_segment` returns the last 5 ms of a segment, `flush` the resampler's last 15 ms.
    Raises AudioError for a rate, an encoding or samples that cannot be used, RuntimeError for calls out of order.
    """

    __slots__ = (
        "_encoder",
        "_fader",
        "_flushed",
        "_in_segment",
        "_onset",
        "_resampler",
        "_trim",
        "sample_rate",
    )

    def __init__(self, sample_rate: int, encoding: str, max_trim_ms: int = MAX_TRIM_MS) -> None:
        self.sample_rate = sample_rate
        self._resampler = Resampler(sample_rate)
        self._encoder = encoder(encoding)
        self._trim = LeadingTrim(max_trim_ms)
        self._fader = Fader()
        self._onset = OnsetMeter()
        self._in_segment = False
        self._flushed = False

    @property
    def n_samples(self) -> int:
        """Samples returned so far, at the job's rate."""
        return self._onset.n_samples

    @property
    def audible_at(self) -> int | None:
        """Index of the first audible sample among those returned; None while there is none."""
        return self._onset.audible_at

    @property
    def leading_silence_ms(self) -> float:
        """Silence before the first audible sample; all samples while none is audible."""
        at = self._onset.audible_at
        return (self._onset.n_samples if at is None else at) * 1000 / self.sample_rate

    @property
    def trimmed_ms(self) -> float:
        """Leading silence that was dropped; `leading_silence_ms` does not count it."""
        return self._trim.n_dropped * 1000 / ENGINE_RATE_HZ

    def begin_segment(self) -> None:
        """Begin a segment and fade it in."""
        if self._in_segment or self._flushed:
            raise RuntimeError(
                "a segment is open, or the utterance was flushed; call end_segment first, or make a new chain"
            )
        self._in_segment = True

    def feed(self, pcm: NDArray[np.float32]) -> bytes:
        """Add the segment's next samples; return the bytes that are final. pcm: float32 [n], finite."""
        self._check(pcm)
        return self._trimmed(self._fader.feed(pcm))

    def end_segment(self, pcm: NDArray[np.float32] = NOTHING) -> bytes:
        """Add the segment's last samples and end it; return the rest of it. pcm: float32 [n], finite."""
        self._check(pcm)
        self._in_segment = False
        return self._trimmed(self._fader.end(pcm))

    def flush(self) -> bytes:
        """End the utterance; return the bytes still held back. Safe to call twice."""
        if self._in_segment:
            raise RuntimeError("a segment is open; call end_segment first")
        if self._flushed:
            return b""
        self._flushed = True
        rest = self._encode(self._resampler.process(self._trim.flush())) + self._encode(self._resampler.flush())
        return rest + self._encoder.flush()

    def _check(self, pcm: NDArray[np.float32]) -> None:
        if not self._in_segment:
            raise RuntimeError("no segment is open; call begin_segment first")
        if pcm.dtype != np.float32 or pcm.ndim != 1:
            raise AudioError(f"the engine returned {pcm.dtype} {list(pcm.shape)}", "return float32 [n]")
        if not np.isfinite(pcm).all():
            raise AudioError("the engine returned samples that are not finite", "try the job again")

    def _trimmed(self, pcm: NDArray[np.float32]) -> bytes:
        return self._encode(self._resampler.process(self._trim.feed(pcm)))

    def _encode(self, pcm: NDArray[np.float32]) -> bytes:
        if not pcm.size:
            return b""
        self._onset.add(pcm)
        return self._encoder.encode(pcm)
