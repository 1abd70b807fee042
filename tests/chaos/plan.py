"""The plan of a run: which faults and when, drawn from the seed, and the counts that it must reach."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Literal

DEFAULT_MINUTES = 4.0
LEASE_MS = 2000
TEXT_WAIT_S = 4.0  # of the workers: longer than any producer takes that is not held up
AHEAD_MS = 15_000  # the workers' own

# In a run of the default length.
WANTED = {"jobs": 400, "kills": 50, "stops": 30, "restarts": 5}
WANTED_DAMAGE = {"odd_members": 30, "other_types": 14, "keys_deleted": 7, "odd_records": 6, "odd_job_fields": 6}


@dataclass(frozen=True, slots=True)
class Kind:
    """n: in a run of the default length. hits: how many workers' leases may end by it. seconds: least and most of what
    it lasts. needs: what a run must offer, of "proxy", "clock" and "damage".
    """

    n: int
    hits: Literal["one", "all", "none"]
    seconds: tuple[float, float] = (0.0, 0.0)
    needs: frozenset[str] = frozenset()


PROXY, DAMAGE, CLOCK = (frozenset({name}) for name in ("proxy", "damage", "clock"))

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
    "delay": Kind(5, "all", (1.0, 4.0), needs=PROXY),
    "blackhole": Kind(5, "all", (0.2, LEASE_MS / 1000 + 1.0), needs=PROXY),
    "cut": Kind(6, "all", needs=PROXY),
    "cut_after_request": Kind(12, "all", needs=PROXY),
    "odd_member": Kind(40, "none", needs=DAMAGE),  # one in a key of the job plane
    "odd_record": Kind(8, "none", needs=DAMAGE),  # in place of a gate or an attempts record in use
    "other_type": Kind(18, "all", needs=DAMAGE),  # in place of a key of the job plane
    "delete_key": Kind(9, "all", needs=DAMAGE),
    "exhaust": Kind(4, "none", needs=DAMAGE),
    "odd_seen": Kind(5, "none", needs=DAMAGE),
    "odd_job_field": Kind(8, "none", needs=DAMAGE),
    "odd_session_key": Kind(8, "none", needs=DAMAGE),
    "odd_text": Kind(8, "none", needs=DAMAGE),  # in place of the stream of an open text, or in it
    "odd_entry": Kind(6, "none", needs=DAMAGE),  # in a session's stream
    "stranger": Kind(12, "all", needs=DAMAGE),  # at the group
    "latency": Kind(4, "all", (1.0, 4.0), needs=PROXY | DAMAGE),
    "http": Kind(4, "all", (0.3, 2.0), needs=PROXY | DAMAGE),
    "rights": Kind(4, "all", (0.2, 3.0), needs=DAMAGE),
    "clock": Kind(3, "all", (2.0, 6.0), needs=CLOCK | DAMAGE),
}


@dataclass(frozen=True, slots=True)
class Step:
    """One fault. at_s: from the run's beginning. is_hard: a restart by SIGKILL."""

    at_s: float
    kind: str
    seconds: float
    is_hard: bool


def schedule(draw: random.Random, minutes: float, offers: Collection[str]) -> list[Step]:
    """Every kind for which this run offers what it needs, spread over the whole run; in the order of their times."""
    steps = []
    for name, kind in KINDS.items():
        if not kind.needs <= set(offers):
            continue
        n = scaled(kind.n, minutes)
        for i in range(n):
            at_s = (i + draw.uniform(0.1, 0.9)) * minutes * 60 / n
            steps.append(Step(at_s, name, draw.uniform(*kind.seconds), is_hard=i % 2 == 0))
    return sorted(steps, key=lambda step: step.at_s)


def scaled(n: int, minutes: float) -> int:
    return ceil(n * minutes / DEFAULT_MINUTES)


def shortfall(counts: Mapping[str, int], minutes: float, has_damage: bool = False) -> list[str]:
    """A sentence for each count that a run of this length should have reached and did not."""
    whole = {**WANTED, **(WANTED_DAMAGE if has_damage else {})}
    wanted = {name: int(n * minutes / DEFAULT_MINUTES) for name, n in whole.items()}
    return [f"{counts.get(name, 0)} {name}, wanted were {n}" for name, n in wanted.items() if counts.get(name, 0) < n]
