"""Both planes in a random schedule, and the laws that must hold at its end."""

from __future__ import annotations

import sys
from typing import Any

from hypothesis.stateful import RuleBasedStateMachine

from tests.scripts.attempt import Attempt
from tests.scripts.listener import Job, Listener, Violation, law
from tests.scripts.plane import Lease, Plane

N_SESSIONS = 2
N_WORKERS = 3
MAX_ROUNDS = 200


class World(RuleBasedStateMachine):
    """Three workers and two sessions. with_accidents: keys may be lost."""

    def __init__(self, plane: Plane, with_accidents: bool) -> None:
        super().__init__()
        plane.client.flushall()
        plane.create_group()
        self.plane = plane
        plane.heals = True
        self.with_accidents = with_accidents
        self.jobs: dict[str, Job] = {}
        self.accidents: set[str] = set()
        self.sessions = [f"{n}.0" for n in range(N_SESSIONS)]
        self.listeners = {name: Listener(name, self.jobs, self.accidents) for name in self.sessions}
        self.workers = [f"w{n}" for n in range(N_WORKERS)]
        self.n_boots = N_WORKERS
        self.attempts: list[Attempt] = []

    def _take(self, leases: Any, loses_reply: bool = False) -> None:
        for lease in leases:
            job = self.jobs[lease.entry_id]
            job.n_given += 1
            law(lease.session_id == job.session_id, f"{lease.entry_id} is given for {lease.session_id}")
            law(job.is_duplicate == bool(lease.repeats), f"{lease.entry_id} repeats {lease.repeats or 'nothing'}")
            if not loses_reply:
                self.attempts.append(Attempt(self.plane, lease))

    def _listen(self, session_id: str) -> None:
        if session_id:
            listener = self.listeners[session_id]
            listener.hear(self.plane.heard(session_id, listener.last_id))

    def _check_expiry(self) -> None:
        kept = {key for key in self.plane.client.scan_iter(count=1000) if self.plane.client.pttl(key) == -1}
        self.plane.set_aside()
        law(kept <= set(self.plane.keys.job_plane), f"{kept} never expire")

    def teardown(self) -> None:
        """New workers end every job; then the stopped ones continue and must change nothing."""
        if sys.exc_info()[0] is not None:
            return  # a law was broken on the way
        self._check_expiry()
        frozen = [attempt for attempt in self.attempts if not self.jobs[attempt.lease.entry_id].is_deleted]
        self.attempts = []
        self._drain()
        self._check_ends()
        heard = {name: listener.last_id for name, listener in self.listeners.items()}
        for attempt in frozen:
            self._run_out(attempt)
        after = {name: listener.last_id for name, listener in self.listeners.items()}
        law(heard == after, "a frozen worker wrote after the end")
        self._check_emptiness()
        self._check_expiry()

    def _drain(self) -> None:
        for _ in range(MAX_ROUNDS):
            if self.accidents:
                self.plane.sweep()
            for entry_id, _ in self.plane.pending():
                self.plane.go_silent(entry_id)
            leases: list[Lease] = [*self.plane.reclaim("last"), *self.plane.claim("last", 10).leases]
            self._take(leases)
            while self.attempts:
                self._run_out(self.attempts.pop())
            if not self.plane.unsettled():
                return
        raise Violation(f"{self.plane.unsettled()} cannot be brought to an end")

    def _run_out(self, attempt: Attempt) -> None:
        while attempt.step(loses_reply=False):
            self._listen(attempt.lease.session_id)

    def _check_ends(self) -> None:
        ends: dict[str, str | None] = {}
        for listener in self.listeners.values():
            self._listen(listener.session_id)
            ends |= {entry_id: heard.end for entry_id, heard in listener.utterances.items()}
        known = {entry_id for entry_id, job in self.jobs.items() if not (job.is_deleted or self._has_left(job))}
        for job in map(self.jobs.__getitem__, known):
            no_end = job.session_id and not job.is_duplicate and ends.get(job.entry_id) is None
            law(not no_end, f"{job.entry_id} has no end")
        copies = {
            other for listener in self.listeners.values() for other, o in listener.utterances.items() if o.is_copy
        }
        failed = {entry_id for entry_id in known - copies if ends.get(entry_id) == "error"}
        nowhere = {entry_id for entry_id in known if not self.jobs[entry_id].session_id}
        dead = [letter["dead_id"] for letter in self.plane.dead() if letter["dead_id"] in known - copies]
        whole = "dead" in self.accidents or sorted(dead) == sorted(failed | nowhere)
        law(whole, f"dead letters of {dead}, not of {failed} and {nowhere}")

    def _has_left(self, job: Job) -> bool:
        return bool(job.session_id) and self.listeners[job.session_id].has_left

    def _check_emptiness(self) -> None:
        if self.accidents:
            self.plane.sweep()
        law(self.plane.claim("last").ids == [], "something is given of an empty plane")
        law(self.plane.pending() == [], f"{self.plane.pending()} are pending")
        for name in ("ready", "delayed", "gates", "waiting", "attempts"):
            law(not self.plane.client.exists(self.plane.key(name)), f"{name} is not empty")
        law(not self.plane.set_aside(), "a key has another type still")
