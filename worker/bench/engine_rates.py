"""`bench engine --rates`: an open loop, in which requests arrive whether or not earlier ones are done."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from time import perf_counter, sleep
from typing import Any

import numpy as np

from worker.bench.engine_streams import Streams, first_audio_ms
from worker.engine.base import FRAME_S
from worker.engine.qwen.chunks import Schedule


@dataclass(slots=True)
class _Listener:
    """A client that plays audio as it arrives. first_s: time of the first audio. heard_s: audio received so far."""

    asked_s: float
    first_s: float = inf
    heard_s: float = 0.0
    has_gap: bool = False

    def receive(self, n_frames: int, now: float) -> None:
        if self.first_s == inf:
            self.first_s = now
        elif now > self.first_s + self.heard_s:
            self.has_gap = True
        self.heard_s += n_frames * FRAME_S


def open_loop(streams: Streams, rate_per_s: float, n_requests: int) -> dict[str, Any]:
    """First audio at so many requests a second, with exponential gaps from a fixed seed.

    A request that finds no free slot waits; its time counts from its arrival.
    """
    gaps = np.random.default_rng(0).exponential(1 / rate_per_s, n_requests)
    listeners = [_Listener(float(asked_s)) for asked_s in np.cumsum(gaps)]
    batch = streams.engine.batch(Schedule(), is_live=True)
    coming, speaking = iter(listeners), dict[int, _Listener]()
    began, due = perf_counter(), next(coming, None)
    while due is not None or speaking:
        while due is not None and due.asked_s <= perf_counter() - began and len(speaking) < streams.engine.n_slots:
            speaking[batch.open(streams.engine.prepare(streams.utterance))] = due
            due = next(coming, None)
        if not speaking and due is not None:
            sleep(max(0.0, due.asked_s - (perf_counter() - began)))
            continue
        for frames in batch.step():
            listener = speaking[frames.slot] if frames.finish is None else speaking.pop(frames.slot)
            if frames.n_frames:
                listener.receive(frames.n_frames, perf_counter() - began)
    wall_s = perf_counter() - began
    return {
        "requests_per_s": rate_per_s,
        "requests": n_requests,
        "first_audio_ms": first_audio_ms([listener.first_s - listener.asked_s for listener in listeners]),
        "with_gaps": sum(listener.has_gap for listener in listeners),
        "audio_s_per_s": round(sum(listener.heard_s for listener in listeners) / wall_s, 3),
    }
