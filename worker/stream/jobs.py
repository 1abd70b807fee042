"""The job plane: taking speak jobs from the stream, settling them, keeping and taking over leases.

Every method raises redis-py's errors when Redis is away (`worker.stream.patience` waits it out); each may be sent
again after a lost reply. A claim whose reply was lost comes back by RECLAIM when its lease is over.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha1
from time import monotonic
from typing import Any, Literal

import redis

from worker.stream.keys import GROUP, Keys
from worker.stream.link import Link, run_script
from worker.stream.patience import is_no_group
from worker.stream.script import BEAT, CLAIM, RECLAIM, SETTLE, SWEEP, Script

Verdict = Literal["ok", "retry", "release", "dead"]
BLOCK_MS = 5000
SWEEP_PAGE = 200
SICK_TTL_MS = 86_400_000
FORGET_WORKER_MS = 60_000
FORGET_CONSUMER_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Lease:
    """One entry that this worker may run, until another has claimed it with a higher fence.

    session_id is "" when the entry names no usable session. attempt counts from 1. fields is the flat
    name, value, … of the entry, reduced to the contract's names. claimed_at: monotonic seconds, before the claim.
    """

    entry_id: str
    attempt: int
    fence: int
    session_id: str
    fields: list[bytes]
    claimed_at: float

    @property
    def published_ms(self) -> int:
        return int(self.entry_id.partition("-")[0])


@dataclass(frozen=True, slots=True)
class Claim:
    """What one CLAIM gave. wait_ms: None to wait for the doorbell, 0 to claim again at once."""

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


class JobQueue:
    """One worker's view of the job plane. max_field_bytes: longer field values are cut, still seen as too long."""

    def __init__(self, link: Link, keys: Keys, worker: str, max_field_bytes: int) -> None:
        self._link = link
        self._keys = keys
        self._worker = worker
        self._max_field_bytes = max_field_bytes
        self._turn = 0
        self._ahead_ms: float | None = None  # the server's clock less ours

    async def claim(self, count: int) -> Claim:
        """Take up to `count` jobs that may run now; with 0 some that have expired, and only those."""
        self._turn = 1 - self._turn
        at = monotonic()
        given, last_job, last_bell, wait_ms, n_duplicates, now_ms = await self._run_on_group(
            CLAIM, count, self._max_field_bytes, self._turn
        )
        self._set_clock(now_ms)
        leases = [_lease(raw, at) for raw in given]
        return Claim(leases, last_job, last_bell, None if wait_ms < 0 else wait_ms, n_duplicates)

    async def reclaim(self, silent_ms: int, count: int, asked_at: float) -> Reclaim:
        """Take over up to `count` jobs whose worker has been silent for so long.

        asked_at: monotonic seconds at which this was to be done. A call that reaches the server much later takes none:
        whatever held it up held up the beats of living workers too.
        """
        at = monotonic()
        sent_ms = "" if self._ahead_ms is None else round(asked_at * 1000 + self._ahead_ms)
        given, due_ms, now_ms = await self._run_on_group(RECLAIM, silent_ms, count, self._max_field_bytes, sent_ms)
        self._set_clock(now_ms)
        return Reclaim([_lease(raw, at) for raw in given], due_ms / 1000)

    async def settle(self, lease: Lease, verdict: Verdict, argument: str | int = "") -> bool:
        """End this attempt; argument is the delay in ms of a retry, or why a job is dead. False: it was fenced.

        A released attempt does not count.
        """
        if verdict == "release":
            argument = lease.attempt - 1
        try:
            answer = await self._run(SETTLE, lease.entry_id, lease.fence, lease.session_id, verdict, argument)
        except redis.ResponseError as error:
            if is_no_group(error):
                return False
            raise
        return bool(answer == b"OK")

    async def note_sick_engine(self, lease: Lease) -> bool:
        """Note that the engine went beyond repair with this job open; False when that was noted of it before."""
        digest = sha1(b"\0sick " + lease.entry_id.encode(), usedforsecurity=False).hexdigest()
        key = self._keys.seen_prefix + digest
        return await self._link.call("SET", key, lease.entry_id, "NX", "PX", SICK_TTL_MS) is not None

    async def beat(self, lease: Lease, n_attempts: int | None = None) -> bool:
        """Renew the lease; False when it is lost. n_attempts: that count from now on, should this worker be lost."""
        count = "" if n_attempts is None else n_attempts
        try:
            return bool(await self._run(BEAT, lease.entry_id, lease.fence, lease.session_id, count) == b"OK")
        except redis.ResponseError as error:
            if is_no_group(error):
                return False
            raise

    async def sweep(self) -> None:
        """Find jobs that an accident (a lost key, a destroyed group) left in no queue, and drop what is stale."""
        cursor: str | bytes = "-"
        while cursor:
            cursor = await self._run_on_group(SWEEP, cursor, SWEEP_PAGE, FORGET_WORKER_MS, FORGET_CONSUMER_MS)

    async def leave(self) -> None:
        """Take this worker out of the list that its heartbeat wrote it into."""
        await self._link.call("HDEL", self._keys.workers, self._worker)

    def _set_clock(self, now_ms: bytes) -> None:
        ahead_ms = int(now_ms) - monotonic() * 1000  # too low by the time the answer took
        self._ahead_ms = ahead_ms if self._ahead_ms is None else max(ahead_ms, self._ahead_ms)

    async def _run(self, script: Script, *arguments: str | bytes | int) -> Any:
        return await run_script(
            self._link, script, self._keys.job_plane, self._keys.seen_prefix, self._worker, *arguments
        )

    async def _run_on_group(self, script: Script, *arguments: str | bytes | int) -> Any:
        """Run a script that reads the group, and make the group first where it is gone."""
        for _ in range(3):
            try:
                return await self._run(script, *arguments)
            except redis.ResponseError as error:
                if not is_no_group(error):
                    raise
                await self._create_group()
        raise redis.ConnectionError(f"the group {GROUP} of {self._keys.jobs} is destroyed again and again")

    async def _create_group(self) -> None:
        try:
            await self._link.call("XGROUP", "CREATE", self._keys.jobs, GROUP, "0", "MKSTREAM")
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise


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


def _lease(raw: list[Any], claimed_at: float) -> Lease:
    entry_id, attempt, fence, session_id, fields = raw
    return Lease(entry_id.decode(), attempt, int(fence), session_id.decode(), fields, claimed_at)
