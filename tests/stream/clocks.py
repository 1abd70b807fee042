"""A clock that tests set forward by hand."""

from __future__ import annotations

import asyncio
import threading

from tests.conftest import eventually
from worker.stream.clock import Clock


class HandClock(Clock):
    """A clock that moves only when it is set forward. Another thread's event loop may use it."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._lock = threading.Lock()
        self._sleeping: list[tuple[float, asyncio.AbstractEventLoop, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        waking: asyncio.Future[None] = loop.create_future()
        with self._lock:
            self._sleeping.append((self._now + seconds, loop, waking))
        await waking

    async def forward(self, seconds: float) -> None:
        """Wait for a sleeper, set the clock forward, and return when the sleeper has woken and sleeps again."""
        await eventually(lambda: bool(self._sleeping))
        with self._lock:
            self._now += seconds
            due = [one for one in self._sleeping if one[0] <= self._now]
            self._sleeping = [one for one in self._sleeping if one[0] > self._now]
        for _, loop, waking in due:
            loop.call_soon_threadsafe(_wake, waking)
        await eventually(lambda: bool(self._sleeping))


def _wake(waking: asyncio.Future[None]) -> None:
    if not waking.done():
        waking.set_result(None)
