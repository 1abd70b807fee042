"""The job plane: taking speak jobs from the stream, settling them, keeping and taking over leases.

Every method raises redis-py's errors when Redis is away (`worker.stream.transport.retry` waits it out); each may be
sent again after a lost reply. A claim whose reply was lost comes back by RECLAIM when its lease is over.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha1
from time import monotonic
from typing import Any, Literal

import redis

from worker.stream.keys import GROUP, Keys
from worker.stream.lease import Lease
from worker.stream.scripts import BEAT, CLAIM, RECLAIM, SET_ASIDE, SETTLE, SWEEP, Script
from worker.stream.transport.base import Link, run_script
from worker.stream.transport.retry import PASSING, PLANE_REFUSALS, RetryPolicy, is_no_group

Verdict = Literal["ok", "retry", "release", "dead"]
Settled = Literal["ok", "fenced", "gone"]
BLOCK_MS = 5000
SWEEP_PAGE = 50
SWEEP_EVERY_MS = 10_000
SWEEP_PAUSE_S = 0.02  # at least, between two pages
SICK_TTL_MS = 86_400_000
FORGET_WORKER_MS = 60_000
FORGET_CONSUMER_MS = 3_600_000
KEEP_ASIDE_MS = 7 * 86_400_000
CLOCK_FOR_S = 10.0  # after which an older measurement of the server's clock counts no more
MAX_FIELD_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Claim:
    """What one CLAIM gave. wait_ms: None to wait for the doorbell, 0 to claim again at once.

    last_job: the newest entry that was looked at. last_bell: the newest of the doorbell.
    """

    leases: list[Lease]
    last_job: bytes
    last_bell: bytes
    wait_ms: int | None
    n_duplicates: int


@dataclass(frozen=True, slots=True)
class Reclaim:
    """What one RECLAIM took over. due_s: seconds until the next entry may have been silent for too long."""

    leases: list[Lease]
    due_s: float


@dataclass(frozen=True, slots=True)
class ServerClock:
    """The job Redis' clock: ahead_ms of ours (monotonic), as a round trip of trip_s measured it at monotonic `at`."""

    ahead_ms: float
    trip_s: float
    at: float

    @classmethod
    def measured(cls, now_ms: int, sent_at: float) -> ServerClock:
        """The server said now_ms half a round trip ago."""
        at = monotonic()
        return cls(now_ms - (sent_at + at) * 500, at - sent_at, at)

    def is_better_than(self, other: ServerClock) -> bool:
        """True where this trip was quicker, the other is old, or the two cannot both be right: the clock was set."""
        apart_s = abs(self.ahead_ms - other.ahead_ms) / 1000
        was_set = apart_s > (self.trip_s + other.trip_s) / 2 + 0.1
        return was_set or self.trip_s <= other.trip_s or self.at - other.at > CLOCK_FOR_S


class JobQueue:
    """One worker's view of the job plane.

    lease_s, retry: how long the leases it gives last, and how their renewals are repeated. max_field_bytes: longer
    field values are cut, still too long for the contract. report: called with what a script found that no worker
    wrote. A key that was given another type is put aside, and the script is sent again.
    """

    def __init__(
        self,
        link: Link,
        keys: Keys,
        worker: str,
        *,
        lease_s: float = 2.0,
        retry: RetryPolicy | None = None,
        max_field_bytes: int = MAX_FIELD_BYTES,
        report: Callable[[Sequence[bytes]], None] = lambda damage: None,
    ) -> None:
        self.lease_s = lease_s
        self.retry = retry or RetryPolicy("job")
        self._link = link
        self._keys = keys
        self._plane = (keys.job_plane, keys.seen_prefix)  # made once: the scripts of every job ask for them
        self._worker = worker
        self._max_field_bytes = max_field_bytes
        self._report = report
        self._turn = 0
        self._clock: ServerClock | None = None
        self.lost_group = asyncio.Event()  # set where the group had to be made: what was pending is in no queue

    async def claim(self, count: int) -> Claim:
        """Take up to `count` jobs that may run now; with 0 some that have expired, and only those."""
        self._turn = 1 - self._turn
        at = monotonic()
        given, last_job, last_bell, wait_ms, n_duplicates, now_ms = await self._run(
            CLAIM, count, self._max_field_bytes, self._turn
        )
        self._set_clock(now_ms, at)
        leases = [self._lease(raw, at) for raw in given]
        return Claim(leases, last_job, last_bell, None if wait_ms < 0 else wait_ms, n_duplicates)

    async def reclaim(self, silent_ms: int, count: int, asked_at: float) -> Reclaim:
        """Take over up to `count` jobs whose worker has been silent for so long.

        asked_at: monotonic seconds at which this was to be done. A call that reaches the server much later takes none:
        what held it up held up the beats of living workers too.
        """
        leases: list[Lease] = []
        due_s, cursor = silent_ms / 1000, b"-"
        while cursor:
            at = monotonic()
            sent_ms = "" if self._clock is None else round(asked_at * 1000 + self._clock.ahead_ms)
            given, due_ms, now_ms, cursor = await self._run(
                RECLAIM, silent_ms, count - len(leases), self._max_field_bytes, sent_ms, cursor
            )
            self._set_clock(now_ms, at)
            leases += [self._lease(raw, at) for raw in given]
            due_s = min(due_s, due_ms / 1000)
            asked_at = monotonic()
        return Reclaim(leases, due_s)

    async def settle(
        self, lease: Lease, verdict: Verdict, argument: str | int = "", may_come_again: bool = False
    ) -> Settled:
        """End this attempt; argument is the delay in ms of a retry, or why a job is dead.

        A released attempt does not count. may_come_again: publishing the same job_id again is a new job.
        Returns "fenced" when another worker has the job, "gone" when somebody took it out of the stream.
        """
        if verdict == "release":
            argument = lease.attempt - 1
        [answer] = await self._run(
            SETTLE, lease.entry_id, lease.fence, lease.session_id, verdict, argument, self._max_field_bytes,
            int(may_come_again),
        )  # fmt: skip
        return _SETTLED[answer]

    async def record_sick_engine(self, lease: Lease) -> bool:
        """Note that the engine went beyond repair with this job open; False when that was noted of it before."""
        digest = sha1(b"\0sick " + lease.entry_id.encode(), usedforsecurity=False).hexdigest()
        key = self._keys.seen_prefix + digest
        return await self._link.call("SET", key, lease.entry_id, "NX", "PX", SICK_TTL_MS) is not None

    async def beat(self, lease: Lease, n_attempts: int | None = None) -> bool:
        """Renew the lease; False when it is lost. n_attempts: that count from now on, should this worker be lost.

        An entry that somebody took out of the stream can be nobody else's: its speaker goes on.
        """
        count = "" if n_attempts is None else n_attempts
        [answer] = await self._run(BEAT, lease.entry_id, lease.fence, lease.session_id, count)
        return bool(answer != b"LOST")

    async def sweep(self, at_once: bool = False) -> None:
        """Find jobs that an accident (a lost key, a destroyed group) left in no queue, and drop what is stale.

        One worker sweeps at a time, and none for SWEEP_EVERY_MS after another's last page. Between its pages it leaves
        Redis to others for nine times as long as they took. at_once: also where another worker has just swept.
        """
        part, cursor = 1, b""
        while part:
            at = monotonic()
            part, cursor = await self._run(
                SWEEP,
                part,
                cursor,
                SWEEP_PAGE,
                SWEEP_EVERY_MS,
                FORGET_WORKER_MS,
                FORGET_CONSUMER_MS,
                int(at_once),
            )
            if cursor:
                await asyncio.sleep(max(SWEEP_PAUSE_S, 9 * (monotonic() - at)))

    async def deregister(self) -> None:
        """Remove this worker from the list of workers, which its heartbeat has written it into."""
        await self._link.call("HDEL", self._keys.workers, self._worker)

    async def set_aside(self) -> bool:
        """Put aside what no script can use; True when there was any."""
        aside = (self._keys.aside_prefix, ":", KEEP_ASIDE_MS)
        damage = await run_script(self._link, SET_ASIDE, self._keys.job_plane, self._keys.seen_prefix, *aside)
        self._report(damage)
        return bool(damage)

    def _lease(self, raw: list[Any], claimed_at: float) -> Lease:
        """The lease of one given entry. claimed_at: monotonic seconds just before the claim, the first renewal."""
        entry_id, attempt, fence, session_id, fields, repeats = raw
        return Lease(
            entry_id.decode(), attempt, int(fence), session_id.decode(), fields, claimed_at, self, repeats.decode()
        )

    def _set_clock(self, now_ms: bytes, sent_at: float) -> None:
        clock = ServerClock.measured(int(now_ms), sent_at)
        if self._clock is None or clock.is_better_than(self._clock):
            self._clock = clock

    async def _run(self, script: Script, *arguments: str | bytes | int) -> list[Any]:
        """The script's answer without its last part, what was odd. Makes the group first where it is gone."""
        names, seen_prefix = self._plane
        for n_before in range(4):
            try:
                answer = await run_script(self._link, script, names, seen_prefix, self._worker, *arguments)
            except redis.ResponseError as error:
                if isinstance(error, (*PASSING, *PLANE_REFUSALS)):
                    raise
                if not await self._restore(error) and n_before:  # at first another worker may just have mended it
                    raise
            else:
                if answer[-1]:
                    self._report(answer[-1])
                return list(answer[:-1])
        raise redis.ConnectionError(
            f"the keys of {self._keys.jobs} are damaged again and again; see makima-tts queue status"
        )

    async def _restore(self, error: redis.ResponseError) -> bool:
        """Mend what made the server refuse a script; False when nothing was found to mend."""
        if is_no_group(error):
            try:
                await self._create_group()
            except redis.ResponseError as refusal:
                if isinstance(refusal, (*PASSING, *PLANE_REFUSALS)):
                    raise
            else:
                return True
        return await self.set_aside()

    async def _create_group(self) -> None:
        """Behind what was looked at: who reads the group by itself is not given what others speak."""
        try:
            taken = await self._link.call("GET", self._keys.job_plane_key("taken"))
            start = taken if taken and _ENTRY_ID.fullmatch(taken) else "0"
            await self._link.call("XGROUP", "CREATE", self._keys.jobs, GROUP, start, "MKSTREAM")
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
        else:
            self.lost_group.set()


_ENTRY_ID = re.compile(rb"[0-9]{1,19}-[0-9]{1,19}")
_SETTLED: dict[bytes, Settled] = {b"OK": "ok", b"FENCED": "fenced", b"GONE": "gone"}


class Doorbell:
    """Waits outside the group until a job was published or became ready. Needs a connection of its own."""

    def __init__(self, link: Link, keys: Keys) -> None:
        self._link = link
        self._keys = keys

    async def wait(self, claim: Claim) -> None:
        """Return when something came after that claim, or after its wait_ms, 5 s at most."""
        block_ms = BLOCK_MS if claim.wait_ms is None else min(claim.wait_ms, BLOCK_MS)
        await self._link.call(
            "XREAD", "BLOCK", max(1, block_ms), "COUNT", 1, "STREAMS",
            self._keys.jobs, self._keys.bell, claim.last_job, claim.last_bell,
        )  # fmt: skip
