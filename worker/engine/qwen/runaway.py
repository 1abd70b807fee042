"""Runaway detection: the model generates near-silence, or repeats its codes, and never draws the end token.

Users of the model see that in 0.3 to 0.5 % of requests: a short sentence becomes minutes of silence. The frame budget
ends it too, but late. The decision depends on the frames alone, so a worker that takes a segment over and replays its
frames decides alike. The bounds are wide, chosen from what speech is like; they were not measured on the real model.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np
from numpy.typing import NDArray

QUIET_RMS = 10 ** (-50 / 20)  # below the level of recorded speech
# Relative to the loudest frame so far: a cloned room's hiss raises silence, and no voice drops so far for seconds.
QUIET_OF_LOUDEST = 10 ** (-35 / 20)
# Speech pauses for less than 2 s, between a slow reader's paragraphs for 2.5 s.
MAX_QUIET_FRAMES = 40  # 3.2 s
# Users of the model see 125 to 740 ms before the first sound. Less is allowed here, as no audio was sent yet.
MAX_QUIET_FRAMES_AT_START = 32  # 2.56 s
# Codebook 0 carries the phonemes and may stay the same through a long vowel: 2 to 3 s in the longest exclamations.
MAX_SAME_CODE_FRAMES = 50  # 4 s
# All 16 codes of a frame hardly ever equal an earlier frame's in speech; in a pause they may throughout.
MAX_CYCLE_FRAMES = 30  # 2.4 s
CYCLES = (1, 2, 3, 4)  # frames


class Runaway:
    """The detector of one segment, fed every frame from the first on. Once it has detected a runaway it stays so."""

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
        """Take the next frame; returns whether the model has run away. codes: [16]. pcm: float32 [1920]."""
        is_silent = self._is_silent(pcm)
        is_repeating = self._is_repeating(codes.astype("<u2").tobytes())
        self._has_run_away = self._has_run_away or is_silent or is_repeating
        return self._has_run_away

    def _is_silent(self, pcm: NDArray[np.float32]) -> bool:
        rms = math.sqrt(float(np.square(pcm, dtype=np.float64).sum()) / max(pcm.size, 1))
        self._loudest = max(self._loudest, rms)
        if rms >= max(QUIET_RMS, self._loudest * QUIET_OF_LOUDEST):
            self._has_spoken, self._n_quiet = True, 0
        else:
            self._n_quiet += 1
        return self._n_quiet >= (MAX_QUIET_FRAMES if self._has_spoken else MAX_QUIET_FRAMES_AT_START)

    def _is_repeating(self, frame: bytes) -> bool:
        is_same = bool(self._recent) and self._recent[0][:2] == frame[:2]
        self._n_same = self._n_same + 1 if is_same else 1
        for cycle in CYCLES:
            repeats = len(self._recent) >= cycle and self._recent[cycle - 1] == frame
            self._n_cycling[cycle] = self._n_cycling[cycle] + 1 if repeats else 0
        self._recent.appendleft(frame)
        return self._n_same >= MAX_SAME_CODE_FRAMES or max(self._n_cycling.values()) >= MAX_CYCLE_FRAMES
