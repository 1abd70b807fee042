"""What a run breaks, and when: drawn from its seed alone, with the counts it has to reach."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Literal

DEFAULT_MINUTES = 4.0
LEASE_MS = 2000

# In a run of the default length.
WANTED = {"jobs": 400, "kills": 50, "stops": 30, "restarts": 5}


@dataclass(frozen=True, slots=True)
class Kind:
    """n: in a run of the default length. hits: how many workers' leases may end by it. seconds: least and most of what
    it lasts.
    """

    n: int
    hits: Literal["one", "all", "none"]
    seconds: tuple[float, float] = (0.0, 0.0)
    needs_proxy: bool = False


KINDS: Mapping[str, Kind] = {
    "kill": Kind(36, "one"),
    "kill_twice": Kind(7, "one"),  # a worker, and the one that took an utterance of it over as soon as it has it
    "stop": Kind(30, "one", (LEASE_MS / 1000 + 0.3, LEASE_MS / 1000 + 2.5)),
    "hiccup": Kind(8, "one", (0.1, LEASE_MS / 1000)),  # a stop shorter than the lease
    "restart": Kind(6, "all"),
    "pause": Kind(5, "all", (0.2, LEASE_MS / 1000 + 1.0)),
    "flush": Kind(6, "none"),
    "destroy_group": Kind(4, "all"),
    "kill_clients": Kind(6, "all"),
    "delay": Kind(5, "all", (1.0, 4.0), needs_proxy=True),
    "blackhole": Kind(5, "all", (0.2, LEASE_MS / 1000 + 1.0), needs_proxy=True),
    "cut": Kind(6, "all", needs_proxy=True),
    "cut_after_request": Kind(12, "all", needs_proxy=True),
}


@dataclass(frozen=True, slots=True)
class Step:
    """One fault. at_s: from the run's beginning. is_hard: a restart by SIGKILL."""

    at_s: float
    kind: str
    seconds: float
    is_hard: bool


def schedule(draw: random.Random, minutes: float, has_proxy: bool) -> list[Step]:
    """Every kind spread over the whole run; in the order of their times."""
    steps = []
    for name, kind in KINDS.items():
        if kind.needs_proxy and not has_proxy:
            continue
        n = scaled(kind.n, minutes)
        for i in range(n):
            at_s = (i + draw.uniform(0.1, 0.9)) * minutes * 60 / n
            steps.append(Step(at_s, name, draw.uniform(*kind.seconds), is_hard=i % 2 == 0))
    return sorted(steps, key=lambda step: step.at_s)


def scaled(n: int, minutes: float) -> int:
    return ceil(n * minutes / DEFAULT_MINUTES)


def shortfall(counts: Mapping[str, int], minutes: float) -> list[str]:
    """A sentence for each count that a run of this length should have reached and did not."""
    wanted = {name: int(n * minutes / DEFAULT_MINUTES) for name, n in WANTED.items()}
    return [f"{counts.get(name, 0)} {name}, wanted were {n}" for name, n in wanted.items() if counts.get(name, 0) < n]
