"""Tells when the model goes on without speaking: nothing but near-silence, or the same codes again and again.

The model's end token never comes in 0.3 to 0.5 % of its users' requests, and a short sentence then becomes minutes of
silence. The frame budget ends that too, but late. What is decided here follows from the frames alone, so a worker that
takes a segment over and hears the same frames again comes to the same end. The bounds are chosen wide, from what speech
is like; they were not measured on the real model.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np
from numpy.typing import NDArray

QUIET_RMS = 10 ** (-50 / 20)  # softer than speech is recorded
# Of the loudest frame so far: with a cloned room's hiss silence is louder, and no voice drops so far for seconds.
QUIET_OF_LOUDEST = 10 ** (-35 / 20)
# Speech pauses for less than 2 s, between a slow reader's paragraphs for 2.5 s.
MAX_QUIET_FRAMES = 40  # 3.2 s
# Users of the model see 125 to 740 ms before the first sound. Nobody has heard anything yet, so less is borne.
MAX_QUIET_FRAMES_AT_START = 32  # 2.56 s
# Codebook 0 says what is spoken and may stay the same through a held vowel: 2 to 3 s in the longest exclamations.
MAX_SAME_CODE_FRAMES = 50  # 4 s
# All 16 codes are drawn anew in every frame; in speech they hardly ever repeat once, in a pause they might throughout.
MAX_CYCLE_FRAMES = 30  # 2.4 s
CYCLES = (1, 2, 3, 4)  # frames


class Runaway:
    """Watches one segment from its first frame on. Once it has run away it stays so."""

    __slots__ = ("_has_run_away", "_has_spoken", "_loudest", "_n_cycling", "_n_quiet", "_n_same", "_recent")

    def __init__(self) -> None:
        self._has_run_away = False
        self._has_spoken = False
        self._loudest = 0.0
        self._n_quiet = 0
        self._n_same = 0  # frames with the present code of codebook 0
        self._n_cycling = dict.fromkeys(CYCLES, 0)  # frames equal to the one so many frames before
        self._recent: deque[bytes] = deque(maxlen=max(CYCLES))  # the newest first

    def feed(self, codes: NDArray[np.uint16], pcm: NDArray[np.float32]) -> bool:
        """Take the next frame and tell whether the model has run away. codes: [16]. pcm: float32 [1920]."""
        is_silent = self._hears_silence(pcm)
        is_repeating = self._sees_repetition(codes.astype("<u2").tobytes())
        self._has_run_away = self._has_run_away or is_silent or is_repeating
        return self._has_run_away

    def _hears_silence(self, pcm: NDArray[np.float32]) -> bool:
        rms = math.sqrt(float(np.square(pcm, dtype=np.float64).sum()) / max(pcm.size, 1))
        self._loudest = max(self._loudest, rms)
        if rms >= max(QUIET_RMS, self._loudest * QUIET_OF_LOUDEST):
            self._has_spoken, self._n_quiet = True, 0
        else:
            self._n_quiet += 1
        return self._n_quiet >= (MAX_QUIET_FRAMES if self._has_spoken else MAX_QUIET_FRAMES_AT_START)

    def _sees_repetition(self, frame: bytes) -> bool:
        is_same = bool(self._recent) and self._recent[0][:2] == frame[:2]
        self._n_same = self._n_same + 1 if is_same else 1
        for cycle in CYCLES:
            repeats = len(self._recent) >= cycle and self._recent[cycle - 1] == frame
            self._n_cycling[cycle] = self._n_cycling[cycle] + 1 if repeats else 0
        self._recent.appendleft(frame)
        return self._n_same >= MAX_SAME_CODE_FRAMES or max(self._n_cycling.values()) >= MAX_CYCLE_FRAMES
