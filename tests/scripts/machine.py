"""Random schedules of workers, listeners and accidents on both planes, for Hypothesis to choose from.

A schedule is a list of single Redis commands by anyone; whatever it was, the laws of `listener` hold as it goes, and at
the end fresh workers must be able to bring every job to its one end.
"""

from __future__ import annotations

import redis
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from tests.scripts.attempt import Attempt, Plan
from tests.scripts.listener import Job, Listener, law
from tests.scripts.plane import numbers
from tests.scripts.world import N_SESSIONS, N_WORKERS, World
from worker.stream.keys import JOB_PLANE

ACCIDENTS = ("ready", "delayed", "gates", "waiting", "attempts", "taken", "group", "scripts", "entry")
ODD = ("", "oops", "1-1-1", "9" * 23, "1-", "1", "01-0", "-1", "inf", "nan", "1 2 3 4", "\x00", "9999999999999999-0")
MISFORTUNES = ("crash", "give back", "beat", "sweep", "trim", "leave")
sessions = st.integers(0, N_SESSIONS - 1)
workers = st.integers(0, N_WORKERS - 1)
indices = st.integers(0, 99)
few = st.integers(0, 4)
seldom = st.sampled_from((False, False, False, True))
plans = st.builds(Plan, st.integers(1, 3), st.sampled_from((0, 0, 0, 1, 3)), st.integers(0, 1))
lags = st.sampled_from((0, 0, 1, 3, None))
kinds = st.sampled_from(("usual", "usual", "usual", "without an id", "invalid", "again", "without a session"))


class Schedules(World):
    """The possible next steps of workers, listeners and accidents."""

    # publishers

    @initialize(published=st.lists(st.tuples(sessions, plans), max_size=4))
    def publish_some(self, published: list[tuple[int, Plan]]) -> None:
        for session, plan in published:
            self._publish(self.sessions[session], plan, f"j{len(self.jobs)}")

    @rule(session=sessions, plan=plans, kind=kinds, which=indices)
    def publish(self, session: int, plan: Plan, kind: str, which: int) -> None:
        name, job_id = self.sessions[session], f"j{len(self.jobs)}"
        earlier = [
            job for job in self.jobs.values() if job.session_id in self.sessions and job.is_named and not job.is_deleted
        ]
        if kind == "without a session":
            entry_id = self.plane.publish("not one", job_id="j0")
            self.jobs[entry_id] = Job(entry_id, "", "j0", 1)
        elif kind == "again" and earlier:
            job = earlier[which % len(earlier)]
            self._publish(job.session_id, plan, job.job_id)
        elif kind == "without an id":
            self._publish(name, plan)
        else:
            self._publish(name, Plan(0) if kind == "invalid" else plan, job_id)

    def _publish(self, session: str, plan: Plan, job_id: str | None = None) -> None:
        fields = {} if job_id is None else {"job_id": job_id}
        entry_id = self.plane.publish(session, text=plan.text, **fields)
        known = any(job.job_id == job_id and job.session_id == session for job in self.jobs.values())
        job = Job(entry_id, session, job_id or entry_id, plan.n_chunks, plan.n_failures, known)
        self.jobs[entry_id] = job

    # workers

    @rule(
        worker=workers,
        count=st.integers(1, 3),
        turn=st.integers(0, 1),
        loses_reply=seldom,
    )
    def claim(self, worker: int, count: int, turn: int, loses_reply: bool) -> None:
        name = self.workers[worker]
        leases = self.plane.claim(name, count, turn).leases
        self._take(leases, loses_reply)

    def _running(self, which: int) -> list[Attempt]:
        """One attempt, or none when nobody has anything to do even after a claim.

        No rule has what is running as its precondition: it hangs on the server's clock, and Hypothesis must be able to
        repeat a schedule.
        """
        if not self.attempts:
            name = self.workers[which % N_WORKERS]
            self._take(self.plane.claim(name, 2, which % 2).leases)
        return [self.attempts[which % len(self.attempts)]] if self.attempts else []

    @rule(which=indices, loses_reply=seldom)
    def step(self, which: int, loses_reply: bool) -> None:
        for attempt in self._running(which):
            self._step(attempt, loses_reply)

    @rule(which=indices, n_steps=st.integers(1, 6))
    def go_on(self, which: int, n_steps: int) -> None:
        for attempt in self._running(which) * n_steps:
            self._step(attempt)

    @rule(order=st.lists(indices, min_size=3, max_size=12))
    def go_on_together(self, order: list[int]) -> None:
        for which in order:
            for attempt in self._running(which):
                self._step(attempt)

    @rule(which=indices, n_steps=st.integers(1, 4), worker=workers)
    def go_on_twice(self, which: int, n_steps: int, worker: int) -> None:
        """A job is taken over; its old and its new worker continue in turns."""
        for old in self._running(which):
            self._silence(old.lease.entry_id, worker)
            for attempt in (self.attempts[-1], old) * n_steps:
                self._step(attempt)

    def _step(self, attempt: Attempt, loses_reply: bool = False) -> None:
        if attempt in self.attempts and not attempt.step(loses_reply):
            self.attempts.remove(attempt)
        self._listen(attempt.lease.session_id)

    @rule(which=indices, worker=workers, loses_reply=seldom)
    def take_over(self, which: int, worker: int, loses_reply: bool) -> None:
        """A worker stops for longer than a lease and may continue at any time; another one takes its job over."""
        pending = self.plane.pending()
        if pending:
            entry_id = pending[which % len(pending)][0]
            self._silence(entry_id, worker, loses_reply)

    @rule(what=st.sampled_from(MISFORTUNES), which=indices)
    def suffer(self, what: str, which: int) -> None:
        attempt = next(iter(self._running(which)), None)
        match what:
            case "crash":
                self._crash(which % N_WORKERS)
            case "beat" if attempt:
                if self.plane.beat(attempt.lease) == "LOST":
                    self.attempts.remove(attempt)
            case "give back" if attempt:
                attempt.give_back()
                self._step(attempt)
            case "sweep":
                self.plane.sweep(which % 5 + 1)
            case "trim":
                self._trim(self.listeners[self.sessions[which % N_SESSIONS]])
            case "leave" if which % 3 == 0:
                self._leave(which % N_SESSIONS)

    def _silence(self, entry_id: str, worker: int, loses_reply: bool = False) -> None:
        self.plane.go_silent(entry_id)
        self._take(self.plane.reclaim(self.workers[worker]), loses_reply)

    def _crash(self, worker: int) -> None:
        name = self.workers[worker]
        self.attempts = [attempt for attempt in self.attempts if attempt.lease.worker != name]
        self.workers[worker] = f"w{self.n_boots}"
        self.n_boots += 1

    # listeners

    @precondition(lambda self: self.jobs)
    @rule(which=indices, upto=st.sampled_from(("this", "earlier", "earlier", "last")), lag=lags)
    def cancel(self, which: int, upto: str, lag: int | None) -> None:
        """Cancel up to a job that runs, or late up to one before it, or up to the last.

        lag: epochs that the listener has not read yet; None: by hand, with an id by the server's clock.
        """
        running = [attempt.lease.entry_id for attempt in self.attempts if attempt.lease.session_id]
        entry_id = running[which % len(running)] if running else next(iter(self.jobs))
        session_id = self.jobs[entry_id].session_id or self.sessions[0]
        known = [job.entry_id for job in self.jobs.values() if job.session_id == session_id]
        earlier = [other for other in known if numbers(other) < numbers(entry_id)]
        chosen = {"this": entry_id, "earlier": earlier[-1] if earlier else "1-1", "last": (known or ["1-1"])[-1]}
        listener = self.listeners[session_id]
        self._cut(listener, chosen[upto], None if lag is None else max(1, listener.epoch + 1 - lag))

    def _cut(self, listener: Listener, upto: str, epoch: int | None) -> None:
        answers = self.plane.cancel(listener.session_id, upto, epoch)
        if isinstance(answers[0], redis.ResponseError):
            law(numbers(upto) <= listener.cut, f"the cut {upto} is refused: {answers[0]}")
        listener.cut = max(listener.cut, numbers(upto))
        if isinstance(answers[2], redis.ResponseError):
            audio = self.plane.keys.audio(listener.session_id)
            last = self.plane.call("XREVRANGE", audio, "+", "-", "COUNT", 1)[0][0]
            at = f"{numbers(last)[0] + 1}-0"
            self.plane.call("XADD", audio, "NOMKSTREAM", at, "type", "cancel", "upto", upto)
        listener.silenced = listener.cut
        self._listen(listener.session_id)

    def _trim(self, listener: Listener) -> None:
        """Trim all entries before the last end, unless an unfinished utterance began before it."""
        goes_on = any(heard.is_begun and heard.end is None for heard in listener.utterances.values())
        if listener.last_end is not None and not goes_on:
            self.plane.call("XTRIM", self.plane.keys.audio(listener.session_id), "MINID", listener.last_end)

    def _leave(self, session: int) -> None:
        """Cancel everything; the stream ends, and the next connection is a new session."""
        listener = self.listeners[self.sessions[session]]
        self._cut(listener, f"{self.plane.now_ms()}-18446744073709551615", listener.epoch + 1)
        self.plane.client.delete(self.plane.keys.audio(listener.session_id))
        listener.has_left, listener.last_id = True, "-"
        name = f"{session}.{len(self.listeners)}"
        self.sessions[session] = name
        self.listeners[name] = Listener(name, self.jobs, self.accidents)

    # accidents

    @precondition(lambda self: self.with_accidents)
    @rule(what=st.sampled_from(ACCIDENTS), which=few)
    def lose(self, what: str, which: int) -> None:
        self.accidents.add(what)
        if what == "group":
            self.plane.call("XGROUP", "DESTROY", self.plane.keys.jobs, "workers")
        elif what == "scripts":
            self.plane.call("SCRIPT", "FLUSH")
        elif what == "entry":
            self._delete(which)
        else:
            self.plane.client.delete(self.plane.key(what))

    @precondition(lambda self: self.with_accidents)
    @rule(name=st.sampled_from(JOB_PLANE[1:]), odd=st.sampled_from(ODD), which=few)
    def damage(self, name: str, odd: str, which: int) -> None:
        """Damage a key of the job plane: a malformed member or another type."""
        key = self.plane.key(name)
        unsettled = self.plane.unsettled()
        entry_id = unsettled[which % len(unsettled)] if unsettled else "1-1"
        session = self.sessions[which % N_SESSIONS]
        try:
            match name, which:
                case _, 4:
                    self.plane.call("SET", key, odd)
                case "ready", _:
                    self.plane.call("RPUSH", key, odd)
                case "delayed", _:
                    self.plane.call("ZADD", key, *((9e15, entry_id) if which == 0 else (0, odd)))
                case "waiting", _:
                    self.plane.call("ZADD", key, which, f"{session} {odd}" if which else odd)
                case (("gates" | "attempts" | "workers"), _):
                    self.plane.call("HSET", key, {"gates": session, "attempts": entry_id}.get(name, "w"), odd)
                case (("taken" | "sweeping"), _):
                    self.plane.call("SET", key, odd)
        except redis.ResponseError as error:  # it has another type already
            law("WRONGTYPE" in str(error), str(error))
        self.accidents |= {name, *(("gates", "waiting") if name in ("delayed", "taken") else ())}

    def _delete(self, which: int) -> None:
        """Delete an entry without duplicates; whether CLAIM has seen a duplicate yet cannot be known here."""
        repeated = {(job.session_id, job.job_id) for job in self.jobs.values() if job.is_duplicate}
        for entry_id in self.plane.unsettled()[which : which + 1]:
            job = self.jobs[entry_id]
            if (job.session_id, job.job_id) not in repeated:
                self.plane.client.xdel(self.plane.keys.jobs, entry_id)
                job.is_deleted = True
