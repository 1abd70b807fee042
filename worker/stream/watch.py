"""Watching a session: one blocking XREAD wakes a waiting utterance for new text and for entries of other writers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any

from schemas.errors import MakimaError
from worker.stream.transport.address import Address
from worker.stream.transport.base import Link, Word
from worker.stream.transport.open import open_link
from worker.stream.transport.retry import MissingRight, Refusal, RetryPolicy

BLOCK_MS = 5000  # of one XREAD
COUNT = 16  # entries of a stream in one reply: a piece of text may be long
HIGHEST_N = b"18446744073709551615"

FlatEntry = tuple[bytes, list[bytes]]  # ID, flat fields


class WrongTextKey(MakimaError):
    """The key of a text that is being written holds another type than a stream."""


@dataclass(frozen=True, slots=True)
class WatchAnswer:
    """What a session got: new entries of the text, and the first entry that another writer put on the audio stream."""

    text: tuple[FlatEntry, ...] = ()
    foreign: FlatEntry | None = None


class WatchLinks:
    """A pool of connections that block, for the watches of one worker. most: at a time; another watch has to wait."""

    def __init__(self, address: Address, retry: RetryPolicy, most: int) -> None:
        self.retry = retry
        self._address = address
        self._places = asyncio.Semaphore(most)
        self._free: list[Link] = []

    @asynccontextmanager
    async def borrow(self) -> AsyncIterator[Link]:
        """A link for one command at a time. It is closed when that command is cancelled: its reply is still to come."""
        async with self._places:
            link = self._free.pop() if self._free else open_link(self._address, BLOCK_MS / 1000 + 5)
            try:
                yield link
            except asyncio.CancelledError:
                await link.close()
                raise
            except BaseException:
                self._free.append(link)
                raise
            self._free.append(link)

    async def close(self) -> None:
        """Close the links that no watch has; watches close theirs."""
        while self._free:
            await self._free.pop().close()


class SessionWatch:
    """Waits for one utterance. It has at most one link, until the reply to its read has come.

    audio, text: keys; text is None for a job whose text is whole. quiet_s: for how long Redis has had no new entry of
    the text, without the time in which it did not answer. Close the watch, or its last read lasts up to BLOCK_MS.
    """

    def __init__(self, links: WatchLinks, audio: str, text: str | None = None) -> None:
        self._links = links
        self._audio = audio
        self._text = text
        self._asked: tuple[bytes, str | None] | None = None
        self._reading: asyncio.Task[WatchAnswer] | None = None
        self.quiet_s = 0.0

    async def wait(self, timeout_s: float, epoch: bytes, text_after: str | None = None) -> WatchAnswer:
        """Wait until the session gets something, or for `timeout_s`; an empty answer then.

        epoch: of the writer, whose own entries do not count. text_after: ID of the last known entry of the text, "0"
        for none; None while text is of no interest. A wait that is cancelled loses nothing: the next one with the same
        epoch and ID gets the reply. A stream that expires wakes nobody. Raises WrongTextKey, MissingRight, Refusal.
        """
        until = monotonic() + timeout_s
        if self._asked != (epoch, text_after):
            await self.close()
        while True:
            if self._reading is None:
                self._asked = (epoch, text_after)
                self._reading = asyncio.create_task(self._read(until, epoch, text_after), name="watch")
            await asyncio.wait({self._reading}, timeout=max(0.0, until - monotonic()))
            if not self._reading.done():
                return WatchAnswer()
            reading, self._reading = self._reading, None
            answer = reading.result()
            if answer.text or answer.foreign or monotonic() >= until:
                return answer

    async def close(self) -> None:
        """End the read that is under way, and its connection with it."""
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(self, until: float, epoch: bytes, text_after: str | None) -> WatchAnswer:
        streams = {self._audio: epoch + b"-" + HIGHEST_N}
        if self._text is not None and text_after is not None:
            streams[self._text] = text_after.encode()
        async with self._links.borrow() as link:
            block_ms = min(max(1, round((until - monotonic()) * 1000)), BLOCK_MS)
            words: list[Word] = ["BLOCK", block_ms, "COUNT", COUNT, "STREAMS", *streams, *streams.values()]
            began = monotonic()

            async def read() -> Any:
                nonlocal began
                began = monotonic()
                return await _or_missing_right(link.call("XREAD", *words))

            try:
                reply = await self._links.retry(read)
                if isinstance(reply, MissingRight):
                    raise reply
            except Refusal as error:
                if len(streams) > 1 and "WRONGTYPE" in str(error) and await self._is_wrong(link):
                    problem = f"the key {self._text} holds another type than a stream"
                    raise WrongTextKey(problem, "write the text with XADD") from error
                raise
        answer = self._answer(reply)
        # A process that was suspended has waited longer than its read blocked.
        self.quiet_s = 0.0 if answer.text else self.quiet_s + min(monotonic() - began, block_ms / 1000)
        return answer

    async def _is_wrong(self, link: Link) -> bool:
        """Whether the text's key, not the audio's, holds another type."""
        text = self._text or ""
        return await self._links.retry(lambda: link.call("TYPE", text)) not in (b"stream", b"none")

    def _answer(self, reply: Any) -> WatchAnswer:
        found = {key.decode(): entries for key, entries in reply or ()}
        text = [(stream_id, fields) for stream_id, fields in found.get(self._text, ())]
        foreign = [(stream_id, fields) for stream_id, fields in found.get(self._audio, ())]
        return WatchAnswer(tuple(text), foreign[0] if foreign else None)


async def _or_missing_right(reading: Awaitable[Any]) -> Any:
    """The reply; a missing right is returned, since it is not a reason to read again."""
    try:
        return await reading
    except MissingRight as error:
        return error
