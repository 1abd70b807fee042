"""The workers that the queue benches compare, each a process: `python -m worker.bench.peers NAME URL …`.

Both raw peers make the same hops with redis-py and without guarantees: XREADGROUP BLOCK, two XADDs of the same size as
begin and audio, XACK and XDEL. They lose jobs when they die, and have no order, cancel or take-over. `raw` handles one
job at a time and waits for each answer, as a plain loop does. `batched` reads 32 jobs and sends all their commands in
one round trip, which is about the most that Redis can settle. `unhinted` is makima-tts without hints, under a prefix of
its own.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from contextlib import suppress
from typing import Any

import redis

from worker import intake, service
from worker.bench.one_frame import OneFrameEngine
from worker.loop import freeze_heap, run
from worker.settings import Settings
from worker.stream.keys import Keys

MAKIMA, RAW, BATCHED, UNHINTED = "makima-tts", "raw redis-py", "raw redis-py, batched", "makima-tts without hints"
NAMES = {MAKIMA: "makima", RAW: "raw", BATCHED: "batched", UNHINTED: "unhinted"}
KEYS_OF = {MAKIMA: Keys(), UNHINTED: Keys("unhinted")}
BATCH = 32
N_SLOTS = 64


def raw_jobs(peer: str) -> str:
    return f"raw:{NAMES[peer]}:jobs"


def raw_audio(session_id: str) -> str:
    return f"raw:{session_id}:audio"


def serve_makima(peer: str, url: str, n_slots: int, sweep_every_s: float | None) -> None:
    """A worker whose engine makes one frame a job, until SIGTERM. sweep_every_s: None for the worker's default."""
    sys.setswitchinterval(0.001)
    if sweep_every_s is not None:
        intake.SWEEP_EVERY_S = sweep_every_s
    settings = Settings(
        _env_file=None,
        redis_url=url,
        prefix=KEYS_OF[peer].prefix,
        hints=peer != UNHINTED,
        engine="preview",
        slots=n_slots,
        default_voice="placeholder",
        grace_s=0,
    )

    async def serve() -> None:
        worker = service.Worker(settings, OneFrameEngine(n_slots))
        freeze_heap()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
        await worker.run()

    run(serve())


def serve_raw(url: str) -> None:
    """The bare hops, one job at a time, until SIGTERM."""
    client = redis.Redis.from_url(url, protocol=2, socket_timeout=None)
    jobs = _group(client, RAW)
    while True:
        for entry_id, fields in _read(client, jobs, 64):
            _settle(client, jobs, entry_id, fields)


def serve_batched(url: str) -> None:
    """The bare hops, all commands of up to 32 jobs in one round trip, until SIGTERM."""
    client = redis.Redis.from_url(url, protocol=2, socket_timeout=None)
    jobs = _group(client, BATCHED)
    while True:
        pipeline = client.pipeline(transaction=False)
        for entry_id, fields in _read(client, jobs, BATCH):
            _settle(pipeline, jobs, entry_id, fields)
        pipeline.execute()


def _group(client: redis.Redis, peer: str) -> str:
    with suppress(redis.ResponseError):
        client.xgroup_create(raw_jobs(peer), "workers", "0", mkstream=True)
    return raw_jobs(peer)


def _read(client: redis.Redis, jobs: str, count: int) -> list[Any]:
    read: Any = client.xreadgroup("workers", "raw", {jobs: ">"}, count=count, block=1000)
    return list(read[0][1]) if read else []


_BEGIN, _AUDIO = b"b" * 200, b"a" * 4000


def _settle(client: redis.Redis, jobs: str, entry_id: bytes, fields: dict[bytes, bytes]) -> None:
    key = raw_audio(fields[b"session_id"].decode())
    client.xadd(key, {"type": "begin", "data": _BEGIN})
    client.xadd(key, {"type": "audio", "data": _AUDIO})
    client.xack(jobs, "workers", entry_id)
    client.xdel(jobs, entry_id)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m worker.bench.peers", description=__doc__)
    parser.add_argument("name", choices=NAMES.values())
    parser.add_argument("url")
    parser.add_argument("--slots", type=int, default=N_SLOTS)
    parser.add_argument("--sweep-every", type=float, help="Seconds between sweeps, on average.")
    options = parser.parse_args()
    peer = next(peer for peer, name in NAMES.items() if name == options.name)
    if peer in KEYS_OF:
        serve_makima(peer, options.url, options.slots, options.sweep_every)
    else:
        (serve_raw if peer == RAW else serve_batched)(options.url)


if __name__ == "__main__":
    main()
