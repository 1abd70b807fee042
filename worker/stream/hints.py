"""Hints: one connection that subscribes to the channels of many sessions and wakes their readers.

A hint may be lost, workers may publish none, and the user may lack the right to subscribe. So a reader looks at its
stream once a second whether or not it is woken.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import suppress

from worker.stream.transport.address import Address
from worker.stream.transport.advice import sentence_on
from worker.stream.transport.base import Link, LinkClosedError
from worker.stream.transport.open import open_link
from worker.stream.transport.retry import PASSING, Refusal, backoff_s

log = logging.getLogger(__name__)

CHECK_S = 1.0
RETRY_S = 10.0  # after a refusal


class Hints:
    """Events by channel, which is the key of an audio stream. A lost connection is replaced, with all its channels."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._prefix = "S" if address.is_cluster else ""
        self._events: dict[str, asyncio.Event] = {}
        self._link: Link | None = None
        self._n_breaks = 0
        self._held: set[str] = set()  # channels to which the connection subscribes
        self._changed: deque[str] = deque()  # channels to subscribe to or to leave
        self._has_changed = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._was_refused = False

    def subscribe(self, channel: str) -> asyncio.Event:
        """The event that is set by each hint, and once when the subscription holds."""
        self._events[channel] = event = asyncio.Event()
        self._change(channel)
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep(), name="hints")
        return event

    def unsubscribe(self, channel: str) -> None:
        if self._events.pop(channel, None) is not None:
            self._change(channel)

    async def close(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        await self._drop()

    def _change(self, channel: str) -> None:
        self._changed.append(channel)
        self._has_changed.set()

    async def _keep(self) -> None:
        failures = 0
        while True:
            try:
                await self._carry_out()
                failures = 0
            except (*PASSING, LinkClosedError):
                await self._drop()
                await asyncio.sleep(backoff_s(failures))
                failures += 1
            except Refusal as error:
                if not self._was_refused:
                    log.warning("hints are not received, and audio may come a second late: %s", sentence_on(error))
                self._was_refused = True
                await self._drop()
                await asyncio.sleep(RETRY_S)

    async def _carry_out(self) -> None:
        """Follow the changes, and look after the connection once a second. Raises what a broken connection raises."""
        if self._link is None or self._link.n_breaks != self._n_breaks:
            await self._drop()
            self._link = open_link(self._address, on_message=self._wake)
            self._n_breaks = self._link.n_breaks
            self._changed.extend(self._events)
        while self._changed:
            channel = self._changed.popleft()
            await self._follow(self._link, channel)
        self._has_changed.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._has_changed.wait(), CHECK_S)
            return
        if self._held:
            await self._link.call("PING")

    async def _follow(self, link: Link, channel: str) -> None:
        is_wanted = channel in self._events
        if is_wanted == (channel in self._held):
            return
        await link.call(self._prefix + ("SUBSCRIBE" if is_wanted else "UNSUBSCRIBE"), channel)
        if is_wanted:
            self._held.add(channel)
            self._wake(channel.encode())  # what was written before is looked at now
        else:
            self._held.discard(channel)

    def _wake(self, channel: bytes) -> None:
        if (event := self._events.get(channel.decode("utf-8", "replace"))) is not None:
            event.set()

    async def _drop(self) -> None:
        link, self._link = self._link, None
        self._held.clear()
        self._changed.clear()
        if link is not None:
            await link.close()
