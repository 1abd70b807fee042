"""Keeps the leases of running jobs, from a thread, an event loop and a connection of its own.

The worker's event loop may be busy and its connection full; a lease must not end for that. It must end when the worker
can no longer speak: a job is beaten for while it waits for somebody else (a slot, Redis, a reader) or while the engine
and the event loop have moved within the last lease. Only a hung engine or a hung loop stops the beat.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic, time
from typing import Any

from worker.stream.connect import Address
from worker.stream.jobs import JobQueue, Lease
from worker.stream.keys import Keys
from worker.stream.link import Link, open_link
from worker.stream.patience import PASSING

log = logging.getLogger(__name__)
ANNOUNCE_EVERY_S = 1.0


@dataclass(slots=True, eq=False)
class Pulse:
    """One lease as the heartbeat sees it. last_beat: monotonic seconds of the last good one, at its sending.

    waits is True while the job waits for something outside the engine.
    """

    lease: Lease
    last_beat: float
    waits: bool = True
    is_lost: bool = False


class Heartbeat:
    """Beats every quarter lease. The callbacks run on the heartbeat's thread."""

    def __init__(self, address: Address, keys: Keys, worker: str, lease_s: float) -> None:
        self._address = address
        self._keys = keys
        self._worker = worker
        self._lease_s = lease_s
        self._pulses: set[Pulse] = set()
        self._lock = threading.Lock()
        self._started = threading.Event()
        self._announced_at = -ANNOUNCE_EVERY_S
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self.engine_moves: Callable[[], bool] = lambda: True
        self.loop_moves: Callable[[], bool] = lambda: True
        self.on_lost: Callable[[Pulse], None] = lambda pulse: None
        self.on_failure: Callable[[], None] = lambda: None
        self.card: Callable[[], Mapping[str, Any]] = dict

    def start(self) -> None:
        self._thread.start()
        self._started.wait()

    def stop(self) -> None:
        """Stop beating; returns when the thread has let go of its connection, which takes milliseconds."""
        if self._thread.is_alive():
            with suppress(RuntimeError):  # it ended by itself just now
                self._loop.call_soon_threadsafe(self._beating.cancel)
            self._thread.join(self._lease_s + 1)

    def add(self, lease: Lease) -> Pulse:
        pulse = Pulse(lease, lease.claimed_at)
        with self._lock:
            self._pulses.add(pulse)
        return pulse

    def remove(self, pulse: Pulse) -> None:
        with self._lock:
            self._pulses.discard(pulse)

    def _run(self) -> None:
        with suppress(asyncio.CancelledError):
            asyncio.run(self._beat_until_stopped())

    async def _beat_until_stopped(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._loop, self._beating = asyncio.get_running_loop(), task
        link = open_link(self._address, max(0.5, self._lease_s / 2))
        self._started.set()
        try:
            while True:
                await asyncio.sleep(self._lease_s / 4)
                await self._turn(link)
        finally:
            await link.close()

    async def _turn(self, link: Link) -> None:
        try:
            await self._beat_all(link)
            await self._announce(link)
        except PASSING as error:
            self.on_failure()
            log.debug("heartbeat: Redis does not answer: %s", error)
        except Exception:
            log.exception("heartbeat: an unforeseen error; beating goes on")

    async def _beat_all(self, link: Link) -> None:
        if not self.loop_moves():
            log.error("the event loop has not moved for a lease: its jobs are left to other workers")
            return
        with self._lock:
            pulses = [pulse for pulse in self._pulses if not pulse.is_lost]
        engine_moves = self.engine_moves()
        beaten = [pulse for pulse in pulses if engine_moves or pulse.waits]
        for pulse in pulses:
            if pulse not in beaten:
                log.error("the engine has not moved for a lease: job %s is left", pulse.lease.entry_id)
        outcomes = await asyncio.gather(*[self._beat(link, pulse) for pulse in beaten], return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _beat(self, link: Link, pulse: Pulse) -> None:
        at = monotonic()
        is_mine = await JobQueue(link, self._keys, self._worker, 0).beat(pulse.lease)
        with self._lock:
            if pulse not in self._pulses:  # settled meanwhile
                return
        if is_mine:
            pulse.last_beat = at
        else:
            pulse.is_lost = True
            self.on_lost(pulse)

    async def _announce(self, link: Link) -> None:
        now = monotonic()
        if now - self._announced_at >= ANNOUNCE_EVERY_S:
            card = dict(self.card()) | {"beat": int(time() * 1000)}
            await link.call("HSET", self._keys.workers, self._worker, json.dumps(card))
            self._announced_at = now
