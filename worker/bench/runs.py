"""Shared by the queue benches: an empty Redis, a peer as a process, one timed job, the JSON."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from time import monotonic, perf_counter, sleep
from typing import Any

import numpy as np
import redis

from schemas.errors import MakimaError
from worker.bench.peers import KEYS_OF, MAKIMA, NAMES, raw_audio, raw_jobs
from worker.bench.report import processor_name, write
from worker.embedded import EmbeddedError, embedded_valkey

KEYS = KEYS_OF[MAKIMA]
START_TIMEOUT_S = 30.0
STALL_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 300.0
PUBLISH_BATCH = 200


class BenchError(MakimaError):
    """A measurement failed."""


def run(out: str, redis_url: str | None, measure: Callable[[redis.Redis, str], dict[str, Any]]) -> int:
    """Measure on an empty Redis (None: an embedded one) and write the JSON to a file, or to stdout for "-"."""
    try:
        with embedded_valkey() if redis_url is None else nullcontext() as server:
            taken = _report(server.url if server else str(redis_url), measure)
    except (BenchError, EmbeddedError, redis.RedisError, OSError) as error:
        print(f"makima-tts: {error}", file=sys.stderr)
        return 1
    write(taken, out)
    return 0


def _report(url: str, measure: Callable[[redis.Redis, str], dict[str, Any]]) -> dict[str, Any]:
    """The machine and the measurements. Every key that the run wrote is deleted."""
    client = redis.Redis.from_url(url, protocol=2, socket_timeout=STALL_TIMEOUT_S)
    if client.dbsize():
        raise BenchError("this Redis is not empty and the bench would delete its keys", "use an empty Redis")
    machine = _machine(client)
    try:
        return machine | measure(client, url)
    finally:
        client.flushdb()
        client.close()


@contextmanager
def peer_process(peer: str, url: str, *options: str) -> Iterator[None]:
    """A peer as a process that takes jobs. options: the arguments of `worker.bench.peers`."""
    client = redis.Redis.from_url(url, protocol=2)
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "worker.bench.peers", NAMES[peer], url, *options], stderr=subprocess.DEVNULL
    )
    try:
        deadline = monotonic() + START_TIMEOUT_S
        while not (client.exists(jobs_of(peer)) and (peer not in KEYS_OF or client.hlen(KEYS_OF[peer].workers))):
            if monotonic() > deadline or process.poll() is not None:
                raise BenchError(f"{peer} did not start within {START_TIMEOUT_S:.0f} s", "run makima-tts doctor")
            sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(30)
        client.close()


def jobs_of(peer: str) -> str:
    return KEYS_OF[peer].jobs if peer in KEYS_OF else raw_jobs(peer)


def one_job(client: redis.Redis, peer: str, session_id: str) -> tuple[float, float]:
    """Seconds from XADD until `begin` is readable, and until the first audio is."""
    audio = KEYS_OF[peer].audio(session_id) if peer in KEYS_OF else raw_audio(session_id)
    began = perf_counter()
    client.xadd(jobs_of(peer), {"session_id": session_id, "text": "Hello."})
    seen: dict[bytes, float] = {}
    last: Any = b"0"
    while b"audio" not in seen:
        read: Any = client.xread({audio: last}, block=10_000)
        now = perf_counter() - began
        if not read and now > ANSWER_TIMEOUT_S:
            raise BenchError(f"{peer} did not answer a job for {ANSWER_TIMEOUT_S:.0f} s")
        for entry_id, fields in read[0][1] if read else ():
            last = entry_id
            seen.setdefault(fields[b"type"], now)
    return seen[b"begin"], seen[b"audio"]


def publish(client: redis.Redis, peer: str, sessions: Iterator[str], text: str = "Hello.") -> None:
    """Publish a job for each named session, in order, many in a round trip."""
    pipeline = client.pipeline(transaction=False)
    for n, session_id in enumerate(sessions, 1):
        pipeline.xadd(jobs_of(peer), {"session_id": session_id, "text": text, "ttl_ms": "300000"})
        if n % PUBLISH_BATCH == 0:
            pipeline.execute()
    pipeline.execute()


def percentiles(seconds: list[float]) -> dict[str, float]:
    p50, p99 = np.percentile(np.array(seconds) * 1000, [50, 99])
    return {"p50": round(float(p50), 3), "p99": round(float(p99), 3)}


def _machine(client: redis.Redis) -> dict[str, Any]:
    version = client.info("server")
    return {
        "server": version.get("valkey_version") or version["redis_version"],
        "python": platform.python_version(),
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
    }
