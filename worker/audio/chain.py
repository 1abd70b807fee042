"""The audio chain of an utterance: silence trimmed, pauses between segments, fades, resampling, encoding.

Invariant: the concatenated bytes depend on the samples of each segment, never on how they were cut into calls to
`feed`. A worker that takes an utterance over therefore replays it through a new chain, drops the samples that were
delivered, and continues with the exact next one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from worker.audio import AudioError
from worker.audio.edges import (
    LAST_SILENCE_MS,
    MAX_TRIM_MS,
    NOTHING,
    PREROLL_MS,
    Fader,
    LeadingTrim,
    OnsetMeter,
    TrailingSilence,
)
from worker.audio.encode import encoder
from worker.audio.resample import Resampler


class Chain:
    """Turns float32 samples at 24 kHz into encoded bytes at the job's rate.

    Call `begin_segment`, `feed` and `end_segment` for each segment, then `flush` once. Their results in order are
    the utterance. Between the sounds of two segments lies the pause that `begin_segment` was given, whatever silence
    the segments have at their edges. `end_segment` returns the last 5 ms of a segment and the rest of that pause,
    `flush` the resampler's last 15 ms.
    Raises AudioError for a rate, an encoding or samples that cannot be used, RuntimeError for calls out of order.
    """

    __slots__ = (
        "_encoder",
        "_fader",
        "_flushed",
        "_in_segment",
        "_is_decided",
        "_leading",
        "_max_trim_ms",
        "_onset",
        "_pause_ms",
        "_resampler",
        "_trailing",
        "sample_rate",
    )

    def __init__(self, sample_rate: int, encoding: str, max_trim_ms: int = MAX_TRIM_MS) -> None:
        self.sample_rate = sample_rate
        self._resampler = Resampler(sample_rate)
        self._encoder = encoder(encoding)
        self._max_trim_ms = max_trim_ms
        self._leading = LeadingTrim(max_trim_ms)
        self._trailing = TrailingSilence(max_trim_ms)
        self._pause_ms: int | None = None
        self._is_decided = True
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

    def begin_segment(self, pause_ms: int | None = None, *, is_decided: bool = True) -> None:
        """Begin a segment. pause_ms: the silence after it; None for the last, whose silence is cut to 200 ms.

        is_decided: False where the silence is not known yet; `decide` gives it before the segment's end.
        """
        if self._in_segment or self._flushed:
            raise RuntimeError(
                "a segment is open, or the utterance was flushed; call end_segment first, or make a new chain"
            )
        self._in_segment = True
        self._leading = LeadingTrim(self._max_trim_ms)
        self._is_decided = is_decided
        if is_decided:
            self.decide(pause_ms)
        else:
            self._trailing.begin(0)

    def decide(self, pause_ms: int | None) -> None:
        """Set the silence after the open segment; None for the last."""
        self._is_decided = True
        self._pause_ms = None if pause_ms is None else max(pause_ms - PREROLL_MS, 0)
        self._trailing.begin(LAST_SILENCE_MS if self._pause_ms is None else self._pause_ms)

    def feed(self, pcm: NDArray[np.float32]) -> bytes:
        """Add the segment's next samples; return the bytes that are final. pcm: float32 [n], finite."""
        self._check(pcm)
        return self._encode(self._fader.feed(self._trimmed(pcm)))

    def end_segment(self, pcm: NDArray[np.float32] = NOTHING) -> bytes:
        """Add the segment's last samples and end it; return the rest of it. pcm: float32 [n], finite."""
        self._check(pcm)
        if not self._is_decided:
            raise RuntimeError("the silence after the segment is not known; call decide first")
        self._in_segment = False
        rest = np.concatenate((self._trimmed(pcm), self._trailing.feed(self._leading.flush())))
        data = self._encode(self._fader.end(rest))
        return data + self._encode(self._trailing.end(self._pause_ms or 0))

    def flush(self) -> bytes:
        """End the utterance; return the bytes still held back. Safe to call twice."""
        if self._in_segment:
            raise RuntimeError("a segment is open; call end_segment first")
        if self._flushed:
            return b""
        self._flushed = True
        return self._encoded(self._resampler.flush()) + self._encoder.flush()

    def _check(self, pcm: NDArray[np.float32]) -> None:
        if not self._in_segment:
            raise RuntimeError("no segment is open; call begin_segment first")
        if pcm.dtype != np.float32 or pcm.ndim != 1:
            raise AudioError(f"the engine returned {pcm.dtype} {list(pcm.shape)}", "return float32 [n]")
        if not np.isfinite(pcm).all():
            raise AudioError("the engine returned samples that are not finite", "try the job again")

    def _trimmed(self, pcm: NDArray[np.float32]) -> NDArray[np.float32]:
        return self._trailing.feed(self._leading.feed(pcm))

    def _encode(self, pcm: NDArray[np.float32]) -> bytes:
        return self._encoded(self._resampler.process(pcm))

    def _encoded(self, pcm: NDArray[np.float32]) -> bytes:
        if not pcm.size:
            return b""
        self._onset.add(pcm)
        return self._encoder.encode(pcm)
