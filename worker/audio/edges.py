"""The edges of segments: less silence before and after speech, a pause between two segments, short fades, the onset.

All work at 24 kHz. Invariant: the concatenated output depends on the input and on where segments end,
never on how the input was cut into calls.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SAMPLES_PER_MS = 24
FADE_SAMPLES = 120  # 5 ms: too short to hear, long enough that a step between two segments does not click
BLOCK_SAMPLES = 240  # 10 ms: leading silence is dropped in whole blocks
PREROLL_BLOCKS = 2  # 20 ms before the block of the onset are kept: breath and the soft start of a consonant
PREROLL_MS = PREROLL_BLOCKS * BLOCK_SAMPLES // SAMPLES_PER_MS
AUDIBLE = 0.005  # of full scale, -46 dBFS: above the hiss of a codec's silence, below the softest onset of speech
_LOOK = 480  # samples searched first: audible input is mostly audible there
MAX_TRIM_MS = 800  # users of the model report 125 to 740 ms of leading silence
LAST_SILENCE_MS = 200  # after an utterance's last sound
_LEAST_SILENCE_MS = 20  # after a segment's last sound: a word's soft end

NOTHING: NDArray[np.float32] = np.zeros(0, dtype=np.float32)
NOTHING.flags.writeable = False


def first_audible(pcm: NDArray[np.float32]) -> int | None:
    """Return the index of the first sample above AUDIBLE, or None. pcm: float32 [n]."""
    for start, part in ((0, pcm[:_LOOK]), (_LOOK, pcm[_LOOK:])):
        if part.size:
            loud = np.abs(part) > AUDIBLE
            index = int(loud.argmax())
            if loud[index]:
                return start + index
    return None


def last_audible(pcm: NDArray[np.float32]) -> int | None:
    """Return the index of the last sample above AUDIBLE, or None. pcm: float32 [n]."""
    index = first_audible(pcm[::-1])
    return None if index is None else pcm.size - 1 - index


class OnsetMeter:
    """Counts samples and keeps the index of the first audible one."""

    __slots__ = ("audible_at", "n_samples")

    def __init__(self) -> None:
        self.n_samples = 0
        self.audible_at: int | None = None

    def add(self, pcm: NDArray[np.float32]) -> None:
        """Count the next samples. pcm: float32 [n]."""
        if self.audible_at is None:
            index = first_audible(pcm)
            if index is not None:
                self.audible_at = self.n_samples + index
        self.n_samples += pcm.size


def _raised_cosine(n: int) -> NDArray[np.float32]:
    ramp: NDArray[np.float32] = (0.5 - 0.5 * np.cos(np.pi * (np.arange(n) + 0.5) / n)).astype(np.float32)
    ramp.flags.writeable = False
    return ramp


_RISE = _raised_cosine(FADE_SAMPLES)
_FALL = _RISE[::-1]


class Fader:
    """Fades every segment in over its first 5 ms and out over its last 5 ms.

    It holds the last 5 ms back until the segment ends. A segment shorter than both fades gets both.
    """

    __slots__ = ("_held", "_n_faded_in")

    def __init__(self) -> None:
        self._held = NOTHING
        self._n_faded_in = 0

    def feed(self, pcm: NDArray[np.float32]) -> NDArray[np.float32]:
        """Add the segment's next samples; return those that are final. pcm: float32 [n]."""
        pcm = self._faded_in(pcm)
        n_ready = max(pcm.size - FADE_SAMPLES, 0)
        self._held = pcm[n_ready:].copy()
        return pcm[:n_ready]

    def end(self, pcm: NDArray[np.float32] = NOTHING) -> NDArray[np.float32]:
        """Add the segment's last samples; return the rest, faded out. The next `feed` begins another segment."""
        pcm = self._faded_in(pcm)
        self._held, self._n_faded_in = NOTHING, 0
        n_falling = min(FADE_SAMPLES, pcm.size)
        pcm[pcm.size - n_falling :] *= _FALL[FADE_SAMPLES - n_falling :]
        return pcm

    def _faded_in(self, pcm: NDArray[np.float32]) -> NDArray[np.float32]:
        """The held samples followed by these, in a new array."""
        start = self._held.size  # held samples are faded in already
        n_rising = min(FADE_SAMPLES - self._n_faded_in, pcm.size)
        pcm = np.concatenate((self._held, pcm))
        if n_rising > 0:
            pcm[start : start + n_rising] *= _RISE[self._n_faded_in : self._n_faded_in + n_rising]
            self._n_faded_in += n_rising
        return pcm


class LeadingTrim:
    """Drops near-silence before a segment's first sound, at most `max_trim_ms`, in blocks from the segment's start.

    It holds back less than three blocks until the first sound. A segment without any sound loses `max_trim_ms`
    and keeps the rest.
    """

    __slots__ = ("_held", "_max_blocks", "_n_blocks", "_open")

    def __init__(self, max_trim_ms: int = MAX_TRIM_MS) -> None:
        self._max_blocks = max_trim_ms // 10
        self._n_blocks = 0
        self._open = self._max_blocks <= 0
        self._held = NOTHING

    @property
    def n_dropped(self) -> int:
        """Samples dropped so far, at 24 kHz."""
        return self._n_blocks * BLOCK_SAMPLES

    def feed(self, pcm: NDArray[np.float32]) -> NDArray[np.float32]:
        """Add the segment's next samples; return those that are kept and final. pcm: float32 [n]."""
        if self._open:
            return pcm
        onset = first_audible(pcm)
        n_held = self._held.size
        pcm = np.concatenate((self._held, pcm))
        n_silent = (pcm.size if onset is None else n_held + onset) // BLOCK_SAMPLES
        n_drop = min(max(n_silent - PREROLL_BLOCKS, 0), self._max_blocks - self._n_blocks)
        self._n_blocks += n_drop
        pcm = pcm[n_drop * BLOCK_SAMPLES :]
        self._open = onset is not None or self._n_blocks == self._max_blocks
        self._held = NOTHING if self._open else pcm
        return pcm if self._open else NOTHING

    def flush(self) -> NDArray[np.float32]:
        """End the segment; return the samples still held back."""
        pcm, self._held, self._open = self._held, NOTHING, True
        return pcm


class TrailingSilence:
    """Brings the near-silence after each segment's last sound to a given length.

    It holds back the silence beyond that length until the next sound, at most `max_trim_ms` of it, and drops what it
    holds at the segment's end. A segment without sound continues the silence of the one before.
    """

    __slots__ = ("_held", "_is_after_sound", "_max_held", "_n_kept", "_n_silent")

    def __init__(self, max_trim_ms: int = MAX_TRIM_MS) -> None:
        self._max_held = max_trim_ms * SAMPLES_PER_MS
        self._n_kept = 0
        self._n_silent = 0  # samples returned since the last sound
        self._is_after_sound = False
        self._held = NOTHING

    def begin(self, silence_ms: int) -> None:
        """Begin a segment, after which `silence_ms` of silence should lie, at least 20 ms."""
        self._n_kept = max(silence_ms, _LEAST_SILENCE_MS) * SAMPLES_PER_MS

    def feed(self, pcm: NDArray[np.float32]) -> NDArray[np.float32]:
        """Add the segment's next samples; return those that are final. pcm: float32 [n]."""
        pcm = np.concatenate((self._held, pcm))
        last = last_audible(pcm)
        n_ready = 0
        if last is not None:
            n_ready, self._n_silent, self._is_after_sound = last + 1, 0, True
        n_rest = pcm.size - n_ready
        n_silent = min(max(self._n_kept - self._n_silent, n_rest - self._max_held, 0), n_rest)
        self._n_silent += n_silent
        self._held = pcm[n_ready + n_silent :].copy()
        return pcm[: n_ready + n_silent]

    def end(self, silence_ms: int) -> NDArray[np.float32]:
        """End the segment; return the zeros that the silence since the last sound lacks to `silence_ms`."""
        self._held = NOTHING
        n_missing = max(silence_ms * SAMPLES_PER_MS - self._n_silent, 0) if self._is_after_sound else 0
        self._n_silent += n_missing
        return np.zeros(n_missing, dtype=np.float32)
