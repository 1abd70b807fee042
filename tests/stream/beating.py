"""Heartbeats for the tests, with a clock that is set by hand, and the state of leases on the server."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import redis

from tests.conftest import eventually
from tests.stream.clocks import HandClock
from worker.stream.clock import Clock
from worker.stream.heartbeat import BeatingWorker, Heartbeat
from worker.stream.keys import GROUP, Keys
from worker.stream.lease import Lease
from worker.stream.queue import JobQueue
from worker.stream.transport.address import Address
from worker.stream.transport.open import open_link

KEYS = Keys()
LEASE_S = 60.0
QUARTER_S = LEASE_S / 4
LONG_AGO_MS = 100_000
NUMBERS = itertools.count()
ME = "me:1:00000000"


@contextmanager
def beating(
    url: str,
    clock: Clock,
    worker: BeatingWorker | None = None,
    lease_s: float = LEASE_S,
) -> Iterator[Heartbeat]:
    heart = Heartbeat(Address(url), KEYS, ME, lease_s, worker, clock)
    heart.start()
    try:
        yield heart
    finally:
        heart.stop()
    assert "heartbeat" not in {thread.name for thread in threading.enumerate()}


async def take_jobs(url: str, count: int = 1, worker: str = ME) -> list[Lease]:
    link = open_link(Address(url))
    for _ in range(count):
        await link.call("XADD", KEYS.jobs, "*", "session_id", f"s{next(NUMBERS)}", "text", "hello")
    claim = await JobQueue(link, KEYS, worker, max_field_bytes=20_000).claim(count)
    await link.close()
    assert len(claim.leases) == count
    return claim.leases


async def take_over(url: str) -> list[Lease]:
    """Take over, as another worker, every job that was not renewed for half of LONG_AGO_MS."""
    link = open_link(Address(url))
    found = (
        await JobQueue(link, KEYS, "other:2:00000000", max_field_bytes=20_000).reclaim(LONG_AGO_MS // 2, 10, 0.0)
    ).leases
    await link.close()
    return found


def add(heart: Heartbeat, lease: Lease) -> Lease:
    heart.add(lease)
    return lease


def age(client: redis.Redis, leases: Sequence[Lease]) -> None:
    """Make the leases look as if they were renewed long ago."""
    ids = [lease.entry_id for lease in leases]
    client.xclaim(KEYS.jobs, GROUP, ME, 0, ids, idle=LONG_AGO_MS, justid=True)  # type: ignore[arg-type]


def are_renewed(client: redis.Redis) -> list[bool]:
    """Of every running job, in order: whether its lease was renewed since `age`."""
    pending = client.xpending_range(KEYS.jobs, GROUP, "-", "+", 100)
    return [int(one["time_since_delivered"]) < LONG_AGO_MS for one in pending]


def n_beats(client: redis.Redis) -> int:
    """How many beats the server has carried out, claims included."""
    return sum(one["calls"] for name, one in client.info("commandstats").items() if name == "cmdstat_xclaim")


async def beats_of(lease: Lease, clock: HandClock) -> None:
    """Wait until the beat that was due now is answered."""
    await eventually(lambda: lease.last_beat == clock.now())


class Losses:
    """The leases reported lost, and the threads that reported them."""

    def __init__(self) -> None:
        self.leases: list[Lease] = []
        self.threads: set[str] = set()

    @property
    def worker(self) -> BeatingWorker:
        return BeatingWorker(on_lost=self)

    def __call__(self, lease: Lease) -> None:
        self.leases.append(lease)
        self.threads.add(threading.current_thread().name)
