"""Who speaks beside whom in a worker: everybody together, but a suspect alone.

A suspect is an utterance whose last attempt ended without a new sample: it may itself be what ended that attempt.
Alone, it cannot take its neighbours' attempts with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class Floor:
    """Belongs to one event loop. A suspect waits until all others have ended, and while it speaks the others wait."""

    def __init__(self) -> None:
        self._n_others = 0
        self._n_suspects = 0
        self._alone: Seat | None = None
        self._changed = asyncio.Event()

    @property
    def is_reserved(self) -> bool:
        """True while a suspect speaks or waits to: whoever is taken in now would only hold it up, or wait for it."""
        return self._n_suspects > 0

    @asynccontextmanager
    async def seat(self) -> AsyncIterator[Seat]:
        """A place for an utterance from its beginning to its end."""
        seat = Seat(self)
        self._n_others += 1
        try:
            yield seat
        finally:
            self._n_others -= not seat.is_suspect
            self._n_suspects -= seat.is_suspect
            if self._alone is seat:
                self._alone = None
            self._changed.set()

    async def _until(self, is_so: Callable[[], bool]) -> None:
        while not is_so():
            self._changed.clear()
            await self._changed.wait()


class Seat:
    """One utterance's place; it may speak from `may_speak` until it leaves."""

    def __init__(self, floor: Floor) -> None:
        self._floor = floor
        self.is_suspect = False

    async def may_speak(self, is_suspect: bool) -> None:
        floor = self._floor
        if is_suspect:
            self.is_suspect = True
            floor._n_others -= 1
            floor._n_suspects += 1
            floor._changed.set()
            await floor._until(lambda: floor._alone is None and not floor._n_others)
            floor._alone = self
        else:
            await floor._until(lambda: floor._alone is None)
