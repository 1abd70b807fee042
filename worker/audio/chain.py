"""The way of an utterance's audio: fades at seams, leading silence off, resampling, encoding.

Law: the bytes, put together, are a function of the samples of each segment, never of how they were cut into
calls to `feed`. So a worker that takes an utterance over replays it through a fresh chain, drops the samples
that were delivered, and goes on with the exact next one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from worker.audio import AudioError
from worker.audio.edges import MAX_TRIM_MS, NOTHING, Fader, LeadingTrim, OnsetMeter
from worker.audio.encode import encoder
from worker.audio.resample import ENGINE_RATE_HZ, Resampler


class Chain:
    """One utterance's audio, from float32 at 24 kHz to encoded bytes at the job's rate.

    Call `begin_segment`, `feed` and `end_segment` for each segment, then `flush` once; what each returns, in
    order, is the utterance. The last 5 ms of a segment come
    with `end_segment`, the resampler's last 15 ms
    with `flush`. Raises AudioError for a rate, an encoding or samples that cannot be used, RuntimeError for
    calls out of order.
    """

    __slots__ = (
        "_encoder",
        "_fader",
        "_flushed",
        "_in_segment",
        "_resampler",
        "_trim",
        "_watch",
        "sample_rate",
    )

    def __init__(self, sample_rate: int, encoding: str, max_trim_ms: int = MAX_TRIM_MS) -> None:
        self.sample_rate = sample_rate
        self._resampler = Resampler(sample_rate)
        self._encoder = encoder(encoding)
        self._trim = LeadingTrim(max_trim_ms)
        self._fader = Fader()
        self._watch = OnsetMeter()
        self._in_segment = False
        self._flushed = False

    @property
    def n_samples(self) -> int:
        """Samples given so far, at the job's rate."""
        return self._watch.n_samples

    @property
    def audible_at(self) -> int | None:
        """Index, among the samples given, of the first audible one; None as long as there is none."""
        return self._watch.audible_at

    @property
    def leading_silence_ms(self) -> float:
        """Silence a listener hears before the first audible sample; all of it as long as there is none."""
        at = self._watch.audible_at
        return (self._watch.n_samples if at is None else at) * 1000 / self.sample_rate

    @property
    def trimmed_ms(self) -> float:
        """Leading silence that was dropped, and is not in `leading_silence_ms`."""
        return self._trim.n_dropped * 1000 / ENGINE_RATE_HZ

    def begin_segment(self) -> None:
        """Begin a segment; its start is faded in."""
        if self._in_segment or self._flushed:
            raise RuntimeError("begin_segment: end the open segment first, and nothing follows flush")
        self._in_segment = True

    def feed(self, pcm: NDArray[np.float32]) -> bytes:
        """Take the segment's next samples and give the bytes that are certain. pcm: float32 [n], finite."""
        self._check(pcm)
        return self._give(self._fader.feed(pcm))

    def end_segment(self, pcm: NDArray[np.float32] = NOTHING) -> bytes:
        """Take the segment's last samples, end it and give all of it that is left. pcm: as `feed` takes it."""
        self._check(pcm)
        self._in_segment = False
        return self._give(self._fader.end(pcm))

    def flush(self) -> bytes:
        """End the utterance and give what is still held back. Safe to call twice."""
        if self._in_segment:
            raise RuntimeError("flush: call end_segment first")
        if self._flushed:
            return b""
        self._flushed = True
        rest = self._encode(self._resampler.process(self._trim.flush())) + self._encode(self._resampler.flush())
        return rest + self._encoder.flush()

    def _check(self, pcm: NDArray[np.float32]) -> None:
        if not self._in_segment:
            raise RuntimeError("no segment is open: call begin_segment first")
        if pcm.dtype != np.float32 or pcm.ndim != 1:
            raise AudioError(f"the engine gave {pcm.dtype} {list(pcm.shape)}; the chain takes float32 [n]")
        if not np.isfinite(pcm).all():
            raise AudioError("the engine gave samples that are not finite; the attempt cannot be used")

    def _give(self, pcm: NDArray[np.float32]) -> bytes:
        return self._encode(self._resampler.process(self._trim.feed(pcm)))

    def _encode(self, pcm: NDArray[np.float32]) -> bytes:
        if not pcm.size:
            return b""
        self._watch.see(pcm)
        return self._encoder.encode(pcm)
