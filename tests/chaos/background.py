"""Work that the driver does on threads beside its main one."""

from __future__ import annotations

import threading
from typing import Self

from redis.exceptions import RedisClusterException, SlotNotCoveredError

from worker.stream.transport.retry import PASSING

AWAY = (*PASSING, RedisClusterException, SlotNotCoveredError)  # what a client raises of a Redis that will come back


class Background:
    """A thread that takes turns while entered. is_broken_off: the run is, so nothing need be waited for any more."""

    def __init__(self, name: str) -> None:
        self.is_broken_off = False
        self._failure: Exception | None = None
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Raises what ended the thread before its time, unless the run ends by an error anyway."""
        self.is_broken_off = any(error)
        self._leaving.set()
        self._thread.join()
        if self._failure is not None and not self.is_broken_off:
            raise self._failure

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def _turn(self) -> float:
        """Returns the seconds to rest before the next one."""
        raise NotImplementedError

    def _run(self) -> None:
        rest_s = 0.0
        while not self._leaving.wait(rest_s):
            try:
                rest_s = self._turn()
            except Exception as error:
                self._failure = error
                return
