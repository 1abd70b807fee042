"""The intake of jobs: claims, take-overs and sweeps. Each may fail without stopping the others.

The loop claims as many jobs as there are free slots, then sleeps until the doorbell, a freed slot, a timer or the drain
wakes it. Orphans, the jobs of workers that fell silent, come before new jobs. A worker without a free slot takes them
too, a little later, so that one with a free slot gets them first.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import TypeVar

from worker.observe.metrics import Metrics
from worker.stream.lease import Lease
from worker.stream.queue import SWEEP_EVERY_MS, Claim, Doorbell, JobQueue
from worker.stream.transport.advice import sentence_on
from worker.stream.transport.retry import MissingRight, Refusal, RetryPolicy, backoff_s

SWEEP_EVERY_S = SWEEP_EVERY_MS / 1000
SILENT_LEASES = 0.75  # silence, in leases, after which a worker counts as dead: a take-over starts early
SILENT_LEASES_FULL = 1.0  # the same for a worker without a free slot

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Slots:
    """The intake's view of its worker. is_open: False while no job may be taken. n_free: slots without a job.

    n_spare: orphans that may be taken over, also beyond the slots. may_take_over: False while beats go to another
    server than claims, and after this worker stood still: live workers would look silent. begin: starts claimed jobs.
    """

    is_open: Callable[[], bool]
    may_take_over: Callable[[], bool]
    n_free: Callable[[], int]
    n_spare: Callable[[], int]
    begin: Callable[[list[Lease]], None]


@dataclass(slots=True)
class Intake:
    """Takes jobs for one worker, on one event loop. bell_retry: for the doorbell's connection; retry: for all else."""

    queue: JobQueue
    doorbell: Doorbell
    retry: RetryPolicy
    bell_retry: RetryPolicy
    metrics: Metrics
    lease_s: float
    slots: Slots
    _woken: asyncio.Event = field(default_factory=asyncio.Event)
    _is_over: bool = False
    _bell_task: asyncio.Task[None] | None = None
    _look_at: float = 0.0  # when to look for orphans in any case
    _orphan_at: float = math.inf  # when a worker with a free slot may find one
    _refused: dict[str, tuple[float, str]] = field(default_factory=dict)  # refused action: since when, and why

    def wake(self) -> None:
        """End the sleep of `run`."""
        self._woken.set()

    def end(self) -> None:
        """Take no more jobs; `run` returns."""
        self._is_over = True
        self.wake()

    def close(self) -> None:
        """Stop waiting for the doorbell."""
        if self._bell_task is not None:
            self._bell_task.cancel()

    def problems(self) -> list[str]:
        """A sentence for each action that Redis has refused for longer than a lease. May be called from any thread."""
        return [
            f"Redis refuses {what}: {error}"
            for what, (since, error) in list(self._refused.items())
            if monotonic() - since > self.lease_s
        ]

    async def run(self) -> None:
        """Take jobs until `end`. Raises MissingRight if this Redis user has never had the rights."""
        while not self._is_over:
            claim = None
            if self._n_spare > 0 and monotonic() >= self._reclaim_at:
                self._look_at = monotonic() + self.lease_s / 4 * random.uniform(0.75, 1.25)  # noqa: S311
                self._orphan_at = math.inf
                await self._unless_refused("taking jobs over", self._take_over)
            if self.slots.is_open():
                claim = await self._unless_refused("claiming jobs", self._claim)
            if claim is None or claim.wait_ms != 0:
                await self._sleep(claim)

    async def sweep(self) -> None:
        """Sweep periodically until cancelled, and one lease after the group was lost.

        By then live workers' beats have restored their pending records in the new group.
        """
        group_was_lost = False
        while True:
            sweep = partial(self.queue.sweep, group_was_lost)
            await self._unless_refused("sweeping the queue", partial(self.retry, sweep))
            self.queue.lost_group.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(SWEEP_EVERY_S * random.uniform(0.5, 1.5)):  # noqa: S311
                    await self.queue.lost_group.wait()
            if group_was_lost := self.queue.lost_group.is_set():
                await asyncio.sleep(self.lease_s)

    async def _unless_refused(self, what: str, call: Callable[[], Awaitable[T]]) -> T | None:
        """The call's answer; None, after a back-off, if Redis refuses it."""
        try:
            answer = await call()
        except Refusal as error:
            if self.retry.wants_rights and isinstance(error, MissingRight):
                raise
            if what not in self._refused:
                log.error("Redis refuses %s; retrying: %s", what, sentence_on(error))
            self._refused[what] = (self._refused.get(what, (monotonic(), ""))[0], sentence_on(error))
            await asyncio.sleep(backoff_s(3))
            return None
        self._refused.pop(what, None)
        return answer

    async def _claim(self) -> Claim:
        n_free = self._n_free
        claim = await self.retry(lambda: self.queue.claim(n_free))
        self.metrics.duplicates_deleted.inc(claim.n_duplicates)
        self.slots.begin(claim.leases)
        return claim

    async def _take_over(self) -> None:
        has_answered = self.retry.has_answered_for_s(
            self.lease_s / 2
        )  # else live workers could not renew leases either
        if not has_answered or not self.slots.may_take_over():
            return
        if self._n_free == 0 or await self._reclaim(SILENT_LEASES, self._n_free):
            await self._reclaim(SILENT_LEASES_FULL, self._n_spare)

    async def _reclaim(self, silent_leases: float, count: int) -> bool:
        """Take up to `count` orphans over; True when that many were found, so that there may be more."""
        if count == 0:
            return False
        asked_at = monotonic()
        silent_ms = round(self.lease_s * 1000 * silent_leases)
        taken = await self.retry(lambda: self.queue.reclaim(silent_ms, count, asked_at))
        self._orphan_at = monotonic() + taken.due_s - (silent_leases - SILENT_LEASES) * self.lease_s
        self.metrics.reclaimed.inc(len(taken.leases))
        self.slots.begin(taken.leases)
        return len(taken.leases) == count

    @property
    def _reclaim_at(self) -> float:
        """Monotonic seconds at which to look for orphans."""
        later_s = 0.0 if self._n_free > 0 else (SILENT_LEASES_FULL - SILENT_LEASES) * self.lease_s
        return min(self._look_at, self._orphan_at + later_s)

    async def _sleep(self, claim: Claim | None) -> None:
        """Sleep until `wake`, the doorbell, the next take-over check or the next delayed job."""
        delay_s = max(0.0, self._reclaim_at - monotonic())
        if claim is None or not self._n_free:
            delay_s = min(self.lease_s / 2, delay_s if self._n_spare else math.inf)  # to claim expired jobs
        else:
            if claim.wait_ms is not None:
                delay_s = min(delay_s, claim.wait_ms / 1000)
            if self._bell_task is None and self._n_free > 0:
                self._bell_task = asyncio.create_task(self._wait_for_bell(claim), name="doorbell")
        timer = asyncio.get_running_loop().call_later(delay_s, self._woken.set)
        await self._woken.wait()
        self._woken.clear()
        timer.cancel()

    async def _wait_for_bell(self, claim: Claim) -> None:
        try:
            await self.bell_retry(lambda: self.doorbell.wait(claim))
        except Refusal as error:
            log.error("cannot read the doorbell; retrying: %s", sentence_on(error))
            await asyncio.sleep(1)
        finally:
            self._bell_task = None
            self.wake()

    @property
    def _n_free(self) -> int:
        """How many jobs may be claimed."""
        return max(0, self.slots.n_free()) if self.slots.is_open() else 0

    @property
    def _n_spare(self) -> int:
        """How many orphans may be taken over."""
        return max(0, self.slots.n_spare()) if self.slots.is_open() else 0
