"""Keeps the leases of running jobs, from a thread and a connection of its own.

The event loop may be busy and the main connection full; a lease must not end for that. It must end when the worker
can no longer speak: a job is beaten for while it waits for somebody else (a slot, Redis, a reader) or while the engine
and the event loop have moved within the last lease. Only a hung engine or a hung loop stops the beat.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic, time
from typing import Any

import redis
from redis.exceptions import NoScriptError

from worker.stream.connect import Address
from worker.stream.jobs import Lease, beat_arguments
from worker.stream.keys import Keys
from worker.stream.patience import PASSING, is_no_group
from worker.stream.script import BEAT

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
        self._stopped = threading.Event()
        self._announced_at = 0.0
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self.engine_moves: Callable[[], bool] = lambda: True
        self.loop_moves: Callable[[], bool] = lambda: True
        self.on_lost: Callable[[Pulse], None] = lambda pulse: None
        self.on_failure: Callable[[], None] = lambda: None
        self.card: Callable[[], Mapping[str, Any]] = dict

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop beating; returns within about a socket time-out."""
        self._stopped.set()
        if self._thread.is_alive():
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
        client = None
        while not self._stopped.wait(self._lease_s / 4):
            try:
                client = client or self._address.open_sync(max(0.5, self._lease_s / 2))
                self._beat_all(client)
                self._announce(client)
            except PASSING as error:
                self.on_failure()
                log.debug("heartbeat: Redis does not answer: %s", error)
            except Exception:
                log.exception("heartbeat: an unforeseen error; beating goes on")
        if client is not None:
            client.close()

    def _beat_all(self, client: Any) -> None:
        if not self.loop_moves():
            log.error("the event loop has not moved for a lease: its jobs are left to other workers")
            return
        with self._lock:
            pulses = [pulse for pulse in self._pulses if not pulse.is_lost]
        engine_moves = self.engine_moves()
        for pulse in pulses:
            if engine_moves or pulse.waits:
                self._beat(client, pulse)
            else:
                log.error("the engine has not moved for a lease: job %s is left", pulse.lease.entry_id)

    def _beat(self, client: Any, pulse: Pulse) -> None:
        at = monotonic()
        try:
            answer = self._run_beat(client, pulse.lease)
        except redis.ResponseError as error:
            if not is_no_group(error):
                raise
            answer = b"LOST"
        with self._lock:
            if pulse not in self._pulses:  # settled meanwhile
                return
        if answer == b"OK":
            pulse.last_beat = at
        else:
            pulse.is_lost = True
            self.on_lost(pulse)

    def _run_beat(self, client: Any, lease: Lease) -> Any:
        keys = self._keys.job_plane
        words = (len(keys), *keys, self._keys.seen_prefix, self._worker, *beat_arguments(lease))
        try:
            return client.execute_command("EVALSHA", BEAT.sha, *words)
        except NoScriptError:
            return client.execute_command("EVAL", BEAT.source, *words)

    def _announce(self, client: Any) -> None:
        now = monotonic()
        if now - self._announced_at >= ANNOUNCE_EVERY_S:
            card = dict(self.card()) | {"beat_ms": int(time() * 1000)}
            client.execute_command("HSET", self._keys.workers, self._worker, json.dumps(card))
            self._announced_at = now
