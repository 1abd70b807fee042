"""The engine of the queue benches: every segment is one frame, ready at once, so that speech costs nothing.

A text that begins with "Hold" never ends and makes no frame: its session's later jobs wait.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np

from worker.engine.base import FRAME_SAMPLES, SAMPLE_RATE_HZ, Finish, Frames, Segment
from worker.voices.card import Card

HOLD = "Hold."
_FRAME = np.sin(np.arange(FRAME_SAMPLES) * (2 * np.pi * 440 / SAMPLE_RATE_HZ)).astype(np.float32) / 2


class OneFrameEngine:
    name = "one-frame"
    has_codes = False
    takes_open_text = False
    gpu = None
    memory_bytes = None
    eager_launches = None
    arithmetic = None

    def __init__(self, n_slots: int) -> None:
        self.n_slots = n_slots
        self._free = list(range(n_slots))
        self._open: list[int] = []

    def model(self, segment: Segment) -> str:
        return self.name

    def warm_up(self, voices: Sequence[Card]) -> None: ...

    def has_voice(self, voice: Card) -> bool:
        return True

    def check(self, voice: Card) -> None: ...

    def check_device(self) -> None: ...

    def open(self, segment: Segment) -> int:
        slot = self._free.pop()
        if not segment.text.startswith("Hold"):
            self._open.append(slot)
        return slot

    def extend(self, slot: int, text: str, is_end: bool, max_frames: int) -> None: ...

    def step(self, paused: Collection[int] = ()) -> list[Frames]:
        stepped = [Frames(slot, 0, _FRAME, finish=Finish.STOP) for slot in self._open]
        self._free += self._open
        self._open = []
        return stepped

    def wait_s(self, paused: Collection[int] = ()) -> float:
        return 0.0 if self._open else math.inf

    def cancel(self, slot: int) -> None: ...

    def close(self) -> None: ...
