"""Where sound begins: what a listener would call the first audible sample."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

AUDIBLE = 0.005  # of full scale, -46 dBFS: above the hiss of a codec's silence, below the softest onset of speech
_LOOK = 480  # samples looked at first: what sounds at all mostly begins there


def first_audible(pcm: NDArray[np.float32]) -> int | None:
    """Give the index of the first sample above AUDIBLE, or None. pcm: float32 [n]."""
    for start, part in ((0, pcm[:_LOOK]), (_LOOK, pcm[_LOOK:])):
        if part.size:
            loud = np.abs(part) > AUDIBLE
            index = int(loud.argmax())
            if loud[index]:
                return start + index
    return None


class OnsetMeter:
    """Counts the samples that pass and remembers where the first audible one was."""

    __slots__ = ("audible_at", "n_samples")

    def __init__(self) -> None:
        self.n_samples = 0
        self.audible_at: int | None = None

    def see(self, pcm: NDArray[np.float32]) -> None:
        """Take note of the next samples. pcm: float32 [n]."""
        if self.audible_at is None:
            index = first_audible(pcm)
            if index is not None:
                self.audible_at = self.n_samples + index
        self.n_samples += pcm.size
