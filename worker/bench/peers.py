"""The two workers that `bench queue` compares, each a process: `python -m worker.bench.peers makima|raw URL`.

`raw` is what redis-py does with no promise kept: XREADGROUP BLOCK, two XADDs of the same size as begin and audio, XACK
and XDEL. It loses a job when it dies, knows no order, no cancel and no take-over; it is the floor of these hops.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import suppress
from typing import Any

import redis

from worker.bench.one_frame import OneFrameEngine
from worker.service import Worker
from worker.settings import Settings

MAKIMA, RAW = "makima-tts", "raw redis-py"
RAW_JOBS = "raw:jobs"
N_SLOTS = 64


def raw_audio(session_id: str) -> str:
    return f"raw:{session_id}:audio"


def serve_makima(url: str) -> None:
    """One worker with an engine of one frame a job, until SIGTERM."""
    sys.setswitchinterval(0.001)
    settings = Settings(_env_file=None, redis_url=url, engine="preview", slots=N_SLOTS, default_voice="placeholder")

    async def run() -> None:
        worker = Worker(settings, OneFrameEngine(N_SLOTS))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
        await worker.run()

    asyncio.run(run())


def serve_raw(url: str) -> None:
    """The bare hops, until SIGTERM."""
    client = redis.Redis.from_url(url, protocol=2, socket_timeout=None)
    with suppress(redis.ResponseError):
        client.xgroup_create(RAW_JOBS, "workers", "0", mkstream=True)
    begin, audio = b"b" * 200, b"a" * 4000
    while True:
        read: Any = client.xreadgroup("workers", "raw", {RAW_JOBS: ">"}, count=64, block=1000)
        for _, entries in read or ():
            for entry_id, fields in entries:
                key = raw_audio(fields[b"session_id"].decode())
                client.xadd(key, {"type": "begin", "data": begin})
                client.xadd(key, {"type": "audio", "data": audio})
                client.xack(RAW_JOBS, "workers", entry_id)
                client.xdel(RAW_JOBS, entry_id)


if __name__ == "__main__":
    (serve_makima if sys.argv[1] == "makima" else serve_raw)(sys.argv[2])
