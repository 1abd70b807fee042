"""Speech under load, simulated: `python -m benchmarks.load --table computed --rates 1 10 20 40 60`.

The worker's own Batch, Schedule, admission and parking serve requests on a simulated GPU and clock, with the times of a
step-time table, beside three simpler policies. Three kinds of load: Poisson arrivals of 2 to 20 s of speech (an open
loop), a burst of new requests onto few that speak, and short requests while a long reading has every slot. Prints one
JSON object; the same options print the same figures.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.load_policies import SIMPLE, WORKER, LoadPolicy
from benchmarks.load_scenarios import BURST_MOMENTS_S, beside_readings, burst, poisson
from benchmarks.load_times import TABLES, StepTable, TableError
from benchmarks.load_worker import Listener, SimWorker
from worker.engine.base import FRAME_S

POLICIES = (WORKER, *SIMPLE)
RATES = (1.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0)
SLOTS, SECONDS, TTL_S = 64, 60.0, 10.0
SPEAKING = 1 / 8  # of the slots, when a burst fills the others
SHORT_PER_S = 5.0  # beside readings
A_MOMENT_S = 1e-6  # less is no gap


def served(listeners: Sequence[Listener], worker: SimWorker) -> dict[str, Any]:
    """Figures of these requests. audio_s_per_s: from a quarter of the time of arrivals, when first speeches end, on."""
    spoken = [one for one in listeners if one.has_ended]
    last_s = max((one.asked_s for one in listeners), default=inf)
    n_frames = sum(n for at_s, n in worker.emitted if last_s / 4 <= at_s < last_s)
    return {
        "requests": len(listeners),
        "served": round(len(spoken) / max(1, len(listeners)), 4),
        "underran": round(sum(one.dry_s > A_MOMENT_S for one in spoken) / max(1, len(spoken)), 4),
        **first_audio(spoken),
        "audio_s_per_s": round(n_frames * FRAME_S / (last_s * 3 / 4), 1),
    }


def first_audio(spoken: Sequence[Listener]) -> dict[str, float | None]:
    waits_ms = [(one.first_s - one.asked_s) * 1000 for one in spoken]
    return {
        f"first_audio_ms_p{percent}": round(float(np.percentile(waits_ms, percent)), 1) if waits_ms else None
        for percent in (50, 95)
    }


def run(listeners: list[Listener], table: StepTable, policy: LoadPolicy, n_slots: int, ttl_s: float) -> SimWorker:
    worker = SimWorker(listeners, table, n_slots, policy, ttl_s)
    worker.run()
    return worker


def arrivals(rate: float, table: StepTable, policy: LoadPolicy, options: argparse.Namespace) -> dict[str, Any]:
    listeners = poisson(rate, options.seconds, options.seed)
    return served(listeners, run(listeners, table, policy, options.slots, options.ttl))


def bursts(table: StepTable, policy: LoadPolicy, n_slots: int) -> dict[str, Any]:
    """All moments together. spoke_and_ran_dry: of those who spoke when the others came."""
    n_speaking = max(1, round(SPEAKING * n_slots))
    ran_dry: list[float] = []
    new: list[Listener] = []
    for at_s in BURST_MOMENTS_S:
        listeners = burst(n_speaking, n_slots - n_speaking, at_s)
        run(listeners, table, policy, n_slots, TTL_S)
        ran_dry += [one.dry_s for one in listeners[:n_speaking] if one.dry_s > A_MOMENT_S]
        new += listeners[n_speaking:]
    return {
        "spoke": n_speaking * len(BURST_MOMENTS_S),
        "spoke_and_ran_dry": len(ran_dry),
        "longest_gap_ms": round(1000 * max(ran_dry, default=0.0), 1),
        **first_audio(new),
    }


def readings(table: StepTable, policy: LoadPolicy, options: argparse.Namespace) -> dict[str, Any]:
    """Of the short requests, and how many of the readings' listeners ran dry."""
    listeners = beside_readings(options.slots, SHORT_PER_S, options.seconds / 2, options.seed)
    worker = run(listeners, table, policy, options.slots, options.ttl)
    figures = served(listeners[options.slots :], worker)
    dry = sum(one.dry_s > A_MOMENT_S for one in listeners[: options.slots])
    return figures | {"readings_underran": dry, "exchanges": worker.n_exchanges}


def report(table: StepTable, options: argparse.Namespace) -> dict[str, Any]:
    def beside(figures: Any) -> dict[str, Any]:
        return {policy.name: figures(policy) for policy in POLICIES}

    return {
        "times": table.source,
        "slots": options.slots,
        "seconds": options.seconds,
        "ttl_s": options.ttl,
        "seed": options.seed,
        "requests_per_s": {
            f"{rate:g}": beside(lambda policy, rate=rate: arrivals(rate, table, policy, options))
            for rate in options.rates
        },
        "burst": beside(lambda policy: bursts(table, policy, options.slots)),
        "beside_readings": beside(lambda policy: readings(table, policy, options)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("--table", default="computed", help=f"{', '.join(TABLES)}, or a steps.json of benchmarks.gpu")
    parser.add_argument("--rates", type=float, nargs="*", default=RATES, help="requests a second")
    parser.add_argument("--slots", type=int, default=SLOTS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of arrivals")
    parser.add_argument("--ttl", type=float, default=TTL_S, help="seconds that a job waits before it expires")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if min(options.rates, default=1.0) <= 0 or options.slots < 1 or options.seconds <= 0 or options.ttl <= 0:
        parser.error("rates, slots, seconds and ttl are above 0")
    try:
        table = StepTable.read(TABLES.get(options.table) or Path(options.table))
        print(json.dumps(report(table, options), indent=2))
    except TableError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
