"""Asks a Redis from time to time whether it lives: while nothing is to be written there, nobody else would notice."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from worker.stream.transport.base import Link
from worker.stream.transport.retry import Refusal, RetryPolicy

EVERY_S = 5.0


class PlaneProbe:
    """One plane's server. has_answered: set from its first answer on. Failures are the patience's to tell.

    is_needed: False for a server that another plane asks anyway; it then counts as one that has answered.
    """

    def __init__(self, link: Link, retry: RetryPolicy, is_needed: bool = True) -> None:
        self._link = link
        self._retry = retry
        self._is_needed = is_needed
        self.has_answered = asyncio.Event()
        if not is_needed:
            self.has_answered.set()

    async def run(self) -> None:
        """Ask until cancelled."""
        while self._is_needed:
            with suppress(Refusal):  # that is an answer too
                await self._retry(lambda: self._link.call("PING"))
            self.has_answered.set()
            await asyncio.sleep(EVERY_S)

    def problem(self) -> str | None:
        """Why the server was of no use yet; None once it has answered, or while nothing is known."""
        if self.has_answered.is_set() or self._retry.failing_since is None:
            return None
        return f"the {self._retry.plane} Redis has not served yet: {self._retry.last_error}"
