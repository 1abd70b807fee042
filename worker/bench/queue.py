"""`bench queue`: a job's latency and throughput in the queue, beside the same hops with raw redis-py on one server.

Pick-up is the time from just before a job's XADD until the client has read `begin`, chunk the time until it has read
the first audio. Throughput is from the first XADD until the job stream is empty, with a session for every job. All
peers are measured in every round: latencies alternate job by job, rates follow one another, and each round starts with
another peer. A figure is the median of the rounds, a ratio the median of the rounds' ratios. Hints have no reader.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from statistics import median
from time import monotonic, perf_counter, sleep
from typing import Any

import redis

from worker.bench import runs
from worker.bench.peers import BATCHED, MAKIMA, RAW, UNHINTED
from worker.bench.runs import STALL_TIMEOUT_S, BenchError, jobs_of, one_job, peer_process, percentiles, publish
from worker.stream.keys import GROUP

PEERS = (MAKIMA, RAW, BATCHED)
N_WARM = 10
RATIOS = {
    RAW: "makima-tts over a plain loop: one job at a time, each answer waited for, no guarantees",
    BATCHED: "makima-tts over the most that Redis could settle for a worker without guarantees: all commands of up to "
    "32 jobs in one round trip",
    UNHINTED: "makima-tts over a second worker that publishes no hints",
}

Round = dict[str, dict[str, float]]  # peer -> figure


def run(
    out: str, redis_url: str | None, n_jobs: int, n_samples: int, n_rounds: int, with_unhinted: bool = False
) -> int:
    """Measure and write the JSON to a file, or to stdout for "-".

    n_jobs, n_samples: of each round. with_unhinted: measure a second makima-tts too, which publishes no hints.
    """
    peers = (*PEERS, UNHINTED) if with_unhinted else PEERS
    return runs.run(out, redis_url, partial(measure, peers, n_jobs, n_samples, n_rounds))


def measure(
    peers: tuple[str, ...], n_jobs: int, n_samples: int, n_rounds: int, client: redis.Redis, url: str
) -> dict[str, Any]:
    """All rounds, on an empty Redis. Raises BenchError."""
    with ExitStack() as stack:
        for peer in peers:
            stack.enter_context(peer_process(peer, url))
        sleep(0.5)
        for n in range(N_WARM):
            for peer in peers:
                one_job(client, peer, f"warm-{n}")
        rounds = [_round(client, peers, n, n_jobs, n_samples) for n in range(n_rounds)]
    figures = tuple(rounds[0][MAKIMA])
    return {
        "rounds": n_rounds,
        "samples_a_round": n_samples,
        "jobs_a_round": n_jobs,
        "peers": {
            peer: {figure: _summary([taken[peer][figure] for taken in rounds]) for figure in figures} for peer in peers
        },
        "ratios": {
            peer: {"is": RATIOS[peer]}
            | {
                figure: _summary([taken[MAKIMA][figure] / taken[peer][figure] for taken in rounds])
                for figure in figures
            }
            for peer in peers[1:]
        },
    }


def _round(client: redis.Redis, peers: tuple[str, ...], number: int, n_jobs: int, n_samples: int) -> Round:
    """Every figure of every peer, once."""
    order = [peers[(number + n) % len(peers)] for n in range(len(peers))]
    taken: Round = {peer: {} for peer in peers}
    times: dict[str, list[tuple[float, float]]] = {peer: [] for peer in peers}
    for n in range(n_samples):
        for peer in order:
            times[peer].append(one_job(client, peer, f"latency-{number}-{n}"))
            while client.xlen(jobs_of(peer)):  # else its end would take time from the next peer
                sleep(0.0005)
    for peer in order:
        for name, seconds in zip(("pickup_ms", "chunk_ms"), zip(*times[peer], strict=True), strict=True):
            for percentile, ms in percentiles(list(seconds)).items():
                taken[peer][f"{name}_{percentile}"] = ms
    for peer in order:
        taken[peer]["settled_per_s"] = throughput(client, peer, number, n_jobs)
    return taken


def throughput(client: redis.Redis, peer: str, number: int, n_jobs: int) -> float:
    """Settled jobs a second."""
    jobs = jobs_of(peer)
    began = perf_counter()
    publish(client, peer, (f"rate-{number}-{n}" for n in range(n_jobs)))
    left, moved_at = n_jobs, monotonic()
    while left:
        sleep(0.002)
        now_left = int(client.xlen(jobs))
        if now_left < left:
            left, moved_at = now_left, monotonic()
        elif monotonic() - moved_at > STALL_TIMEOUT_S:
            raise BenchError(f"{peer} stopped with {left} of {n_jobs} jobs unsettled")
    seconds = perf_counter() - began
    if client.xpending(jobs, GROUP)["pending"]:
        raise BenchError(f"{peer} left jobs pending")
    return n_jobs / seconds


def _summary(of_rounds: Sequence[float]) -> dict[str, float]:
    return {
        "median": round(median(of_rounds), 3),
        "min": round(min(of_rounds), 3),
        "max": round(max(of_rounds), 3),
    }
