"""Upstream's part of `bench engine`: qwen-tts unchanged, with the weights, voice and text of our engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.bench.engine_streams import LANGUAGE, TEXT, recording
from worker.bench.upstream import Upstream
from worker.engine.base import FRAME_S
from worker.engine.qwen import QwenEngine, loader


@dataclass(frozen=True, slots=True)
class UpstreamPeer:
    """Upstream, loaded beside our engine and warm. codes: uint16 [n, 16], its result."""

    model: loader.Model
    upstream: Upstream
    codes: NDArray[np.uint16]
    max_frames: int

    @classmethod
    def load(cls, name: str, engine: QwenEngine, max_frames: int) -> UpstreamPeer:
        dtype = str(engine.model.dtype).removeprefix("torch.")
        model = loader.load(name, device=str(engine.model.device), dtype=dtype)
        upstream = Upstream(model, recording())
        return cls(model, upstream, upstream.speak(TEXT, LANGUAGE, max_frames)[0], max_frames)

    def round(self) -> float:
        """Seconds from the call to the whole result, which is also upstream's first audio."""
        began = perf_counter()
        self.upstream.speak(TEXT, LANGUAGE, self.max_frames)
        return perf_counter() - began

    def agrees(self, codes: NDArray[np.uint16]) -> bool:
        return np.array_equal(codes, self.codes)


def upstream_report(n_frames: int, rounds_s: Sequence[float]) -> dict[str, Any]:
    whole_s = median(rounds_s)
    return {
        "frames": n_frames,
        "whole_ms": round(whole_s * 1000, 1),
        "frame_ms": round(whole_s / n_frames * 1000, 3),
        "real_time_factor": round(whole_s / n_frames / FRAME_S, 4),
        "audio_s_per_s": round(n_frames * FRAME_S / whole_s, 3),
        "rounds_s": [round(seconds, 4) for seconds in rounds_s],
    }
