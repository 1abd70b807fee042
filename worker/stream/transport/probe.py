"""A periodic PING: finds a Redis that is away while the worker has nothing to write to it."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from worker.stream.transport.base import Link
from worker.stream.transport.retry import Refusal, RetryPolicy

EVERY_S = 5.0


class PlaneProbe:
    """The probe of one plane's server. The retry policy reports failures.

    has_answered: set from the first answer on. is_needed: False for a server that another plane probes; it counts as
    one that has answered.
    """

    def __init__(self, link: Link, retry: RetryPolicy, is_needed: bool = True) -> None:
        self._link = link
        self._retry = retry
        self._is_needed = is_needed
        self.has_answered = asyncio.Event()
        if not is_needed:
            self.has_answered.set()

    async def run(self) -> None:
        """Probe until cancelled."""
        while self._is_needed:
            with suppress(Refusal):  # also an answer
                await self._retry(lambda: self._link.call("PING"))
            self.has_answered.set()
            await asyncio.sleep(EVERY_S)

    def problem(self) -> str | None:
        """Why the server has not served yet; None once it has answered, and before the first failure."""
        if self.has_answered.is_set() or self._retry.failing_since is None:
            return None
        return f"the {self._retry.plane} Redis has not served yet: {self._retry.last_error}"
