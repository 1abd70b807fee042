"""The heartbeat: a thread with its own event loop and connection that renews the leases of running jobs.

A busy event loop or a full connection must not end a lease. A worker that can no longer speak must lose it: a lease is
renewed while its job waits for something other than the engine (a slot, Redis, a reader), or while the engine has made
progress within the last lease. A hung engine or a hung event loop stops the renewals.

A renewal ("beat") is sent every quarter of a lease, whether or not earlier ones were answered, so a slow network does
not lower their rate. The first one after a claim arrives a quarter lease and a round trip later. With a round trip of
up to a third of the lease that is before three quarters of a lease, when other workers take the job over.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from time import time
from typing import Any, TypeVar

from worker.stream.clock import Clock
from worker.stream.keys import Keys
from worker.stream.lease import Lease
from worker.stream.queue import JobQueue
from worker.stream.transport.address import Address
from worker.stream.transport.advice import sentence_on
from worker.stream.transport.base import Link
from worker.stream.transport.link import PipelinedLink
from worker.stream.transport.open import open_link
from worker.stream.transport.retry import PASSING, Refusal
from worker.stream.transport.round_trips import RoundTrips

log = logging.getLogger(__name__)
BEATS_A_LEASE = 4
MAX_TURNS = BEATS_A_LEASE  # unanswered at most; further beats would add nothing
ANNOUNCE_EVERY_S = 1.0
LOG_AGAIN_S = 60.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BeatingWorker:
    """The heartbeat's callbacks into its worker. All run on the heartbeat's thread.

    engine_moves, loop_moves: whether the engine and the event loop have made progress within the last lease. on_lost:
    another worker has this job. on_failure: Redis did not answer. report: takes damage that a script found. card: this
    worker's entry in the list of workers.
    """

    engine_moves: Callable[[], bool] = lambda: True
    loop_moves: Callable[[], bool] = lambda: True
    on_lost: Callable[[Lease], None] = lambda lease: None
    on_failure: Callable[[], None] = lambda: None
    report: Callable[[Sequence[bytes]], None] = lambda damage: None
    card: Callable[[], Mapping[str, Any]] = dict


class Heartbeat:
    """Renews every lease four times a lease. name: the worker's consumer name in the group.

    round_trips: times of renewals and of writing the worker's card, without those that had to connect first.
    """

    def __init__(
        self,
        address: Address,
        keys: Keys,
        name: str,
        lease_s: float,
        worker: BeatingWorker | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._address = address
        self._keys = keys
        self._name = name
        self._worker = worker or BeatingWorker()
        self._lease_s = lease_s
        self._clock = clock or Clock()
        self._leases: set[Lease] = set()
        self._lock = threading.Lock()
        self._started = threading.Event()
        self._turns: set[asyncio.Task[None]] = set()
        self._announcing: asyncio.Task[None] | None = None
        self._announced_at = -ANNOUNCE_EVERY_S
        self._has_answered = False  # since the last failure
        self._logged: dict[str, tuple[float, str]] = {}
        self._link: Link | None = None
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self.round_trips = RoundTrips(lease_s)

    def start(self) -> None:
        self._thread.start()
        self._started.wait()

    def stop(self) -> None:
        """Stop renewing. Returns when the thread has closed its connection, within milliseconds."""
        if self._thread.is_alive():
            with suppress(RuntimeError):  # the thread has just ended
                self._loop.call_soon_threadsafe(self._beating.cancel)
            self._thread.join(self._lease_s + 1)

    @property
    def server(self) -> str | None:
        """Host and port of the server that receives the beats; None without a connection, and in a Cluster."""
        return self._link.server if isinstance(self._link, PipelinedLink) else None

    def renew(self) -> None:
        """Reconnect. May be called from another thread."""
        if isinstance(self._link, PipelinedLink):
            _call_on(self._loop, self._link.renew)

    def add(self, lease: Lease) -> None:
        """Renew this lease from now on."""
        with self._lock:
            self._leases.add(lease)

    def remove(self, lease: Lease) -> None:
        """Stop renewing this lease."""
        with self._lock:
            self._leases.discard(lease)

    def _run(self) -> None:
        with suppress(asyncio.CancelledError):
            asyncio.run(self._beat_until_stopped())

    async def _beat_until_stopped(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._loop, self._beating = asyncio.get_running_loop(), task
        link = self._link = open_link(self._address, max(0.5, self._lease_s / 2))
        queue = JobQueue(link, self._keys, self._name, lease_s=self._lease_s, report=self._worker.report)
        self._started.set()
        due = self._clock.now()
        try:
            while True:
                self._begin_turn(link, queue)
                self._begin_announcing(link)
                # beats missed while this thread was stopped are not sent later
                due = max(due + self._lease_s / BEATS_A_LEASE, self._clock.now())
                await self._clock.sleep(due - self._clock.now())
        finally:
            unfinished = [*self._turns, *([self._announcing] if self._announcing else [])]
            for task in unfinished:
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)
            await link.close()

    # Beats.

    def _begin_turn(self, link: Link, queue: JobQueue) -> None:
        """Send a beat for every lease to renew, unless MAX_TURNS are unanswered (one while Redis does not answer)."""
        leases = self._to_beat()
        if leases and len(self._turns) < (MAX_TURNS if self._has_answered else 1):
            turn = asyncio.create_task(self._turn(link, queue, leases))
            self._turns.add(turn)
            turn.add_done_callback(self._turns.discard)

    def _to_beat(self) -> list[Lease]:
        with self._lock:
            leases = [lease for lease in self._leases if not lease.is_lost]
        if leases and not self._worker.loop_moves():
            self._log_once("loop", "the event loop has made no progress for a lease; other workers take its jobs over")
            return []
        engine_moves = self._worker.engine_moves()
        left = [lease.entry_id for lease in leases if not engine_moves and not lease.is_waiting]
        if left:
            jobs = ", ".join(left)
            self._log_once("engine", f"the engine has made no progress for a lease; other workers take over {jobs}")
        return [lease for lease in leases if engine_moves or lease.is_waiting]

    async def _turn(self, link: Link, queue: JobQueue, leases: list[Lease]) -> None:
        had_answered = self._has_answered
        while True:
            try:
                await self._timed(link, self._beat_all(queue, leases))
            except PASSING as error:
                self._failed(error)
                if not had_answered:
                    return
                had_answered = False  # the connection has just broken: retry once, on a new one
            except Refusal as error:
                self._log_once("beat", f"this worker cannot renew its leases: {sentence_on(error)}")
                return
            except Exception:
                log.exception("the heartbeat met an unexpected error and continues")
                return
            else:
                return

    async def _beat_all(self, queue: JobQueue, leases: list[Lease]) -> None:
        beats = [self._beat(queue, lease) for lease in leases]
        for outcome in await asyncio.gather(*beats, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    async def _beat(self, queue: JobQueue, lease: Lease) -> None:
        at = self._clock.now()
        with lease.beating():
            self._apply_answer(lease, at, await queue.beat(lease))

    def _apply_answer(self, lease: Lease, at: float, is_mine: bool) -> None:
        with self._lock:
            if lease not in self._leases or lease.is_lost:  # settled meanwhile, or reported already
                return
        if is_mine:
            lease.last_beat = at
        else:
            lease.is_lost = True
            self._worker.on_lost(lease)

    # The worker's card.

    def _begin_announcing(self, link: Link) -> None:
        now = self._clock.now()
        is_due = now - self._announced_at >= ANNOUNCE_EVERY_S or self.round_trips.n_wanted
        if is_due and (self._announcing is None or self._announcing.done()):
            self._announced_at = now
            self._announcing = asyncio.create_task(self._announce(link))

    async def _announce(self, link: Link) -> None:
        try:
            card = json.dumps(dict(self._worker.card()) | {"beat": int(time() * 1000)})
            await self._timed(link, link.call("HSET", self._keys.workers, self._name, card))
        except PASSING as error:
            self._failed(error)
        except Refusal as error:
            self._log_once("card", f"this worker cannot write its card into the list of workers: {sentence_on(error)}")
        except Exception as error:
            self._log_once("card", f"this worker cannot compose its card: {type(error).__name__}: {error}")

    # Answers.

    async def _timed(self, link: Link, answer: Awaitable[T]) -> T:
        """Await an answer and measure its round trip, unless the link had to connect first."""
        at, was_connected = self._clock.now(), link.is_connected
        found = await answer
        if was_connected:
            self._measured(self._clock.now() - at)
        self._has_answered = True
        return found

    def _measured(self, seconds: float) -> None:
        was_too_long = self.round_trips.problem() is not None
        self.round_trips.add(seconds)
        problem = self.round_trips.problem()
        if problem is not None and not was_too_long:
            log.warning("%s", problem)

    def _failed(self, error: BaseException) -> None:
        self._has_answered = False
        self._worker.on_failure()
        log.debug("the heartbeat got no answer from Redis: %s", error)

    def _log_once(self, subject: str, sentence: str) -> None:
        """Log a sentence; the same one about a subject at most once a minute."""
        now = self._clock.now()
        logged_at, logged = self._logged.get(subject, (-inf, ""))
        if logged != sentence or now - logged_at >= LOG_AGAIN_S:
            self._logged[subject] = (now, sentence)
            log.error("%s", sentence)


def _call_on(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # the loop is closed
        loop.call_soon_threadsafe(call)
