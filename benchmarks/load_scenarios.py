"""What listeners ask for: Poisson arrivals, a burst onto few who speak, and short requests beside long readings."""

from __future__ import annotations

import numpy as np

from benchmarks.load_worker import Listener
from worker.engine.base import FRAME_S

SHORTEST_S, LONGEST_S = 2.0, 20.0  # of a request's speech, uniformly
BURST_MOMENTS_S = (0.06, 0.07, 0.08, 0.1, 0.2)  # after the first began: the earlier, the less anybody has in hand
READING_S = 60.0
READINGS_BEGIN_S = 10.0  # before the short requests


def poisson(rate_per_s: float, seconds: float, seed: int, from_s: float = 0.0, first_number: int = 0) -> list[Listener]:
    """Requests with exponential gaps, whether or not earlier ones are done."""
    rng = np.random.default_rng(seed)
    listeners: list[Listener] = []
    now_s = from_s
    while (now_s := now_s + float(rng.exponential(1 / rate_per_s))) < from_s + seconds:
        n_frames = round(float(rng.uniform(SHORTEST_S, LONGEST_S)) / FRAME_S)
        listeners.append(Listener(first_number + len(listeners), now_s, n_frames))
    return listeners


def burst(n_speaking: int, n_new: int, at_s: float) -> list[Listener]:
    """So many ask at the start and so many at one later moment, each for 10 s."""
    asked = [0.001 * n for n in range(n_speaking)] + [at_s] * n_new
    return [Listener(n, asked_s, round(10.0 / FRAME_S)) for n, asked_s in enumerate(asked)]


def beside_readings(n_readings: int, rate_per_s: float, seconds: float, seed: int) -> list[Listener]:
    """Long readings, one for each slot, and after a while short requests."""
    readings = [Listener(n, 0.05 * n, round(READING_S / FRAME_S)) for n in range(n_readings)]
    return readings + poisson(rate_per_s, seconds, seed, READINGS_BEGIN_S, n_readings)
