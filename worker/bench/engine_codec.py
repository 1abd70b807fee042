"""The codec's part of `bench engine`: stateful chunks, one full decode, and peers' overlapping windows.

On one thread the three ways take turns for several rounds. A figure is the median, a ratio the median of the rounds'.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.bench.upstream import CodecWays
from worker.engine.base import N_CODEBOOKS, N_CODES
from worker.engine.exactness import threads
from worker.engine.qwen.loader import Model

N_FRAMES, N_CHUNK, N_CONTEXT = 48, 4, 25
N_ROWS = 8
WHOLE = "one_full_decode"
STATEFUL = "stateful_in_chunks_of_4"
WINDOWED = "chunks_of_4_with_25_frames_again"


def codec_report(model: Model, n_rounds: int) -> tuple[dict[str, Any], dict[str, float]]:
    """The figures, and their ratios to one full decode of one row. At 8 rows, a row's share of the call."""
    rng = np.random.default_rng(7)
    codes = rng.integers(0, N_CODES, (N_ROWS, N_FRAMES, N_CODEBOOKS), dtype=np.uint16)
    with threads(1):
        ways = CodecWays(model, N_ROWS)
        jobs = _jobs(ways, codes)
        pcm = {name: job() for name, job in jobs.items()}
        times: dict[str, list[float]] = {name: [] for name in jobs}
        for _ in range(n_rounds):
            for name, job in jobs.items():
                began = perf_counter()
                job()
                times[name].append(perf_counter() - began)
    figures = {
        "frames": N_FRAMES,
        "rounds": n_rounds,
        "threads": 1,
        "row_ms": {name: round(median(taken) * 1000 / len(pcm[name]), 2) for name, taken in times.items()},
        "stateful_off_by_lsb": _off_by(pcm[STATEFUL], pcm[WHOLE]),
        "windowed_off_by_lsb": _off_by(pcm[WINDOWED], pcm[WHOLE]),
    }
    return figures, _ratios(times)


def _jobs(ways: CodecWays, codes: NDArray[np.uint16]) -> dict[str, Callable[[], NDArray[np.float32]]]:
    alone = codes[:1]
    return {
        WHOLE: lambda: ways.whole(alone),
        STATEFUL: lambda: ways.stateful(alone, N_CHUNK),
        WINDOWED: lambda: ways.windowed(alone, N_CHUNK, N_CONTEXT),
        f"{STATEFUL}_of_8": lambda: ways.stateful(codes, N_CHUNK),
        f"{WINDOWED}_of_8": lambda: ways.windowed(codes, N_CHUNK, N_CONTEXT),
    }


def _ratios(times: dict[str, list[float]]) -> dict[str, float]:
    def to_whole(name: str, n_rows: int) -> float:
        return round(median(a / n_rows / b for a, b in zip(times[name], times[WHOLE], strict=True)), 3)

    return {
        "codec_stateful_vs_whole": to_whole(STATEFUL, 1),
        "codec_stateful_8_vs_whole": to_whole(f"{STATEFUL}_of_8", N_ROWS),
        "codec_windowed_vs_whole": to_whole(WINDOWED, 1),
        "codec_windowed_8_vs_whole": to_whole(f"{WINDOWED}_of_8", N_ROWS),
    }


def _off_by(a: NDArray[np.float32], b: NDArray[np.float32]) -> int:
    """The largest difference of two recordings, in steps of int16."""
    steps = [np.round(pcm.astype(np.float64) * 32767).astype(np.int64) for pcm in (a, b)]
    return int(np.abs(steps[0] - steps[1]).max())
