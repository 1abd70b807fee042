"""The lease: the time-limited right of one worker to run one job, renewed by heartbeats.

Two sides renew it: the heartbeat's thread four times a lease, and `Lease.confirm` on the event loop before writes that
need the lease. A worker whose lease has ended must not write, since another worker may have the job.
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
    """Another worker has the job: write nothing and settle nothing."""


class Renewals(Protocol):
    """Renews leases (`worker.stream.queue.JobQueue`). lease_s: seconds that a lease lasts without a renewal."""

    lease_s: float
    retry: RetryPolicy

    async def beat(self, lease: Lease, n_attempts: int | None = None) -> bool:
        """Renew the lease; False when another worker has the job."""


@dataclass(slots=True, eq=False)
class Lease:
    """One claim of one job.

    entry_id: the job's ID in the job stream. attempt: counts from 1. fence: the fencing token, a number that rises with
    every claim of the job. session_id: "" when the entry names no usable session. fields: name, value, … of the entry,
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
        """When the job was published, by the job Redis' clock (the ms part of the entry ID)."""
        return int(self.entry_id.partition("-")[0])

    async def confirm(self, now: bool = False) -> None:
        """Return if this worker holds the lease. Raises LeaseLost.

        Queries Redis with now=True, else only when the last successful renewal is older than half a lease.
        """
        if not now and self._is_old():
            await self._answered()  # a renewal of the heartbeat may be on its way
        if self.is_lost:
            raise LeaseLost
        if now or self._is_old():
            await self.renew()

    async def renew(self, n_attempts: int | None = None) -> None:
        """Renew the lease at once. n_attempts: sets the count of attempts, which matters if this worker dies."""
        at, renewals = monotonic(), self.renewals
        if not await renewals.retry(lambda: renewals.beat(self, n_attempts)):
            raise LeaseLost
        self.last_beat = at

    @contextmanager
    def in_engine(self) -> Iterator[None]:
        """Context in which the job waits for the engine: the lease is renewed only while the engine makes progress."""
        self.is_waiting = False
        try:
            yield
        finally:
            self.is_waiting = True

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Context in which the heartbeat waits for the answer to a renewal."""
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
        """Wait until the renewals on their way are answered or fail; return at once without any."""
        loop, answered = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(answered.set)

        with self._lock:
            if not self._n_beats_sent:
                return
            self._on_answer.append(wake)
        await answered.wait()
