"""Which jobs a worker takes, in which order: orphans before new ones, and orphans also without a free slot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from tests.conftest import eventually
from worker.intake import SILENT_LEASES, SILENT_LEASES_FULL, Intake, Slots
from worker.observe.metrics import Metrics
from worker.stream.lease import Lease
from worker.stream.queue import Claim, Reclaim

LEASE_S = 40.0  # so long that no timer of the intake ends within a test
N_SLOTS = 4


class AlwaysThere:
    """A retry policy whose Redis has always answered."""

    wants_rights = False

    async def __call__(self, call: Callable[[], Awaitable[Any]]) -> Any:
        return await call()

    def has_answered_for_s(self, seconds: float) -> bool:
        return True


@dataclass
class Queue:
    """Hands out orphans, then nothing. orphans: seconds of silence of each. calls: ("reclaim", leases, count) …."""

    orphans: list[float] = field(default_factory=list)
    calls: list[tuple[str, float, int]] = field(default_factory=list)

    async def reclaim(self, silent_ms: int, count: int, asked_at: float) -> Reclaim:
        self.calls.append(("reclaim", silent_ms / 1000 / LEASE_S, count))
        silent_s = silent_ms / 1000
        taken = [silence for silence in self.orphans if silence >= silent_s][:count]
        self.orphans = [silence for silence in self.orphans if silence not in taken]
        left = [silent_s - silence for silence in self.orphans if silence < silent_s]
        return Reclaim([lease() for _ in taken], min(left, default=silent_s))

    async def claim(self, count: int) -> Claim:
        self.calls.append(("claim", 0.0, count))
        return Claim([], b"0-0", b"0-0", None, 0)


class Bell:
    async def wait(self, claim: Claim) -> None:
        await asyncio.Event().wait()


def lease() -> Lease:
    return Lease("1-1", 1, 1, "s", [], 0.0, cast(Any, None))


@dataclass
class Floor:
    """A worker's jobs."""

    n_busy: int

    def begin(self, leases: list[Lease]) -> None:
        self.n_busy += len(leases)


@asynccontextmanager
async def taking(queue: Queue, floor: Floor) -> AsyncIterator[Intake]:
    slots = Slots(
        is_open=lambda: True,
        may_take_over=lambda: True,
        n_free=lambda: N_SLOTS - floor.n_busy,
        n_spare=lambda: 2 * N_SLOTS - floor.n_busy,
        begin=floor.begin,
    )
    retry = cast(Any, AlwaysThere())
    intake = Intake(cast(Any, queue), cast(Any, Bell()), retry, retry, Metrics(), LEASE_S, slots)
    task = asyncio.create_task(intake.run())
    yield intake
    intake.end()
    intake.close()
    await task


async def test_a_worker_with_free_slots_takes_orphans_after_three_quarters_of_a_lease_and_then_new_jobs() -> None:
    queue, floor = Queue(orphans=[0.8 * LEASE_S]), Floor(N_SLOTS - 3)
    async with taking(queue, floor):
        await eventually(lambda: len(queue.calls) == 2)
    assert queue.calls[:2] == [("reclaim", SILENT_LEASES, 3), ("claim", 0.0, 2)]


async def test_orphans_beyond_the_free_slots_are_taken_after_a_whole_lease() -> None:
    queue, floor = Queue(orphans=[2 * LEASE_S, 3 * LEASE_S, 0.8 * LEASE_S]), Floor(N_SLOTS - 1)
    async with taking(queue, floor):
        await eventually(lambda: len(queue.calls) == 3)
    assert queue.calls[:3] == [
        ("reclaim", SILENT_LEASES, 1),
        ("reclaim", SILENT_LEASES_FULL, N_SLOTS),
        ("claim", 0.0, 0),
    ]
    assert floor.n_busy == N_SLOTS + 1
    assert queue.orphans == [0.8 * LEASE_S], "a worker with a free slot may still come"


async def test_a_full_worker_takes_at_most_as_many_orphans_as_it_has_slots() -> None:
    queue, floor = Queue(orphans=[(2 + n) * LEASE_S for n in range(9)]), Floor(N_SLOTS)
    async with taking(queue, floor) as intake:
        await eventually(lambda: len(queue.calls) == 2)
        intake.wake()
        await eventually(lambda: len(queue.calls) == 3)
    assert queue.calls[:3] == [("reclaim", SILENT_LEASES_FULL, N_SLOTS), ("claim", 0.0, 0), ("claim", 0.0, 0)]
    assert floor.n_busy == 2 * N_SLOTS


async def test_a_slot_that_becomes_free_goes_to_an_orphan_before_a_new_job() -> None:
    """The orphan has been silent for long enough for a free slot, and not for a full worker."""
    queue, floor = Queue(orphans=[0.9 * LEASE_S]), Floor(N_SLOTS)
    async with taking(queue, floor) as intake:
        await eventually(lambda: len(queue.calls) == 2)
        assert queue.calls == [("reclaim", SILENT_LEASES_FULL, N_SLOTS), ("claim", 0.0, 0)]
        floor.n_busy -= 1
        intake.wake()
        await eventually(lambda: len(queue.calls) > 3)
    assert queue.calls[2] == ("reclaim", SILENT_LEASES, 1)
    assert ("claim", 0.0, 1) not in queue.calls
    assert floor.n_busy == N_SLOTS


async def test_a_full_worker_beside_live_ones_claims_for_a_freed_slot_at_once() -> None:
    """Its last look at their leases says that none can have become an orphan since."""
    queue, floor = Queue(orphans=[0.2 * LEASE_S]), Floor(N_SLOTS)
    async with taking(queue, floor) as intake:
        await eventually(lambda: len(queue.calls) == 2)
        floor.n_busy -= 1
        intake.wake()
        await eventually(lambda: len(queue.calls) == 3)
    assert queue.calls[2] == ("claim", 0.0, 1)
