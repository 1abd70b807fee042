"""The job queue: claims, renewals, take-overs, settlement and sweeps on the job plane.

Methods raise redis-py's errors while Redis is unreachable (`worker.stream.transport.retry` repeats them). All are safe
to repeat after a lost reply. RECLAIM returns a claim whose reply was lost when its lease ends.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha1
from time import monotonic
from typing import Any, Literal

import redis

from worker.stream.keys import ASIDE_TTL_MS, GROUP, Keys
from worker.stream.lease import Lease
from worker.stream.scripts import BEAT, CLAIM, RECLAIM, SET_ASIDE, SETTLE, SWEEP, Script
from worker.stream.transport.base import Link, run_script
from worker.stream.transport.retry import PASSING, PLANE_REFUSALS, OutOfMemory, RetryPolicy, is_no_group

Verdict = Literal["ok", "retry", "release", "dead"]
Settled = Literal["ok", "fenced", "gone"]
BLOCK_MS = 5000
SWEEP_PAGE = 50
SWEEP_EVERY_MS = 10_000
SWEEP_PAUSE_S = 0.02  # between two pages, at least
ABOUT_TTL_MS = 86_400_000  # of what is noted about one entry
FORGET_WORKER_MS = 60_000
FORGET_CONSUMER_MS = 3_600_000
CLOCK_FOR_S = 10.0  # age at which any newer measurement of the server's clock replaces one
MAX_FIELD_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Claim:
    """CLAIM's answer. wait_ms: None to wait for the doorbell, 0 to claim again at once.

    last_job: ID of the newest job scanned. last_bell: ID of the doorbell's newest entry.
    """

    leases: list[Lease]
    last_job: bytes
    last_bell: bytes
    wait_ms: int | None
    n_duplicates: int


@dataclass(frozen=True, slots=True)
class Reclaim:
    """RECLAIM's answer. due_s: seconds until the next entry may be due for a take-over."""

    leases: list[Lease]
    due_s: float


@dataclass(frozen=True, slots=True)
class ServerClock:
    """One measurement of the job Redis' clock. ahead_ms: its lead on monotonic time. trip_s: round trip. at: when."""

    ahead_ms: float
    trip_s: float
    at: float

    @classmethod
    def measured(cls, now_ms: int, sent_at: float) -> ServerClock:
        """From an answer that carries now_ms, assumed to be half a round trip old."""
        at = monotonic()
        return cls(now_ms - (sent_at + at) * 500, at - sent_at, at)

    def is_better_than(self, other: ServerClock) -> bool:
        """True if its round trip was shorter, the other is old, or they contradict each other (the clock was set)."""
        apart_s = abs(self.ahead_ms - other.ahead_ms) / 1000
        was_set = apart_s > (self.trip_s + other.trip_s) / 2 + 0.1
        return was_set or self.trip_s <= other.trip_s or self.at - other.at > CLOCK_FOR_S


class JobQueue:
    """One worker's access to the job plane.

    lease_s: length of a lease. retry: repeats renewals. max_field_bytes: longer field values are truncated, to a length
    still too long for the contract. report: takes damage that a script found.
    When Redis rejects a script because a key has a wrong type, the key is set aside and the script is sent again.
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
        self._plane = (keys.job_plane, keys.seen_prefix)  # made once: every script call needs them
        self._worker = worker
        self._max_field_bytes = max_field_bytes
        self._report = report
        self._turn = 0
        self._clock: ServerClock | None = None
        self.lost_group = asyncio.Event()  # set when the group was created again: pending jobs are in no queue

    async def claim(self, count: int) -> Claim:
        """Lease up to `count` jobs that may run now; with 0, expired jobs only."""
        self._turn = 1 - self._turn
        at = monotonic()
        given, last_job, last_bell, wait_ms, n_duplicates, now_ms = await self._run(
            CLAIM, count, self._max_field_bytes, self._turn
        )
        self._set_clock(now_ms, at)
        leases = [self._lease(raw, at) for raw in given]
        return Claim(leases, last_job, last_bell, None if wait_ms < 0 else wait_ms, n_duplicates)

    async def reclaim(self, silent_ms: int, count: int, asked_at: float) -> Reclaim:
        """Take over up to `count` jobs whose worker has been silent for silent_ms.

        asked_at: monotonic seconds of the call. A call that reaches the server much later takes nothing: whatever
        delayed it has delayed other workers' beats too.
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
        """End this attempt. argument: back-off in ms for "retry", the reason for "dead".

        "release" does not count the attempt. may_come_again: publishing the same job_id again makes a new job.
        Returns "fenced" when another worker has the job, "gone" when its entry was deleted.
        """
        if verdict == "release":
            argument = lease.attempt - 1
        [answer] = await self._run(
            SETTLE, lease.entry_id, lease.fence, lease.session_id, verdict, argument, self._max_field_bytes,
            int(may_come_again),
        )  # fmt: skip
        return _SETTLED[answer]

    async def announce_retryable_end(self, lease: Lease) -> None:
        """Before an end that is retryable: what its readers publish again before it is settled waits for that.

        A full Redis takes no note, and no new entry either.
        """
        with suppress(OutOfMemory):
            await self._link.call("SET", self._about("ending", lease), lease.entry_id, "PX", ABOUT_TTL_MS)

    async def record_sick_engine(self, lease: Lease) -> bool:
        """Record that the engine broke with this job open; False when that is recorded already."""
        key = self._about("sick", lease)
        return await self._link.call("SET", key, lease.entry_id, "NX", "PX", ABOUT_TTL_MS) is not None

    def _about(self, what: str, lease: Lease) -> str:
        digest = sha1(f"\0{what} {lease.entry_id}".encode(), usedforsecurity=False).hexdigest()
        return self._keys.seen_prefix + digest

    async def beat(self, lease: Lease, n_attempts: int | None = None) -> bool:
        """Renew the lease; False when it is lost. n_attempts: sets the count of attempts.

        True for a deleted entry: no other worker can have it, so the utterance continues.
        """
        count = "" if n_attempts is None else n_attempts
        [answer] = await self._run(BEAT, lease.entry_id, lease.fence, lease.session_id, count)
        return bool(answer != b"LOST")

    async def sweep(self, at_once: bool = False) -> None:
        """Queue jobs that an accident (a lost key, a destroyed group) left in no queue, and delete stale records.

        One worker sweeps at a time, and none for SWEEP_EVERY_MS after another's last page. Each page is followed by a
        pause nine times as long. at_once: even if another worker has just swept.
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
        """Delete this worker's card from the list of workers."""
        await self._link.call("HDEL", self._keys.workers, self._worker)

    async def set_aside(self) -> bool:
        """Rename keys that no script can use (SET_ASIDE); True when there were any."""
        aside = (self._keys.aside_prefix, ":", ASIDE_TTL_MS)
        damage = await run_script(self._link, SET_ASIDE, self._keys.job_plane, self._keys.seen_prefix, *aside)
        self._report(damage)
        return bool(damage)

    def _lease(self, raw: list[Any], claimed_at: float) -> Lease:
        """The lease of one claimed entry. claimed_at: monotonic seconds just before the claim."""
        entry_id, attempt, fence, session_id, fields, repeats = raw
        return Lease(
            entry_id.decode(), attempt, int(fence), session_id.decode(), fields, claimed_at, self, repeats.decode()
        )

    def _set_clock(self, now_ms: bytes, sent_at: float) -> None:
        clock = ServerClock.measured(int(now_ms), sent_at)
        if self._clock is None or clock.is_better_than(self._clock):
            self._clock = clock

    async def _run(self, script: Script, *arguments: str | bytes | int) -> list[Any]:
        """A script's answer without its last part, the damage. Repairs a lost group or a wrong type and repeats."""
        names, seen_prefix = self._plane
        for n_before in range(4):
            try:
                answer = await run_script(self._link, script, names, seen_prefix, self._worker, *arguments)
            except redis.ResponseError as error:
                if isinstance(error, (*PASSING, *PLANE_REFUSALS)):
                    raise
                if not await self._restore(error) and n_before:  # another worker may have repaired it: repeat once
                    raise
            else:
                if answer[-1]:
                    self._report(answer[-1])
                return list(answer[:-1])
        raise redis.ConnectionError(
            f"the keys of {self._keys.jobs} are damaged repeatedly; see makima-tts queue status"
        )

    async def _restore(self, error: redis.ResponseError) -> bool:
        """Repair the cause of a script's error; False when none was found."""
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
        """Create the group after the last ID scanned, so that foreign readers of the group receive no claimed jobs."""
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
    """Waits until a job is published or becomes ready, without the group. Needs its own connection: it blocks."""

    def __init__(self, link: Link, keys: Keys) -> None:
        self._link = link
        self._keys = keys

    async def wait(self, claim: Claim) -> None:
        """Return on a new entry after that claim, or after its wait_ms, 5 s at most."""
        block_ms = BLOCK_MS if claim.wait_ms is None else min(claim.wait_ms, BLOCK_MS)
        await self._link.call(
            "XREAD", "BLOCK", max(1, block_ms), "COUNT", 1, "STREAMS",
            self._keys.jobs, self._keys.bell, claim.last_job, claim.last_bell,
        )  # fmt: skip
