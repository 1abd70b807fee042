"""The client side of the contract, in plain Redis commands: publish, listen, cancel, leave.

The command line, the benchmarks and the tests use it in place of a relay.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any

import redis

from schemas.wire import Entry, read_entry
from worker.stream.keys import SESSION_TTL_MS, Keys
from worker.stream.text_writer import REPEAT_S, TextWriter
from worker.stream.transport.address import Address
from worker.stream.transport.base import Link, Word
from worker.stream.transport.open import open_link

BLOCK_MS = 1000
LEAVE_TTL_MS = 10_000
CANCEL_WITHIN_S = 2.0
LAST_SEQ = 2**64 - 1
CANCEL_TRIES = 8
MILLISECOND_OVER_S = 0.002  # after it Redis' clock shows another millisecond
NOT_ABOVE = "equal or smaller"  # of an ID that is not above the stream's last one
COUNT = 8  # entries of one read: an entry may have 272 KiB
TERMINAL = frozenset({"complete", "cancelled", "error"})


FlatEntry = tuple[str, list[bytes]]  # stream ID, flat fields


class Client:
    """A producer and relay in one. Raises redis-py's errors; retries nothing but the pieces of a text."""

    def __init__(self, jobs: Address, sessions: Address, keys: Keys) -> None:
        self._keys = keys
        self._jobs = open_link(jobs, home=keys.jobs)
        self._sessions = open_link(sessions)
        self._reading = open_link(sessions, BLOCK_MS / 1000 + 5)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        for link in (self._jobs, self._sessions, self._reading):
            await link.close()

    async def publish(self, fields: Mapping[str, str]) -> str:
        """Publish one speak job; returns its entry ID."""
        arguments = [part for pair in fields.items() for part in pair]
        entry_id: bytes = await self._jobs.call("XADD", self._keys.jobs, "*", *arguments)
        return entry_id.decode()

    def text(self, session_id: str, job_id: str, repeat_s: float = REPEAT_S) -> TextWriter:
        """The writer of the text of an open job."""
        return TextWriter(self._sessions, self._keys.text(session_id, job_id), repeat_s)

    async def publish_text(self, fields: Mapping[str, str], pieces: AsyncIterator[str]) -> str:
        """Publish an open job, then its text while the iterator gives it; returns the job's entry ID after the end.

        The job comes first, so that a worker waits for the first piece. When the iterator or a write raises, or the
        calling task is cancelled, the session's jobs up to this one are cancelled.
        """
        entry_id = await self.publish(fields)
        try:
            await self.text(fields["session_id"], fields["job_id"]).write_all(pieces)
        except BaseException:
            await self.try_to_cancel(fields["session_id"], entry_id)
            raise
        return entry_id

    async def listen(self, session_id: str, after: str = "0") -> AsyncIterator[tuple[str, Entry]]:
        """Yield (stream ID, entry) for every entry of a session's stream after an ID. Never ends by itself."""
        key = self._keys.audio(session_id)
        while True:
            read = await self._reading.call("XREAD", "BLOCK", BLOCK_MS, "COUNT", 100, "STREAMS", key, after)
            for stream_id, flat in read[0][1] if read else ():
                after = stream_id.decode()
                yield after, read_entry(dict(zip(flat[::2], flat[1::2], strict=True)))

    async def cancel(self, session_id: str, upto: str | None = None) -> str:
        """Cancel the session's jobs up to an entry ID, by default all published until now; returns that ID.

        All until now are all of this millisecond and before it. It is over on return, so that a job that the caller
        publishes next is spoken.
        """
        if upto is not None:
            return await self._cancel(session_id, upto)
        seconds, microseconds = await self._jobs.call("TIME")
        upto = await self._cancel(session_id, f"{int(seconds) * 1000 + int(microseconds) // 1000}-{LAST_SEQ}")
        await asyncio.sleep(MILLISECOND_OVER_S)
        return upto

    async def _cancel(self, session_id: str, upto: str) -> str:
        audio, cut = self._keys.audio(session_id), self._keys.cut(session_id)
        mark: tuple[Word, ...] = ("XADD", cut, "MAXLEN", 1, upto, "type", "cancel")
        renew: tuple[Word, ...] = ("PEXPIRE", cut, SESSION_TTL_MS)
        answers = await self._sessions.transaction(mark, renew, await self._cancel_command(audio, upto))
        for answer in answers[:-1]:
            if isinstance(answer, redis.ResponseError) and NOT_ABOVE not in str(answer):
                raise answer
        interrupted = answers[-1]
        for _ in range(CANCEL_TRIES):
            if not isinstance(interrupted, redis.ResponseError):
                return upto
            if NOT_ABOVE not in str(interrupted):
                break
            interrupted = await self._append_cancel(audio, upto)  # above a newer `begin` that came between
        raise interrupted

    async def try_to_cancel(self, session_id: str, upto: str) -> None:
        """`cancel`, given up after 2 s or when Redis is unreachable."""
        with suppress(redis.RedisError, OSError):  # a time-out is an OSError
            async with asyncio.timeout(CANCEL_WITHIN_S):
                await self.cancel(session_id, upto)

    async def leave(self, session_id: str) -> None:
        """Cancel all jobs and let the stream expire in 10 s. The stream is never deleted."""
        await self.cancel(session_id)
        await self.expire(session_id, LEAVE_TTL_MS)

    async def expire(self, session_id: str, ttl_ms: int = SESSION_TTL_MS) -> None:
        """Let the session's stream expire that late: reading does not renew it."""
        await self._sessions.call("PEXPIRE", self._keys.audio(session_id), ttl_ms)

    async def trim(self, session_id: str, stream_id: str) -> None:
        """Delete the session's entries before this one."""
        await self._sessions.call("XTRIM", self._keys.audio(session_id), "MINID", stream_id)

    async def read(self, session_id: str, after: str, link: Link | None = None) -> list[FlatEntry]:
        """At most COUNT entries after an ID. link: one for this read alone, which blocks for BLOCK_MS."""
        key = self._keys.audio(session_id)
        if link is None:
            reply = await self._sessions.call("XREAD", "COUNT", COUNT, "STREAMS", key, after)
        else:
            reply = await link.call("XREAD", "BLOCK", BLOCK_MS, "COUNT", COUNT, "STREAMS", key, after)
        return [(stream_id.decode(), flat) for stream_id, flat in reply[0][1]] if reply else []

    @property
    def n_breaks(self) -> int:
        """Connections for commands that have broken so far."""
        return self._jobs.n_breaks + self._sessions.n_breaks

    async def ping(self) -> None:
        """Query both planes. Raises redis-py's errors."""
        for link in (self._jobs, self._sessions):
            await link.call("PING")

    async def _cancel_command(self, audio: str, upto: str) -> tuple[Word, ...]:
        tail = await self._sessions.call("XREVRANGE", audio, "+", "-", "COUNT", 1)
        epoch = int(tail[0][0].partition(b"-")[0]) + 1 if tail else 1
        return ("XADD", audio, "NOMKSTREAM", f"{epoch}-0", "type", "cancel", "upto", upto)

    async def _append_cancel(self, audio: str, upto: str) -> Any:
        await asyncio.sleep(0)
        try:
            return await self._sessions.call(*await self._cancel_command(audio, upto))
        except redis.ResponseError as error:
            return error
