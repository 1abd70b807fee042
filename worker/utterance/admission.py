"""Who speaks beside whom in a worker: everybody together, but a suspect alone.

A suspect is an utterance whose last attempt ended without a new sample: it may itself be what ended that attempt. While
it speaks the worker holds no other lease, so that it can take nobody's attempt with it.
"""

from __future__ import annotations

import asyncio


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

    def seat(self) -> Seat:
        """A place for an utterance for as long as it holds its lease: to be entered and left, with `with`."""
        return Seat(self)


class Seat:
    """One utterance's place. It may speak from `may_speak` until it leaves."""

    __slots__ = ("_floor",)

    def __init__(self, floor: Floor) -> None:
        self._floor = floor

    def __enter__(self) -> Seat:
        self._floor._n_seats += 1
        return self

    def __exit__(self, *_: object) -> None:
        floor = self._floor
        floor._n_seats -= 1
        floor._left.set()
        if floor._suspect is self:
            floor._suspect, floor._is_alone = None, False

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
