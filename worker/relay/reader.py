"""The reader of one session's stream: on a connection of its own while there are few, else by hints."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import monotonic

from worker.relay.planes import LOOK_S, RelayPlanes
from worker.stream.client import COUNT
from worker.stream.transport.base import Link
from worker.stream.transport.retry import PASSING, Refusal, backoff_s


class SessionReader:
    """Reads while it is entered. It continues behind the last entry that `took` names.

    silent_since: monotonic time since which it waits for an entry; None while entries are being forwarded.
    """

    def __init__(self, planes: RelayPlanes, session_id: str) -> None:
        self._planes = planes
        self._session_id = session_id
        self._channel = planes.keys.audio(session_id)
        self._cursor = "0"
        self._link: Link | None = None
        self._is_blocked = False
        self._hint: asyncio.Event | None = None
        self._is_at_end = True  # of the stream, when it was last read
        self.silent_since: float | None = None

    async def __aenter__(self) -> None:
        self._link = self._planes.own_link()
        if self._link is None and self._hint is None:
            self._hint = self._planes.hints.subscribe(self._channel)

    async def __aexit__(self, *error: object) -> None:
        self.silent_since = None
        if self._link is not None:
            link, self._link = self._link, None
            await self._planes.give_back(link, is_usable=not self._is_blocked)

    def leave(self) -> None:
        """The session ends."""
        self._planes.hints.unsubscribe(self._channel)

    def took(self, stream_id: str) -> None:
        self._cursor = stream_id

    async def next(self) -> list[tuple[str, dict[bytes, bytes]]]:
        """The next entries, in a second at most; maybe none. Repeats what fails."""
        failures = 0
        self.silent_since = monotonic() if self.silent_since is None else self.silent_since
        while True:
            try:
                entries = await self._read()
            except (Refusal, *PASSING) as error:
                self._is_blocked = False
                self._planes.failed(error)
                await asyncio.sleep(backoff_s(failures))
                failures += 1
            else:
                if entries:
                    self.silent_since = None
                return [(stream_id, dict(zip(flat[::2], flat[1::2], strict=True))) for stream_id, flat in entries]

    async def _read(self) -> list[tuple[str, list[bytes]]]:
        client = self._planes.client
        if self._link is not None:
            self._is_blocked = True
            entries = await client.read(self._session_id, self._cursor, self._link)
            self._is_blocked = False
            return entries
        if self._is_at_end and self._hint is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hint.wait(), LOOK_S)
            self._hint.clear()
        entries = await client.read(self._session_id, self._cursor)
        self._is_at_end = len(entries) < COUNT
        return entries
