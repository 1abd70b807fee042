"""Other queue libraries beside ours: `python -m benchmarks.queue_peers --python PEERS/bin/python`, JSON on stdout.

Each settles empty jobs with one worker, 64 at a time, on one embedded Valkey, in alternating rounds. A rate is measured
from the first publish, by the library's own call in a separate process, to the last finished job. A library that is not
installed is skipped with a line on stderr:
    python3 -m venv PEERS && PEERS/bin/pip install taskiq taskiq-redis 'faststream[redis]' pydocket streaq
Our worker does more for a job than the others: it writes begin, audio and complete to the session's stream.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

import redis

LESS = {
    "taskiq": "no order in a session, no fence; a job unacknowledged for 10 minutes is given to another worker too",
    "faststream": "no order in a session, no fence; what a dead worker took stays pending (min_idle_time is unset)",
    "docket": "no order in a session, no fence; a dead worker's job comes again after 5 minutes",
    "streaq": "no order in a session, no fence; a dead worker's job comes again after 60 seconds",
}
CONCURRENCY = 64


@dataclass(frozen=True, slots=True)
class QueuePeer:
    """A library opened on one Redis. publish: one job. run: its worker, until cancelled."""

    publish: Callable[[], Awaitable[Any]]
    run: Callable[[], Awaitable[Any]]


@asynccontextmanager
async def taskiq(url: str, done: Callable[[], None], is_worker: bool) -> AsyncIterator[QueuePeer]:
    from taskiq.api import run_receiver_task
    from taskiq_redis import RedisStreamBroker

    broker = RedisStreamBroker(url, queue_name="peers:taskiq")

    @broker.task(task_name="noop")
    async def noop() -> None:
        done()

    await broker.startup()
    yield QueuePeer(noop.kiq, lambda: run_receiver_task(broker, max_async_tasks=CONCURRENCY))


@asynccontextmanager
async def faststream(url: str, done: Callable[[], None], is_worker: bool) -> AsyncIterator[QueuePeer]:
    from faststream import FastStream
    from faststream.redis import RedisBroker, StreamSub

    broker = RedisBroker(url, logger=None)

    @broker.subscriber(stream=StreamSub("peers:faststream", group="g", consumer="c"), max_workers=CONCURRENCY)
    async def noop(message: str) -> None:
        done()

    await broker.connect()
    yield QueuePeer(lambda: broker.publish("x", stream="peers:faststream"), FastStream(broker).run)


@asynccontextmanager
async def docket(url: str, done: Callable[[], None], is_worker: bool) -> AsyncIterator[QueuePeer]:
    from docket import Docket, Worker

    async def noop() -> None:
        done()

    async with Docket(name="peers", url=url) as queue:
        queue.register(noop)

        async def run() -> None:
            async with Worker(queue, concurrency=CONCURRENCY) as worker:
                await worker.run_forever()

        async def publish() -> None:
            await queue.add(noop)()

        yield QueuePeer(publish, run)


@asynccontextmanager
async def streaq(url: str, done: Callable[[], None], is_worker: bool) -> AsyncIterator[QueuePeer]:
    from streaq import Worker

    worker: Any = Worker(redis_url=url, concurrency=CONCURRENCY, queue_name="peers")

    @worker.task(name="noop")
    async def noop() -> None:
        done()

    async def publish() -> None:
        await noop.enqueue()

    if is_worker:
        yield QueuePeer(publish, worker.run_async)
    else:
        async with worker:
            yield QueuePeer(publish, worker.run_async)


PEERS = {"taskiq": taskiq, "faststream": faststream, "docket": docket, "streaq": streaq}


async def work(name: str, url: str) -> None:
    """Serve, and store the number of finished jobs every few milliseconds."""
    n_done = 0

    def done() -> None:
        nonlocal n_done
        n_done += 1

    async def store() -> None:
        client, stored = redis.Redis.from_url(url), -1
        while True:
            if stored != n_done:
                stored = n_done
                client.set(f"done:{name}", stored)
            await asyncio.sleep(0.01)

    async with PEERS[name](url, done, True) as peer:
        storing = asyncio.create_task(store())
        try:
            await peer.run()
        finally:
            storing.cancel()


async def publish(name: str, url: str, n_jobs: int) -> None:
    """Publish many at a time, and print the time of the first in seconds since the epoch."""
    async with PEERS[name](url, lambda: None, False) as peer:
        print(time.time(), flush=True)
        for first in range(0, n_jobs, CONCURRENCY):
            await asyncio.gather(*[peer.publish() for _ in range(min(CONCURRENCY, n_jobs - first))])


# The measuring side.


class Others:
    """The peers' workers on one Redis, with the interpreter that has the libraries."""

    def __init__(self, python: str, url: str) -> None:
        self._python = python
        self._url = url
        self._client = redis.Redis.from_url(url, protocol=2)
        self._n_done = dict.fromkeys(PEERS, 0)

    @contextmanager
    def worker(self, name: str) -> Iterator[bool]:
        """Start a worker of that library; False if the library is not installed."""
        process = subprocess.Popen(  # noqa: S603
            self._command("work", name), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        try:
            yield self._is_up(process, name)
        finally:
            process.terminate()
            process.communicate(timeout=30)

    def rate(self, name: str, n_jobs: int) -> float:
        """Finished jobs a second."""
        command = self._command("publish", name, str(n_jobs))
        with subprocess.Popen(  # noqa: S603
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as publisher:
            assert publisher.stdout is not None
            began = float(publisher.stdout.readline())
            self._await(name, self._n_done[name] + n_jobs)
        ended = time.time()
        self._n_done[name] += n_jobs
        return n_jobs / (ended - began)

    def _command(self, *words: str) -> list[str]:
        return [self._python, __file__, *words, "--url", self._url]

    def _is_up(self, process: subprocess.Popen[bytes], name: str) -> bool:
        while process.poll() is None:
            if self._client.exists(f"done:{name}"):
                return True
            time.sleep(0.05)
        errors = (process.stderr.read() if process.stderr else b"").decode().strip().splitlines()
        print(f"{name} is skipped: {errors[-1] if errors else 'its worker ended'}", file=sys.stderr)
        return False

    def _await(self, name: str, n_wanted: int) -> None:
        until = time.monotonic() + 120
        while int(self._client.get(f"done:{name}") or 0) < n_wanted:  # type: ignore[arg-type]
            if time.monotonic() > until:
                raise SystemExit(f"{name} did not settle its jobs within 120 s")
            time.sleep(0.005)


def measure(python: str, n_jobs: int, n_rounds: int) -> dict[str, Any]:
    from worker.bench.peers import MAKIMA
    from worker.bench.queue import throughput
    from worker.bench.runs import peer_process
    from worker.embedded import embedded_valkey

    with embedded_valkey() as server, ExitStack() as stack:
        client = redis.Redis.from_url(server.url, protocol=2)
        others = Others(python, server.url)
        names = [name for name in PEERS if stack.enter_context(others.worker(name))]
        stack.enter_context(peer_process(MAKIMA, server.url))
        rates: dict[str, list[float]] = {MAKIMA: []} | {name: [] for name in names}
        for name in names:
            others.rate(name, CONCURRENCY)
        for number in range(n_rounds):
            rates[MAKIMA].append(throughput(client, MAKIMA, number, n_jobs))
            for name in names:
                rates[name].append(others.rate(name, n_jobs))
    ours = median(rates[MAKIMA])
    return {
        "jobs_a_round": n_jobs,
        "rounds": n_rounds,
        "settled_per_s": {
            name: {"median": round(median(each), 1), "min": round(min(each), 1), "max": round(max(each), 1)}
            for name, each in rates.items()
        },
        "makima_tts_over": {name: round(ours / median(rates[name]), 2) for name in names},
        "promises_less": {name: LESS[name] for name in names},
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.queue_peers", description=__doc__)
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)  # work NAME, publish NAME JOBS: its own processes
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--python", default=sys.executable, help="An interpreter that has the other libraries.")
    parser.add_argument("--jobs", type=int, default=2000, help="Of each round.")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    match options.words:
        case ["work", name]:
            asyncio.run(work(name, options.url))
        case ["publish", name, n_jobs]:
            asyncio.run(publish(name, options.url, int(n_jobs)))
        case _:
            print(json.dumps(measure(options.python, options.jobs, options.rounds), indent=2))


if __name__ == "__main__":
    main()
