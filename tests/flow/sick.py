"""A worker process whose engine breaks for good at SIGUSR1: `python -m tests.flow.sick URL WAY`.

WAY: `cuda` (every step raises a CUDA error), `steps` (every step raises something else), `opens` (no segment can be
opened and no step succeeds), `slots` (every slot fails alone).
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Collection

import numpy as np

from tests.conftest import make_settings
from tests.tone import ToneEngine
from worker.commands import serve
from worker.engine.base import Engine, EngineError, Frames, Segment
from worker.observe import logs
from worker.settings import Settings

CUDA_ERROR = "CUDA error: an illegal memory access was encountered\nCompile with TORCH_USE_CUDA_DSA to find out more."


class SickEngine(ToneEngine):
    def __init__(self, n_slots: int, way: str) -> None:
        super().__init__(n_slots, frame_s=0.05)
        self._way = way
        self.is_sick = False

    def open(self, segment: Segment) -> int:
        if self.is_sick and self._way == "opens":
            raise RuntimeError("no handle")
        return super().open(segment)

    def step(self, held: Collection[int] = ()) -> list[Frames]:
        if not self.is_sick:
            return super().step(held)
        slots = list(self._slots)
        self._slots.clear()
        if self._way == "slots":
            return [Frames(n, 0, np.zeros(0, np.float32), error=EngineError("no process")) for n in slots]
        if self._way == "cuda":
            raise RuntimeError(CUDA_ERROR)
        raise ValueError("shapes do not match")


def main(url: str, way: str) -> int:
    engine = SickEngine(4, way)

    def make_engine(settings: Settings) -> Engine:
        return engine

    def fall_sick(number: int, frame: object) -> None:
        engine.is_sick = True

    signal.signal(signal.SIGUSR1, fall_sick)
    vars(serve)["make_engine"] = make_engine
    logs.configure()
    return serve.serve(make_settings(url, lease_ms=30_000, slots=4), ends_process=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
