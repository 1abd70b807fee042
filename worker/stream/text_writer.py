"""The text writer: writes the text of an open job to its stream, piece by piece while it is being made.

The n-th entry has the ID `<n>-0`. Redis refuses an ID that is not above the stream's last one, so an entry that is sent
again after a lost reply lands once. A stream that was lost is written again with the same IDs: a worker that has read a
part of it goes on behind that part.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from time import monotonic

import redis

from schemas.errors import MakimaError
from worker.stream.keys import SESSION_TTL_MS
from worker.stream.transport.base import Link, Word
from worker.stream.transport.retry import PASSING, backoff_s

MAX_PIECE_BYTES = 16 * 1024  # of one entry; a longer piece becomes several
REPEAT_S = 10.0
_NOT_ABOVE = "The ID specified in XADD is equal or smaller"


class TextConflict(MakimaError):
    """The stream of a text holds something else than was written to it."""


class TextWriter:
    """Writes one text. There is one writer for each text; coroutines may share it.

    repeat_s: how long a write is repeated while Redis is unreachable; then redis-py's error is raised. The next call
    writes what is missing first.
    """

    def __init__(self, link: Link, key: str, repeat_s: float = REPEAT_S) -> None:
        self._link = link
        self._key = key
        self._repeat_s = repeat_s
        self._entries: list[tuple[str, str | bytes]] = []
        self._is_behind = False  # whether entries before the newest may be missing on the stream
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

    async def _append(self, name: str, value: str | bytes) -> None:
        async with self._lock:
            self._entries.append((name, value))
            give_up_at, failures = monotonic() + self._repeat_s, 0
            while True:
                first, self._is_behind = 1 if self._is_behind else len(self._entries), True
                try:
                    await self._write_from(first)
                except PASSING:
                    if monotonic() >= give_up_at:
                        raise
                    await asyncio.sleep(backoff_s(failures))
                    failures += 1
                else:
                    self._is_behind = False
                    return

    async def _write_from(self, first: int) -> None:
        n = first
        while n <= len(self._entries):
            n = n + 1 if await self._write_entry(n) else 1

    async def _write_entry(self, n: int) -> bool:
        """Write the n-th entry, or find it written; False when the whole stream is missing. Raises TextConflict."""
        option: tuple[Word, ...] = () if n == 1 else ("NOMKSTREAM",)
        added, _, found = await self._link.transaction(
            ("XADD", self._key, *option, f"{n}-0", *self._entries[n - 1]),
            ("PEXPIRE", self._key, SESSION_TTL_MS),
            ("XREVRANGE", self._key, f"{n}-0", f"{max(1, n - 1)}-0"),
        )
        for answer in (found, added):
            if isinstance(answer, redis.ResponseError) and _NOT_ABOVE not in str(answer):
                raise answer
        if added is None:
            return False
        if found != [self._as_found(i) for i in (n, n - 1) if i > 0]:
            raise TextConflict(
                f"the stream {self._key} does not hold the text that was written to it",
                "publish the job again under a job_id that no other text has, and write to its stream in one place",
            )
        return True

    def _as_found(self, n: int) -> list[object]:
        name, value = self._entries[n - 1]
        return [b"%d-0" % n, [name.encode(), value.encode() if isinstance(value, str) else value]]
