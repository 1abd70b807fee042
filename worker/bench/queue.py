"""`bench queue`: the way of a job through the queue, beside the same hops made with raw redis-py on the same server.

Pick-up is from just before the XADD of a job to its `begin` in the reader's hands; chunk from there to its first audio
chunk's. The two peers are measured in turn, job by job, so that the machine's moods meet both. Throughput is from the
first XADD to the job stream being empty, every job of a session of its own.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from time import monotonic, perf_counter, sleep
from typing import Any

import numpy as np
import redis

from worker.bench.peers import MAKIMA, RAW, RAW_JOBS, raw_audio
from worker.embedded import EmbeddedError, embedded_valkey
from worker.stream.keys import GROUP, Keys

KEYS = Keys()
START_TIMEOUT_S = 30.0
STALL_TIMEOUT_S = 60.0
PUBLISH_BATCH = 200


class BenchError(RuntimeError):
    """The measurement could not be made; the message says why."""


def run(out: str, redis_url: str | None, n_jobs: int, n_samples: int) -> int:
    """Measure and write the JSON to a file, or to stdout for "-"."""
    try:
        with embedded_valkey() if redis_url is None else nullcontext() as server:
            report = measure(server.url if server else str(redis_url), n_jobs, n_samples)
    except (BenchError, EmbeddedError, redis.RedisError, OSError) as error:
        print(f"makima-tts: {error}", file=sys.stderr)
        return 1
    text = json.dumps(report, indent=2)
    if out == "-":
        print(text)
    else:
        Path(out).write_text(text + "\n", "utf-8")
    return 0


def measure(url: str, n_jobs: int, n_samples: int) -> dict[str, Any]:
    """Everything, on an empty Redis; what the run wrote is deleted again. Raises BenchError."""
    client = redis.Redis.from_url(url, protocol=2, socket_timeout=STALL_TIMEOUT_S)
    if client.dbsize():
        raise BenchError("this Redis is not empty; the bench deletes what it finds, so give it one of its own")
    try:
        with _peer("makima", url), _peer("raw", url):
            _wait_for_groups(client)
            latency = _latencies(client, n_samples)
            rates = {RAW: _throughput(client, RAW, n_jobs), MAKIMA: _throughput(client, MAKIMA, n_jobs)}
    finally:
        client.flushdb()
    version = client.info("server")
    return {
        "server": version.get("valkey_version") or version["redis_version"],
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "samples": n_samples,
        "jobs": n_jobs,
        "peers": {peer: {**latency[peer], "settled_per_s": round(rates[peer], 1)} for peer in (MAKIMA, RAW)},
        "ratios": {
            "pickup_p50": round(latency[MAKIMA]["pickup_ms"]["p50"] / latency[RAW]["pickup_ms"]["p50"], 2),
            "chunk_p50": round(latency[MAKIMA]["chunk_ms"]["p50"] / latency[RAW]["chunk_ms"]["p50"], 2),
            "settled_per_s": round(rates[MAKIMA] / rates[RAW], 3),
        },
    }


@contextmanager
def _peer(name: str, url: str) -> Iterator[None]:
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "worker.bench.peers", name, url], stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def _wait_for_groups(client: redis.Redis) -> None:
    deadline = monotonic() + START_TIMEOUT_S
    while not (client.exists(KEYS.jobs) and client.exists(RAW_JOBS) and client.hlen(KEYS.workers)):
        if monotonic() > deadline:
            raise BenchError(f"the workers did not start within {START_TIMEOUT_S:.0f} s; see makima-tts doctor")
        sleep(0.05)
    sleep(0.5)


def _latencies(client: redis.Redis, n_samples: int) -> dict[str, dict[str, dict[str, float]]]:
    pickups: dict[str, list[float]] = {MAKIMA: [], RAW: []}
    chunks: dict[str, list[float]] = {MAKIMA: [], RAW: []}
    n_warm = max(10, n_samples // 10)
    for n in range(n_warm + n_samples):
        for peer in (MAKIMA, RAW):
            pickup, chunk = _one_job(client, peer, f"latency-{n}")
            if n >= n_warm:
                pickups[peer].append(pickup)
                chunks[peer].append(chunk)
    return {
        peer: {"pickup_ms": _percentiles(pickups[peer]), "chunk_ms": _percentiles(chunks[peer])}
        for peer in (MAKIMA, RAW)
    }


def _one_job(client: redis.Redis, peer: str, session_id: str) -> tuple[float, float]:
    """(XADD to begin readable, XADD to first audio readable), in seconds."""
    jobs = KEYS.jobs if peer == MAKIMA else RAW_JOBS
    audio = KEYS.audio(session_id) if peer == MAKIMA else raw_audio(session_id)
    began = perf_counter()
    client.xadd(jobs, {"session_id": session_id, "text": "Hello."})
    seen: dict[bytes, float] = {}
    last: Any = b"0"
    while b"audio" not in seen:
        read: Any = client.xread({audio: last}, block=10_000)
        now = perf_counter() - began
        if not read:
            raise BenchError(f"{peer} answered no job for 10 s")
        for entry_id, fields in read[0][1]:
            last = entry_id
            seen.setdefault(fields[b"type"], now)
    return seen[b"begin"], seen[b"audio"]


def _percentiles(seconds: list[float]) -> dict[str, float]:
    p50, p99 = np.percentile(np.array(seconds) * 1000, [50, 99])
    return {"p50": round(float(p50), 3), "p99": round(float(p99), 3)}


def _throughput(client: redis.Redis, peer: str, n_jobs: int) -> float:
    """Settled jobs a second."""
    jobs = KEYS.jobs if peer == MAKIMA else RAW_JOBS
    began = perf_counter()
    for start in range(0, n_jobs, PUBLISH_BATCH):
        pipeline = client.pipeline(transaction=False)
        for n in range(start, min(start + PUBLISH_BATCH, n_jobs)):
            pipeline.xadd(jobs, {"session_id": f"rate-{n}", "text": "Hello.", "ttl_ms": "300000"})
        pipeline.execute()
    left, moved_at = n_jobs, monotonic()
    while left:
        sleep(0.005)
        now_left = int(client.xlen(jobs))
        if now_left < left:
            left, moved_at = now_left, monotonic()
        elif monotonic() - moved_at > STALL_TIMEOUT_S:
            raise BenchError(f"{peer} stopped with {left} of {n_jobs} jobs unsettled")
    seconds = perf_counter() - began
    if client.xpending(jobs, GROUP)["pending"]:
        raise BenchError(f"{peer} left jobs pending")
    return n_jobs / seconds
