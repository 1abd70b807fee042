"""The session writer: appends one attempt's entries to its session's stream by compare-and-append.

Stream IDs are the fence. An attempt writes `<epoch>-0`, `<epoch>-1`, …. BEGIN opens an epoch above everything on the
stream; APPEND, LOOK and END compare the stream's last ID before they act. So a replaced worker's entry never lands.
After a write the entry is on the stream exactly once, or an exception gives the reason to stop:

    LeaseLost            another worker has the job: write nothing, settle nothing
    Stop
    ├── AlreadyEnded     the job has its terminal entry: settle by its type
    ├── CancelRequested  a client cancelled the job: end it as cancelled
    ├── RelayLeft        the stream is gone: end the job without an entry
    ├── Expired          the job had not begun within its ttl_ms
    ├── AttemptsSpent    max_attempts attempts in a row delivered no new sample
    ├── ProgressLost     the job had begun, but its entries are missing or damaged: where to resume is unknown
    ├── StreamFull       a client wrote an ID near the maximum: no entry can follow it
    ├── Rewound          Redis lost the last entries (a replica became master) or the session, or the same job was
    │                    published again: give the job back, to be resumed from what is left
    └── Displaced        another job's entries follow: give the job back
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from schemas.errors import WireError
from schemas.messages import Audio, Message, SegmentStart
from schemas.wire import pack, stream_fields
from worker.stream.begin_request import BeginRequest
from worker.stream.keys import Keys
from worker.stream.lease import Lease, LeaseLost
from worker.stream.progress import Progress, read_progress
from worker.stream.scripts import APPEND, BEGIN, END, LOOK, REPEAT, Script
from worker.stream.transport.base import Link, run_script
from worker.stream.transport.retry import RetryPolicy

NO_ATTEMPT = 0  # an attempt number that BEGIN always rejects, so that it writes nothing


class Stop(Exception):  # control flow, no MakimaError
    """A reason to stop writing, listed in the module's docstring. Control flow, not an error."""


class AlreadyEnded(Stop):
    """kind: type of the terminal entry. code: of an error; "" where it is not known."""

    def __init__(self, kind: str, code: str = "") -> None:
        super().__init__(kind)
        self.kind = kind
        self.code = code


class CancelRequested(Stop): ...


class RelayLeft(Stop): ...


class Expired(Stop): ...


class AttemptsSpent(Stop): ...


class ProgressLost(Stop): ...


class StreamFull(Stop): ...


class Rewound(Stop): ...


class Displaced(Stop): ...


@dataclass(slots=True)
class SessionPlane:
    """The session plane, shared by all writers of a worker.

    on_refused: counts writes that were not appended. hint: the command that publishes the ID of each new entry on the
    channel named as its stream, PUBLISH or SPUBLISH; "" for none.
    """

    link: Link
    keys: Keys
    retry: RetryPolicy
    on_refused: Callable[[], None] = lambda: None
    hint: str = ""


class SessionWriter:
    """Writes the entries of one attempt.

    text_key: the stream of an open job's text, which gets the TTL of the session's; None for any other job. attempt:
    the 1-based number in `begin`; it restarts after an attempt that delivered new samples. n_fruitless: this attempt
    and those just before it that delivered none. Both are valid after `begin`. resumed_at: samples on the stream when
    this attempt began, None before. delivered: samples on the stream. next_seq: number of the next chunk.
    """

    def __init__(self, plane: SessionPlane, lease: Lease, job_id: str, text_key: str | None = None) -> None:
        self._plane = plane
        self._lease = lease
        self._job_id = job_id
        self._audio = plane.keys.audio(lease.session_id)
        job = plane.keys.job(lease.session_id, lease.entry_id)
        self._keys = (self._audio, plane.keys.cut(lease.session_id), job)
        self._text = () if text_key is None else (text_key,)
        self._request: BeginRequest | None = None
        self._epoch = b""
        self._n = 0  # entries of this epoch on the stream
        self.attempt = self.n_fruitless = lease.attempt
        self.resumed_at: int | None = None
        self.delivered = 0
        self.next_seq = 0
        self.progress = Progress()
        self._turn = asyncio.Lock()  # of `write` and `look`, which may come from two tasks
        self._reason: Stop | LeaseLost | None = None  # for which one of them stopped
        self._has_read = False  # the job's entries: `delivered` does not count chunks without samples

    @property
    def epoch(self) -> bytes:
        """The millisecond part of this attempt's IDs; empty before `begin`. A new one follows a foreign entry."""
        return self._epoch

    @property
    def has_progressed(self) -> bool:
        """True when this attempt delivered a new sample."""
        return self.resumed_at is not None and self.delivered > self.resumed_at

    async def peek(self, request: BeginRequest) -> None:
        """Set what `begin` would set, and write nothing. Call it once, before `begin`. Raises Stop, LeaseLost."""
        await self._send_begin(request, NO_ATTEMPT)

    async def begin(self, request: BeginRequest) -> int:
        """Open an epoch; returns the session Redis' clock in ms. Raises Stop, LeaseLost."""
        self._request = request
        while (answer := await self._send_begin(request, self.attempt))[0] != b"OK":
            pass
        self._epoch, self._n = answer[1], 1
        if self.resumed_at is None:
            self.resumed_at = self.delivered
        return int(answer[3])

    async def _send_begin(self, request: BeginRequest, attempt: int) -> list[Any]:
        """BEGIN's answer: OK, or MOVED, which writes nothing: delivered and attempt are corrected, entries are read."""
        await self._lease.confirm()
        session_id, claimed = self._lease.session_id, self._lease.attempt
        body = pack(request.message(self._job_id, session_id, self.attempt, self.delivered, self.progress))
        arguments = (
            self.delivered if self._has_read else "",
            body,
            request.deadline_ms,
            claimed,
            request.max_attempts,
            attempt,
        )
        answer = await self._run_fenced(BEGIN, *arguments)
        if answer[0] == b"OK":
            self.n_fruitless = answer[2]
            return answer
        if answer[0] != b"MOVED":
            raise self._stop(answer)
        self.delivered, self.n_fruitless = int(answer[1]), answer[3]
        if self.resumed_at is None:
            self.attempt = answer[2]
        await self._read_progress()
        return answer

    async def write(self, message: Audio, n_samples: int, codes: bytes, segment: SegmentStart | None = None) -> None:
        """Append the next chunk: number `next_seq`, at `delivered`. Raises Stop, LeaseLost.

        segment: of the segment that begins with this chunk; its entry comes directly before the chunk's, or neither is
        written.
        """
        seq, before, entry_id = self.next_seq, self.delivered, self._lease.entry_id
        entries = [] if segment is None else [stream_fields(segment, entry_id, before)]
        entries.append(stream_fields(message, entry_id, before + n_samples, codes))
        async with self._writing():
            while (answer := await self._append(entries))[0] not in (b"OK", b"LANDED"):
                await self._begin_again(answer)
                if (self.next_seq, self.delivered) != (seq, before):
                    raise Rewound
            self._n += len(entries)
            self.next_seq, self.delivered = seq + 1, before + n_samples

    async def _append(self, entries: list[list[Any]]) -> list[Any]:
        first, *more = [[self._entry_id(self._n + n), *fields] for n, fields in enumerate(entries)]
        n_words = len(first) if more else 0  # of a segment's entry
        return await self._run(
            APPEND, self._entry_id(self._n - 1), n_words, *first, *(word for one in more for word in one)
        )

    async def look(self) -> None:
        """Check that no other entry follows this attempt's last one, and renew the keys' TTLs; for a job that waits.

        Call it when a SessionWatch finds an entry of another writer, and at least once a minute while the job waits.
        After a late cancel of an older job the attempt begins again, in a new epoch. Raises Stop, LeaseLost.
        """
        async with self._writing():
            seq, before = self.next_seq, self.delivered
            while (answer := await self._run(LOOK, self._entry_id(self._n - 1)))[0] != b"OK":
                await self._begin_again(answer)
                if (self.next_seq, self.delivered) != (seq, before):
                    raise Rewound

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[None]:
        """The turn to write. After a reason to stop nothing follows: the other task's samples come from before it."""
        async with self._turn:
            if self._reason is not None:
                raise self._reason
            before = self.next_seq, self.delivered
            try:
                yield
            except (Stop, LeaseLost) as reason:
                self._reason = reason
                raise
            except BaseException:  # cancelled, perhaps after a BEGIN that found entries lost
                if (self.next_seq, self.delivered) != before:
                    self._reason = Rewound()
                raise

    def _entry_id(self, n: int) -> bytes:
        return self._epoch + b"-%d" % n

    async def end(self, message: Message, code: str = "", text: str = "", held_ms: int = 0) -> None:
        """Write the terminal entry. held_ms: the job waited so long for its listener or its text.

        Raises Stop, LeaseLost.
        """
        await self._lease.confirm()
        before = self.delivered
        while True:
            at = self._entry_id(self._n) if self._epoch else b""
            words = (message.type, at, self.delivered, pack(message), code, text, held_ms or "")
            answer = await self._run_fenced(END, *words)
            if answer[0] == b"OK":
                return
            await self._begin_again(answer)
            if self.delivered != before:
                raise Rewound

    async def repeat(self, first_id: str) -> bool:
        """End a job that repeats an ended one with a copy of its terminal entry; False when that entry is gone.

        Raises LeaseLost, and AlreadyEnded where the job was spoken and has an end of its own.
        """
        first = self._plane.keys.job(self._lease.session_id, first_id)
        answer = await self._run(REPEAT, more_keys=(first,))
        if answer[0] == b"FENCED" or (answer[0] == b"DONE" and not answer[2]):
            raise self._stop(answer)
        return bool(answer[0] != b"NONE")

    async def _begin_again(self, answer: list[Any]) -> None:
        """Open a new epoch after a rejected entry, if this worker has the job and no entry was lost; else raises."""
        if answer[0] in (b"STALE", b"CANCELLED"):
            self._plane.on_refused()
        if answer[0] != b"STALE":
            raise self._stop(answer)
        tail_id, kind, entry_id, job_id = answer[1:5]
        assert self._request is not None, "only an attempt that has begun appends entries"
        await self._lease.confirm(now=True)
        if kind != b"cancel" and entry_id not in (b"", self._lease.entry_id.encode()):
            is_later = int(tail_id.partition(b"-")[0]) >= int(self._epoch or 0)
            raise Displaced if is_later and job_id != self._job_id.encode() else Rewound
        delivered, seq = self.delivered, self.next_seq
        await self._read_progress()  # the new `begin` reports it
        await self.begin(self._request)
        is_trimmed = self.delivered and not self.progress.next_seq  # only a `begin` is left
        if self.delivered < delivered or (self.progress.next_seq < seq and not is_trimmed):
            raise Rewound

    async def _read_progress(self) -> None:
        link, entry_id = self._plane.link, self._lease.entry_id
        try:
            self.progress = await self._plane.retry(lambda: read_progress(link, self._audio, entry_id))
        except WireError as error:
            raise ProgressLost from error
        self._has_read = True
        if not self._epoch:
            self.next_seq = 0  # a fail-over may have lost entries that an earlier read found
        self.next_seq = max(self.next_seq, self.progress.next_seq)

    async def _run_fenced(self, script: Script, *arguments: Any) -> list[Any]:
        """BEGIN's or END's answer. On FENCED the job plane decides: raises LeaseLost if another worker has the job."""
        answer = await self._run(script, *arguments, "")
        if answer[0] == b"FENCED":
            await self._lease.confirm(now=True)
            answer = await self._run(script, *arguments, "1")
        return answer

    async def _run(self, script: Script, *arguments: Any, more_keys: tuple[str, ...] | None = None) -> list[Any]:
        plane, lease = self._plane, self._lease
        keys = self._keys + (self._text if more_keys is None else more_keys)
        argv = (lease.entry_id, self._job_id, lease.fence, plane.hint, *arguments)
        answer: list[Any] = await plane.retry(lambda: run_script(plane.link, script, keys, *argv))
        return answer

    def _stop(self, answer: list[Any]) -> Exception:
        """The exception for an answer."""
        kind = answer[0]
        if kind == b"DONE":
            return AlreadyEnded(*(word.decode() for word in answer[1:3]))
        if kind in (b"CANCELLED", b"SPENT") and answer[1]:
            self.delivered = int(answer[1])
        return _STOPS[kind]()


_STOPS: dict[bytes, type[Exception]] = {
    b"FENCED": LeaseLost,
    b"CANCELLED": CancelRequested,
    b"GONE": RelayLeft,
    b"EXPIRED": Expired,
    b"LOST": ProgressLost,
    b"REWOUND": Rewound,
    b"FULL": StreamFull,
    b"SPENT": AttemptsSpent,
}
