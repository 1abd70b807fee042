"""The lease: the time-limited right of one worker to run one job, renewed by heartbeats.

Two sides renew a lease: the heartbeat's thread four times a lease, and `Lease.confirm` on the event loop where a write
must not follow a lease that was lost. A worker whose lease is over may not write: another may have the job by then.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Protocol

from worker.stream.transport.retry import RetryPolicy


class LeaseLost(Exception):  # control flow, no MakimaError
    """Another worker has the job: write nothing of it and settle nothing."""


class Renewals(Protocol):
    """What renews a lease (`worker.stream.queue.JobQueue`). lease_s: how long a lease lasts without a renewal."""

    lease_s: float
    retry: RetryPolicy

    async def beat(self, lease: Lease, n_attempts: int | None = None) -> bool:
        """Renew the lease; False when another worker has the job."""


@dataclass(slots=True, eq=False)
class Lease:
    """One claim of one job.

    entry_id: of the job in the job stream. attempt: counts from 1. fence: the fencing token; a later claim of the same
    job has a higher one. session_id: "" when the entry names no usable session. fields: name, value, … of the entry,
    reduced to the contract's names. repeats: the ID of an ended entry that published the same job before, or "".

    last_beat: monotonic seconds at which the last successful renewal was sent. is_waiting: True while the job waits for
    something other than the engine (a slot, Redis, a reader), which no hung engine can delay. is_lost: another worker
    has the job. The heartbeat's thread and the event loop both write these three.
    """

    entry_id: str
    attempt: int
    fence: int
    session_id: str
    fields: list[bytes]
    last_beat: float
    renewals: Renewals
    repeats: str = ""
    is_waiting: bool = True
    is_lost: bool = False
    _n_beats_sent: int = 0
    _on_answer: list[Callable[[], None]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def published_ms(self) -> int:
        """When the job was published, by the job Redis' clock: its entry ID says so."""
        return int(self.entry_id.partition("-")[0])

    async def confirm(self, now: bool = False) -> None:
        """Return while this worker holds the lease. Raises LeaseLost.

        Redis is queried with now=True, else only where the last successful renewal is older than half a lease.
        """
        if not now and self._is_old():
            await self._answered()  # the heartbeat has sent one already, and Redis is far away
        if self.is_lost:
            raise LeaseLost
        if now or self._is_old():
            await self.renew()

    async def renew(self, n_attempts: int | None = None) -> None:
        """Renew the lease at once. n_attempts: the count of attempts from now on, should this worker die."""
        at, renewals = monotonic(), self.renewals
        if not await renewals.retry(lambda: renewals.beat(self, n_attempts)):
            raise LeaseLost
        self.last_beat = at

    @contextmanager
    def in_engine(self) -> Iterator[None]:
        """While the job waits for the engine: the lease is then renewed only as long as the engine makes progress."""
        self.is_waiting = False
        try:
            yield
        finally:
            self.is_waiting = True

    @contextmanager
    def beating(self) -> Iterator[None]:
        """While the heartbeat waits for the answer to a renewal."""
        with self._lock:
            self._n_beats_sent += 1
        try:
            yield
        finally:
            with self._lock:
                self._n_beats_sent -= 1
                waiting, self._on_answer = self._on_answer, []
            for wake in waiting:
                wake()

    def _is_old(self) -> bool:
        return monotonic() - self.last_beat > self.renewals.lease_s / 2

    async def _answered(self) -> None:
        """Wait until a renewal on its way is answered or has failed; return at once when there is none."""
        loop, answered = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(answered.set)

        with self._lock:
            if not self._n_beats_sent:
                return
            self._on_answer.append(wake)
        await answered.wait()
