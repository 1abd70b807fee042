"""A worker process that a text can kill: `python -m tests.flow.mortal URL LEASE_MS`.

The tone engine ends its own process with SIGKILL, as a crash in a GPU driver would, when it begins a text with the word
"poison" in it, or, "late poison", after some frames.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Collection

from tests.conftest import make_settings
from tests.tone import ToneEngine
from worker.engine.base import Frames, Segment
from worker.service import Worker

LATE_FRAMES = 5


class MortalEngine(ToneEngine):
    def open(self, segment: Segment) -> int:
        if segment.text.startswith("poison"):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().open(segment)

    def step(self, held: Collection[int] = ()) -> list[Frames]:
        stepped = super().step(held)
        for frames in stepped:
            slot = self._slots.get(frames.slot)
            if (
                slot
                and slot.segment.text.startswith("late poison")
                and slot.spoken >= _resumed(slot.segment) + LATE_FRAMES
            ):
                os.kill(os.getpid(), signal.SIGKILL)
        return stepped


def _resumed(segment: Segment) -> int:
    return segment.resume.n_frames if segment.resume else 0


if __name__ == "__main__":
    settings = make_settings(sys.argv[1], lease_ms=int(sys.argv[2]), slots=4)
    asyncio.run(Worker(settings, MortalEngine(4, frame_s=0.05)).run())
