"""Who speaks beside whom in a worker: everybody together, but a suspect alone.

A suspect is an utterance whose last attempt ended without a new sample: it may itself be what ended that attempt. While
it speaks the worker holds no other lease, so that it can take nobody's attempt with it.
"""

from __future__ import annotations

import asyncio


class WorkerReserved(Exception):  # control flow, no MakimaError: the job is given back and nothing is wrong
    """A suspect has the floor, or is next to have it: this utterance is for another worker, or for later."""


class Admission:
    """Belongs to one event loop."""

    def __init__(self) -> None:
        self._n_permits = 0
        self._poison_suspect: Permit | None = None
        self._is_alone = False
        self._left = asyncio.Event()

    @property
    def is_reserved(self) -> bool:
        """True while a suspect speaks or waits to: whoever is taken in now would hold it up, or be sent away."""
        return self._poison_suspect is not None

    def permit(self) -> Permit:
        """A place for an utterance for as long as it holds its lease: to be entered and left, with `with`."""
        return Permit(self)


class Permit:
    """One utterance's place. It may speak from `may_speak` until it leaves."""

    __slots__ = ("_admission",)

    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    def __enter__(self) -> Permit:
        self._admission._n_permits += 1
        return self

    def __exit__(self, *_: object) -> None:
        admission = self._admission
        admission._n_permits -= 1
        admission._left.set()
        if admission._poison_suspect is self:
            admission._poison_suspect, admission._is_alone = None, False

    async def may_speak(self, is_poison_suspect: bool) -> None:
        """Return at once; for a suspect when all others have left. Raises Reserved."""
        admission = self._admission
        if admission._is_alone or (is_poison_suspect and admission.is_reserved):
            raise WorkerReserved
        if is_poison_suspect:
            admission._poison_suspect = self
            while admission._n_permits > 1:
                admission._left.clear()
                await admission._left.wait()
            admission._is_alone = True
