"""What all sessions of a relay share: the connections to both planes, hints, and a look at everything once a second."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress
from math import inf
from time import monotonic
from typing import Any, Protocol

from worker.relay.options import RelayOptions
from worker.settings import Settings
from worker.stream.client import BLOCK_MS, Client
from worker.stream.hints import Hints
from worker.stream.keys import Keys
from worker.stream.transport.address import addresses
from worker.stream.transport.advice import sentence_on
from worker.stream.transport.base import Link
from worker.stream.transport.open import open_link
from worker.stream.transport.retry import PASSING, Refusal

log = logging.getLogger(__name__)

LOOK_S = 1.0
ANSWER_S = 2.0  # within which a Redis that serves answers a PING
LEAST_S = 0.1  # between two looks, when one failure follows another
LEAVE_S = 5.0  # for which a session that is left tries to cancel its jobs
LOG_EVERY_S = 10.0


class Watched(Protocol):
    """A session that has unfinished jobs."""

    def look(self, now: float) -> None:
        """Called once a second, and directly after a connection was lost."""


class RelayPlanes:
    """The relay's Redis. n_breaks: rises with each connection that is lost, after which jobs are published again."""

    def __init__(self, settings: Settings, options: RelayOptions) -> None:
        jobs, self._address = addresses(settings)
        self.keys = Keys(settings.prefix)
        self.client = Client(jobs, self._address, self.keys)
        self.hints = Hints(self._address)
        self.watched: set[Watched] = set()
        self._most_own = 0 if self._address.is_cluster else options.own_connections
        self._n_own = 0
        self._free: list[Link] = []
        self._doubt = asyncio.Event()
        self._background: set[asyncio.Task[None]] = set()
        self._logged_at = -inf
        self._is_pinging = False
        self._looking = asyncio.create_task(self._look(), name="planes")

    @property
    def n_breaks(self) -> int:
        return self.client.n_breaks

    def own_link(self) -> Link | None:
        """A connection that may block; None where all are in use, or on a Cluster: a read would delay others."""
        if self._n_own >= self._most_own:
            return None
        self._n_own += 1
        return self._free.pop() if self._free else open_link(self._address, BLOCK_MS / 1000 + 5)

    async def give_back(self, link: Link, is_usable: bool) -> None:
        """is_usable: no reply is still to come."""
        self._n_own -= 1
        if is_usable:
            self._free.append(link)
        else:
            await link.close()

    def failed(self, error: Exception) -> None:
        """Note a failed command: look at the connections now, and log the failure every ten seconds."""
        self._doubt.set()
        if monotonic() - self._logged_at > LOG_EVERY_S:
            self._logged_at = monotonic()
            log.warning("Redis does not serve; the relay retries: %s", sentence_on(error))

    def in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Carry it out beside everything else; `close` waits for it."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def serves(self) -> bool:
        """Whether both planes answer now."""
        try:
            async with asyncio.timeout(ANSWER_S):
                await self.client.ping()
        except (Refusal, *PASSING):
            return False
        return True

    async def until_left(self) -> None:
        """Wait for the sessions that are being left."""
        await asyncio.sleep(0)  # those that begin now
        if self._background:
            await asyncio.wait(self._background, timeout=LEAVE_S + 1)

    async def close(self) -> None:
        """Wait for sessions that are being left, and close all connections."""
        await self.until_left()
        self._looking.cancel()
        await asyncio.gather(self._looking, return_exceptions=True)
        await self.hints.close()
        for link in self._free:
            await link.close()
        await self.client.close()

    async def _look(self) -> None:
        n_breaks = self.n_breaks
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._doubt.wait(), LOOK_S)
            self._doubt.clear()
            if self.watched and not self._is_pinging:
                self.in_background(self._ping())
            if n_breaks != self.n_breaks:
                log.info("a connection to Redis was lost; unfinished jobs are published again")
                n_breaks = self.n_breaks
            for session in list(self.watched):
                session.look(monotonic())
            await asyncio.sleep(LEAST_S)

    async def _ping(self) -> None:
        """Find a connection that was lost without a sign: a reply that does not come breaks it."""
        self._is_pinging = True
        with suppress(Refusal, *PASSING):
            await self.client.ping()
        self._is_pinging = False
