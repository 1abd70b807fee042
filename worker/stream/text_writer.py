"""The text writer: writes the text of an open job to its stream, piece by piece while it is being made.

The n-th entry has the ID `<n>-0`. Redis refuses an ID that is not above the stream's last one, so an entry that is sent
again after a lost reply lands once. After each break of the connection all entries are sent again: what a fail-over
lost is written at its place. A worker that has read a part of a lost stream goes on behind that part.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

import redis

from schemas.errors import MakimaError
from worker.stream.keys import SESSION_TTL_MS
from worker.stream.transport.base import Link, Word
from worker.stream.transport.retry import PASSING, backoff_s

MAX_PIECE_BYTES = 16 * 1024  # of one entry; a longer piece becomes several
REPEAT_S = 10.0
_NOT_ABOVE = "The ID specified in XADD is equal or smaller"


class TextConflict(MakimaError):
    """The stream of a text holds what its writer did not write."""


class TextWriter:
    """Writes one text. There is one writer for each text; coroutines may share it.

    repeat_s: how long a write is repeated while Redis is unreachable; then redis-py's error is raised. The next call
    writes what is missing first. Needs no right but XADD and PEXPIRE.
    """

    def __init__(self, link: Link, key: str, repeat_s: float = REPEAT_S) -> None:
        self._link = link
        self._key = key
        self._repeat_s = repeat_s
        self._entries: list[tuple[str, str | bytes]] = []
        self._n_sent = 0  # entries that may be on the stream
        self._n_written = 0  # entries that are, unless a connection has broken since
        self._n_breaks = link.n_breaks
        self._lock = asyncio.Lock()  # keeps the order of concurrent calls
        self.has_ended = False

    async def write(self, piece: str | bytes) -> None:
        """Append a piece, cut anywhere; bytes are UTF-8 and may end within a character. Raises TextConflict."""
        data = piece.encode() if isinstance(piece, str) else piece
        for at in range(0, len(data), MAX_PIECE_BYTES):
            await self._append("text", data[at : at + MAX_PIECE_BYTES])

    async def flush(self) -> None:
        """Have everything so far spoken now, whether or not a sentence is complete."""
        await self._append("flush", "1")

    async def end(self) -> None:
        """Complete the text."""
        await self._append("end", "1")
        self.has_ended = True

    async def write_all(self, pieces: AsyncIterator[str] | AsyncIterator[bytes]) -> None:
        """Write each piece when it arrives, and the end."""
        async for piece in pieces:
            await self.write(piece)
        await self.end()

    async def write_again(self) -> None:
        """Write what Redis has lost, before or after the job is published again."""
        async with self._lock:
            self._n_written = 0
            await self._write_missing()

    async def _append(self, name: str, value: str | bytes) -> None:
        async with self._lock:
            self._entries.append((name, value))
            await self._write_missing()

    async def _write_missing(self) -> None:
        give_up_at, failures = monotonic() + self._repeat_s, 0
        while self._n_written < len(self._entries):
            if self._link.n_breaks != self._n_breaks:
                self._n_breaks, self._n_written = self._link.n_breaks, 0
            try:
                is_there = await self._write_entry(self._n_written + 1)
            except PASSING:
                self._n_written = 0
                if monotonic() >= give_up_at:
                    raise
                await asyncio.sleep(backoff_s(failures))
                failures += 1
            else:
                self._n_written = self._n_written + 1 if is_there else 0

    async def _write_entry(self, n: int) -> bool:
        """Write the n-th entry, or find it written; False when the whole stream is missing. Raises TextConflict."""
        is_repeated, self._n_sent = n <= self._n_sent, max(n, self._n_sent)
        option: tuple[Word, ...] = () if n == 1 else ("NOMKSTREAM",)
        answers: tuple[Any, Any] = await asyncio.gather(  # one round trip; MULTI would need a further right
            self._link.call("XADD", self._key, *option, f"{n}-0", *self._entries[n - 1]),
            self._link.call("PEXPIRE", self._key, SESSION_TTL_MS),
            return_exceptions=True,
        )
        added, renewed = answers
        if isinstance(added, redis.ResponseError) and _NOT_ABOVE in str(added):
            if not is_repeated:
                raise TextConflict(
                    f"the stream {self._key} holds entries that its writer did not write",
                    "give each text a job_id of its own, and write it in one place",
                )
        elif isinstance(added, BaseException):
            raise added
        if isinstance(renewed, BaseException):
            raise renewed
        return added is not None
