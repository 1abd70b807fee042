"""What the tests of the engine's thread share: a thread that is started and closed, its readers, a broken engine."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import numpy as np

from tests.tone import ToneEngine
from worker.engine.base import Finish, Frames, Segment
from worker.engine.segment_stream import SegmentStream
from worker.engine.thread import EngineThread
from worker.voices.card import Card


@asynccontextmanager
async def started(engine: ToneEngine) -> AsyncIterator[EngineThread]:
    thread = EngineThread(engine)
    await thread.start([])
    try:
        yield thread
    finally:
        await thread.close()
        assert engine.is_closed


def segment(card: Card, text: str, max_frames: int = 10_000) -> Segment:
    return Segment(text, "English", card, seed=1, max_frames=max_frames)


async def heard(stream: SegmentStream, most_frames: int = 4) -> tuple[np.ndarray, Finish | None]:
    parts = []
    while True:
        frames = await stream.take(most_frames)
        assert len(frames.pcm) <= most_frames * 1920
        parts.append(frames.pcm)
        if frames.ended:
            return np.concatenate(parts), frames.finish


class Counting(ToneEngine):
    """Counts its waits, can hang in a step, and can break for good."""

    def __init__(self, n_slots: int, frame_s: float = 0.0) -> None:
        super().__init__(n_slots, frame_s)
        self.n_waits = 0
        self.may_step = threading.Event()
        self.may_step.set()
        self.breaks = False
        self.hangs_after: int | None = None  # steps, until `may_step` is set

    def step(self, paused: Collection[int] = ()) -> list[Frames]:
        if self.hangs_after is not None:
            if not self.hangs_after:
                self.may_step.clear()
            self.hangs_after = None if not self.hangs_after else self.hangs_after - 1
        self.may_step.wait()
        return super().step(paused)

    def wait_s(self, paused: Collection[int] = ()) -> float:
        if self.breaks:
            raise RuntimeError("broken beyond repair")
        self.n_waits += 1
        return super().wait_s(paused)
