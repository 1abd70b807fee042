"""Who speaks beside whom in a worker: everybody together, but a suspect alone.

A suspect is an utterance whose last attempt ended without a new sample: it may itself be what ended that attempt. While
it speaks the worker holds no other lease, so that it can take nobody's attempt with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Reserved(Exception):
    """A suspect has the floor, or is next to have it: this utterance is for another worker, or for later."""


class Floor:
    """Belongs to one event loop."""

    def __init__(self) -> None:
        self._n_seats = 0
        self._suspect: Seat | None = None
        self._is_alone = False
        self._left = asyncio.Event()

    @property
    def is_reserved(self) -> bool:
        """True while a suspect speaks or waits to: whoever is taken in now would hold it up, or be sent away."""
        return self._suspect is not None

    @asynccontextmanager
    async def seat(self) -> AsyncIterator[Seat]:
        """A place for an utterance for as long as it holds its lease."""
        seat = Seat(self)
        self._n_seats += 1
        try:
            yield seat
        finally:
            self._n_seats -= 1
            self._left.set()
            if self._suspect is seat:
                self._suspect, self._is_alone = None, False


class Seat:
    """One utterance's place. It may speak from `may_speak` until it leaves."""

    def __init__(self, floor: Floor) -> None:
        self._floor = floor

    async def may_speak(self, is_suspect: bool) -> None:
        """Return at once; for a suspect when all others have left. Raises Reserved."""
        floor = self._floor
        if floor._is_alone or (is_suspect and floor.is_reserved):
            raise Reserved
        if is_suspect:
            floor._suspect = self
            while floor._n_seats > 1:
                floor._left.clear()
                await floor._left.wait()
            floor._is_alone = True
