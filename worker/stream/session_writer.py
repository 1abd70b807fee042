"""Writing one utterance to its session's stream, fenced by the stream's own ids.

Every write ends in one of two ways: it is on the stream exactly once, or a `Stop` says why this worker must not go on.

    Stop            what became of the utterance, and what the worker does
    ├── Ended       it has its terminal entry already: settle by its type
    ├── Fenced      another worker has it: write nothing, settle nothing
    ├── Cut         its client cancelled it: end it as cancelled
    ├── RelayLeft   the stream is gone: end it without an entry
    ├── Expired     it was not begun within its ttl_ms
    ├── Spent       its attempts are used up without a new sample
    ├── TrailLost   it had begun but its entries are gone or damaged: where to go on is unknown
    ├── StreamFull  an entry with an absurd id ended the stream for good
    ├── Rewound     Redis lost the last entries (a replica became master): give it back, to go on from what is left;
    │               or the same job was published again and is spoken
    └── Displaced   another job's entries came after ours: give it back
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

import redis

from schemas.errors import WireError
from schemas.messages import Audio, Begin, Message
from schemas.wire import pack, stream_fields
from worker.stream.keys import Keys
from worker.stream.progress import Progress, read_progress
from worker.stream.queue import Lease
from worker.stream.scripts import APPEND, BEGIN, END, REPEAT, Script
from worker.stream.transport.link import Link, run_script
from worker.stream.transport.retry import RetryPolicy

AUDIO_TTL_MS = 600_000
RENEW_EVERY_S = 60.0
NOBODYS_ATTEMPT = 0  # BEGIN finds it wrong and writes nothing
REFUSAL = "equal or smaller than the target stream top item"  # the server says so in words only


class Stop(Exception):  # control flow, no MakimaError: how an utterance ends early
    """This worker must not go on with the utterance; see the module's tree."""


class AlreadyEnded(Stop):
    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class Fenced(Stop): ...


class CancelRequested(Stop): ...


class RelayLeft(Stop): ...


class Expired(Stop): ...


class AttemptsSpent(Stop): ...


class ProgressLost(Stop): ...


class StreamFull(Stop): ...


class Rewound(Stop): ...


class Displaced(Stop): ...


@dataclass(frozen=True, slots=True)
class SessionPlane:
    """The session plane as every outbox of a worker shares it."""

    link: Link
    keys: Keys
    retry: RetryPolicy
    on_refused: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class BeginRequest:
    """What an epoch is opened with. compose: makes the message from what the outbox knows; may be asked again.

    deadline_ms: when a job that never began expires. max_attempts: how many may fail without a new sample.
    """

    compose: Callable[[SessionWriter], Begin]
    deadline_ms: int
    max_attempts: int


class SessionWriter:
    """One attempt at one utterance.

    hold(now) confirms the lease and raises Fenced when it is lost: now=True by asking Redis, else only when the last
    good beat is older than half a lease.
    attempt: as the session is told, counted from 1, where those before the last that delivered new samples count as
    none. n_fruitless: this attempt and those just before it that delivered none. Both are right once begun.
    resumed_at: samples the session had when this attempt began, None before. delivered: those it has. next_seq: the
    next chunk's number. trail: what earlier attempts left.
    """

    def __init__(
        self, plane: SessionPlane, lease: Lease, job_id: str, confirm_lease: Callable[[bool], Awaitable[None]]
    ) -> None:
        self._plane = plane
        self._lease = lease
        self._job_id = job_id
        self._confirm_lease = confirm_lease
        self._audio = plane.keys.audio(lease.session_id)
        self._job = plane.keys.job(lease.session_id, lease.entry_id)
        self._keys = (self._audio, plane.keys.cut(lease.session_id), self._job)
        self._epoch = b""
        self._n = 0
        self._connection_number = -1  # over which the stream was seen to end with our last entry
        self._renewed_at = monotonic()
        self.attempt = self.n_fruitless = lease.attempt
        self.resumed_at: int | None = None
        self.delivered = 0
        self.next_seq = 0
        self.progress = Progress()

    @property
    def has_progressed(self) -> bool:
        """True when this attempt delivered a new sample."""
        return self.resumed_at is not None and self.delivered > self.resumed_at

    async def look(self, terms: BeginRequest) -> None:
        """Learn what `begin` would find, and write nothing: to be asked once, before it. Raises Stop as it does."""
        self._terms = terms
        await self._ask_to_begin(NOBODYS_ATTEMPT)

    async def begin(self, terms: BeginRequest) -> int:
        """Open an epoch; returns the session Redis' clock in ms."""
        self._terms = terms
        return await self._begin()

    async def _begin(self) -> int:
        while True:
            number = self._plane.link.connection_number
            answer = await self._ask_to_begin(self.attempt)
            if answer[0] == b"OK":
                break
        self._epoch, self._n, self._connection_number = answer[1], 1, number
        if self.resumed_at is None:
            self.resumed_at = self.delivered
        return int(answer[3])

    async def _ask_to_begin(self, attempt: int) -> list[Any]:
        """BEGIN's answer: OK, or MOVED when nothing was written for what this outbox believed; then it knows better."""
        await self._confirm_lease(False)
        terms, claimed = self._terms, self._lease.attempt
        body = pack(terms.compose(self))
        answer = await self._ask(BEGIN, self.delivered, body, terms.deadline_ms, claimed, terms.max_attempts, attempt)
        if answer[0] not in (b"OK", b"MOVED"):
            self._stop(answer)
        if answer[0] == b"MOVED":
            self.delivered = int(answer[1])
            if self.resumed_at is None:
                self.attempt = answer[2]
            await self._read_progress()
        self.n_fruitless = answer[-1] if answer[0] == b"MOVED" else answer[2]
        return answer

    async def write(self, message: Audio, n_samples: int, codes: bytes) -> None:
        """Append the next chunk; it begins at `delivered` and is number `next_seq`."""
        seq, after = self.next_seq, self.delivered + n_samples
        fields = stream_fields(message, self._lease.entry_id, after, codes)
        while not await self._append(fields):
            await self._reopen_after_refusal()
            if self.next_seq == seq + 1 and self.delivered == after:
                break  # it had landed after all
            if self.next_seq != seq or self.delivered != after - n_samples:
                raise Rewound
        self.next_seq, self.delivered = seq + 1, after
        if monotonic() - self._renewed_at > RENEW_EVERY_S:
            await self._renew()

    async def end(self, message: Message, code: str = "", text: str = "") -> None:
        """Write the terminal entry. Raises Ended when there is one already, or Stop."""
        await self._confirm_lease(False)
        while True:
            at = self._epoch + b"-%d" % self._n if self._epoch else b""
            answer = await self._ask(END, message.type, at, self.delivered, pack(message), code, text)
            if answer[0] == b"OK":
                return
            if answer[0] != b"REFUSED":
                self._stop(answer)
            before = self.delivered
            await self._reopen_after_refusal()
            if self.delivered != before:
                raise Rewound

    async def repeat(self, first_id: str) -> bool:
        """Answer a job that was published again after its end with a copy of that end; False when it is gone."""
        keys = (*self._keys, self._plane.keys.job(self._lease.session_id, first_id))
        [answer, *_] = await self._script(REPEAT, keys=keys)
        if answer == b"STALE":
            raise Fenced
        return bool(answer != b"NONE")

    async def _append(self, fields: list[Any]) -> bool:
        """Write this epoch's next entry; False when refused for good, True when it is on the stream."""
        entry_id = self._epoch + b"-%d" % self._n
        try:
            landed = await self._plane.retry(lambda: self._send(entry_id, fields))
        except redis.ResponseError as error:
            if not _is_refusal(error):
                raise
            landed = await self._had_landed()
            if not landed:
                return False
        if landed is None:
            raise RelayLeft
        self._n += 1
        return True

    async def _send(self, entry_id: bytes, fields: list[Any]) -> Any:
        """XADD; over a new connection only where the stream ends with our last entry. None without a stream."""
        link, number = self._plane.link, self._plane.link.connection_number
        if number == self._connection_number:
            return await link.call("XADD", self._audio, "NOMKSTREAM", entry_id, *fields)
        last = self._epoch + b"-%d" % (self._n - 1)
        [answer] = await run_script(link, APPEND, self._keys, last, entry_id, *fields)
        if answer == b"REFUSED":
            raise redis.ResponseError(REFUSAL)
        self._connection_number = number
        return entry_id if answer == b"OK" else None

    async def _had_landed(self) -> bool:
        """True when the refused entry is there: written before, its reply lost."""
        tail = await self._tail()
        if tail is None:
            return False
        epoch, _, n = tail[0].partition(b"-")
        return epoch == self._epoch and int(n) >= self._n and tail[1].get(b"entry") == self._lease.entry_id.encode()

    async def _reopen_after_refusal(self) -> None:
        """Our entry was refused: open a new epoch if the utterance is still ours, and see what the session has."""
        self._plane.on_refused()
        delivered, seq = self.delivered, self.next_seq
        tail = await self._tail()
        await self._confirm_lease(True)
        if tail is not None and not self._may_follow(tail[1]):
            raise Displaced if self._is_another_jobs(*tail) else Rewound
        await self._read_progress()  # the begin tells of it
        await self._begin()
        if self.delivered < delivered or 0 < self.progress.next_seq < seq:
            raise Rewound

    async def _read_progress(self) -> None:
        link, entry_id = self._plane.link, self._lease.entry_id
        try:
            self.progress = await self._plane.retry(lambda: read_progress(link, self._audio, entry_id))
        except WireError as error:
            raise ProgressLost from error
        self.next_seq = max(self.next_seq, self.progress.next_seq)

    def _may_follow(self, tail: dict[bytes, bytes]) -> bool:
        return tail.get(b"type") == b"cancel" or tail.get(b"entry") == self._lease.entry_id.encode()

    def _is_another_jobs(self, stream_id: bytes, tail: dict[bytes, bytes]) -> bool:
        """False where what we wrote was lost, or this job itself was published again and is spoken."""
        is_later = int(stream_id.partition(b"-")[0]) >= int(self._epoch or 0)
        return is_later and tail.get(b"job_id") != self._job_id.encode()

    async def _tail(self) -> tuple[bytes, dict[bytes, bytes]] | None:
        found = await self._plane.retry(lambda: self._plane.link.call("XREVRANGE", self._audio, "+", "-", "COUNT", 1))
        if not found:
            return None
        entry_id, flat = found[0]
        return entry_id, dict(zip(flat[::2], flat[1::2], strict=True))

    async def _renew(self) -> None:
        for key in (self._audio, self._job):
            await self._plane.retry(
                lambda key=key: self._plane.link.call("PEXPIRE", key, AUDIO_TTL_MS)  # type: ignore[misc]
            )
        self._renewed_at = monotonic()

    async def _ask(self, script: Script, *arguments: Any) -> list[Any]:
        """BEGIN's or END's answer. That another has the job is believed of the job plane only: raises Fenced."""
        answer = await self._script(script, *arguments, "")
        if answer[0] == b"STALE":
            await self._confirm_lease(True)
            answer = await self._script(script, *arguments, "1")
        return answer

    async def _script(self, script: Script, *arguments: Any, keys: tuple[str, ...] | None = None) -> list[Any]:
        link, lease = self._plane.link, self._lease
        words = (lease.entry_id, self._job_id, lease.fence, *arguments)
        answer: list[Any] = await self._plane.retry(lambda: run_script(link, script, keys or self._keys, *words))
        return answer

    def _stop(self, answer: list[Any]) -> None:
        kind = answer[0]
        if kind == b"DONE":
            raise AlreadyEnded(answer[1].decode())
        if kind in (b"CUT", b"SPENT"):
            self.delivered = int(answer[1])
        raise _STOPS[kind]


_STOPS: dict[bytes, type[Stop]] = {
    b"STALE": Fenced,
    b"CUT": CancelRequested,
    b"GONE": RelayLeft,
    b"EXPIRED": Expired,
    b"LOST": ProgressLost,
    b"FULL": StreamFull,
    b"SPENT": AttemptsSpent,
}


def _is_refusal(error: redis.ResponseError) -> bool:
    """An id that is not above the stream's last one."""
    return REFUSAL in str(error)
