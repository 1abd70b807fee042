"""What a compare-and-append costs Redis beside a plain XADD: `python -m benchmarks.append_cost`, JSON on stdout.

CPU time of an embedded Valkey for each chunk of several sizes, the two in turn, round by round; medians and ratios.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from statistics import median

import redis

from worker.embedded import embedded_valkey
from worker.stream.keys import Keys
from worker.stream.scripts import APPEND

SIZES = (960, 7680, 46_080)  # bytes of 20 ms, 160 ms and 0.96 s of 16-bit samples at 24 kHz
N_CHUNKS = 2000
N_ROUNDS = 5
EPOCH = 5
JOB = ("1-0", "job", "1")  # entry ID, job ID, fence
KEYS = (Keys().audio("s"), Keys().cut("s"), Keys().job("s", "1-0"))


def cpu_us(client: redis.Redis, command: Callable[[int], tuple[object, ...]]) -> float:
    """CPU time of the server a command, in µs, of N_CHUNKS sent in pipelines of 50."""
    client.flushall()
    client.xadd(KEYS[0], {"type": "begin"}, id=f"{EPOCH}-0")
    before = _used_s(client)
    for first in range(1, N_CHUNKS, 50):
        with client.pipeline(transaction=False) as pipeline:
            for n in range(first, first + 50):
                pipeline.execute_command(*command(n))  # type: ignore[no-untyped-call]
            pipeline.execute()
    used_s = _used_s(client) - before
    assert client.xlen(KEYS[0]) == N_CHUNKS + 1
    return used_s / N_CHUNKS * 1e6


def measure(client: redis.Redis) -> Iterator[dict[str, float]]:
    """A row for each size: µs a chunk, and the ratio."""
    client.script_load(APPEND.source)
    for size in SIZES:
        fields = ("type", "audio", "job_id", JOB[1], "entry", JOB[0], "delivered", 1, "data", os.urandom(size))

        def xadd(n: int, fields: tuple[object, ...] = fields) -> tuple[object, ...]:
            return "XADD", KEYS[0], "NOMKSTREAM", f"{EPOCH}-{n}", *fields

        def append(n: int, fields: tuple[object, ...] = fields) -> tuple[object, ...]:
            return "EVALSHA", APPEND.sha, len(KEYS), *KEYS, *JOB, f"{EPOCH}-{n - 1}", f"{EPOCH}-{n}", *fields

        rounds = [(cpu_us(client, xadd), cpu_us(client, append)) for _ in range(N_ROUNDS)]
        yield {
            "bytes": size,
            "xadd_us": round(median(plain for plain, _ in rounds), 1),
            "append_us": round(median(compared for _, compared in rounds), 1),
            "ratio": round(median(compared / plain for plain, compared in rounds), 2),
        }


def _used_s(client: redis.Redis) -> float:
    cpu = client.info("cpu")
    return float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"])


def main() -> None:
    with embedded_valkey() as server, redis.Redis.from_url(server.url, protocol=2) as client:
        print(json.dumps({"chunks": N_CHUNKS, "rounds": N_ROUNDS, "sizes": list(measure(client))}, indent=2))


if __name__ == "__main__":
    main()
