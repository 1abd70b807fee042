"""Requests that arrive at once while others speak: who runs dry, and when the new ones sound."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from time import perf_counter
from typing import Any

import numpy as np

from worker.bench.engine_streams import first_audio_ms
from worker.engine.base import FRAME_S, Frames
from worker.engine.qwen import QwenEngine, SpeechRequest
from worker.engine.qwen.batch import Batch
from worker.engine.qwen.chunks import Schedule

BEFORE_S = 1.0  # audio that each of the first has emitted when the others arrive


@dataclass(slots=True)
class Listening:
    """A client that plays audio as it comes: when it began and how much has come; dry_s: the sum of its gaps."""

    first_s: float = inf
    heard_s: float = 0.0
    dry_s: float = 0.0

    def receive(self, frames: Frames, now: float) -> None:
        if not frames.n_frames:
            return
        self.first_s = min(self.first_s, now)
        gap = now - self.first_s - self.heard_s - self.dry_s
        self.dry_s += max(0.0, gap)
        self.heard_s += frames.n_frames * FRAME_S


class _Burst:
    def __init__(self, engine: QwenEngine, utterance: SpeechRequest) -> None:
        self._engine = engine
        self._utterance = utterance
        self._batch: Batch = engine.batch(Schedule(), is_live=True)
        self.listening: dict[int, Listening] = {}
        self.steps_ms: list[float] = []

    def open(self, n: int) -> list[Listening]:
        made = [Listening() for _ in range(n)]
        for seed, one in enumerate(made):
            self.listening[self._batch.open(self._engine.prepare(replace(self._utterance, seed=seed)))] = one
        return made

    def step(self) -> None:
        began = perf_counter()
        for frames in self._batch.step():
            self.listening[frames.slot].receive(frames, perf_counter())
            if frames.finish is not None:
                del self.listening[frames.slot]
        self.steps_ms.append((perf_counter() - began) * 1000)


def burst(engine: QwenEngine, utterance: SpeechRequest, n_speaking: int, n_more: int) -> dict[str, Any]:
    """n_more requests arrive at once while n_speaking speak."""
    run = _Burst(engine, utterance)
    first = run.open(n_speaking)
    while run.listening and min(one.heard_s for one in first) < BEFORE_S:
        run.step()
    arrived, n_before = perf_counter(), len(run.steps_ms)
    more = run.open(n_more)
    while run.listening:
        run.step()
    return {
        "speaking": n_speaking,
        "arrived": n_more,
        "speaking that ran dry": sum(one.dry_s > 0 for one in first),
        "longest gap of theirs, ms": round(max(one.dry_s for one in first) * 1000, 1),
        "first_audio_ms": first_audio_ms([one.first_s - arrived for one in more]),
        "arrived that ran dry": sum(one.dry_s > 0 for one in more),
        "longest step, ms": round(float(np.max(run.steps_ms[n_before:])), 1),
    }
