"""Admission control: jobs run concurrently, except a suspected poison job, which runs alone on its worker.

A job is a suspect when its last attempt ended without a new sample: the job may have crashed that worker. While it
runs, its worker holds no other lease, so that a crash costs no other job an attempt. A worker with more jobs than slots
keeps no suspect, for which it would stop taking jobs: a worker with a free slot gets it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class WorkerReserved(Exception):  # control flow, no MakimaError
    """A suspect runs or waits to run alone here, or there are more jobs than slots: give this job back."""


class Admission:
    """Admission to one worker. Not thread-safe: for one event loop. is_crowded: it has more jobs than slots."""

    def __init__(self, is_crowded: Callable[[], bool] = lambda: False) -> None:
        self._is_crowded = is_crowded
        self._n_permits = 0
        self._poison_suspect: Permit | None = None
        self._is_alone = False
        self._left = asyncio.Event()

    @property
    def is_reserved(self) -> bool:
        """True while a suspect runs or waits to run: a job claimed now would delay it or be given back."""
        return self._poison_suspect is not None

    def permit(self) -> Permit:
        """The permit of one utterance: a context manager, held as long as its lease."""
        return Permit(self)


class Permit:
    """One utterance's permit. It may speak from the return of `may_speak` until it exits."""

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
        """Return at once; for a suspect, when no other permit is held. Raises WorkerReserved."""
        admission = self._admission
        if admission._is_alone or (is_poison_suspect and (admission.is_reserved or admission._is_crowded())):
            raise WorkerReserved
        if is_poison_suspect:
            admission._poison_suspect = self
            while admission._n_permits > 1:
                admission._left.clear()
                await admission._left.wait()
            admission._is_alone = True
