"""Executes the steps of a plan one by one, each as soon as it is due and the contract allows it."""

from __future__ import annotations

import heapq
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import count
from typing import Any

import redis

from tests.chaos.background import AWAY
from tests.chaos.clock import Clock
from tests.chaos.damage import Damage
from tests.chaos.fleet import Fleet, Member
from tests.chaos.load import Load
from tests.chaos.plan import KINDS, Step
from tests.chaos.proxy import Proxy
from tests.chaos.rights import TAKEN
from tests.chaos.setups import Setup
from tests.chaos.strangers import Strangers
from tests.chaos.targets import Targets
from tests.chaos.victims import Victims
from worker.stream.keys import GROUP, Keys

NOT_NOW = (*AWAY, redis.ResponseError)  # Redis is away, or a key is just now not what it has to be
APART_S = 0.4  # between two faults that end leases: the second meets what became of the first
OVERTIME_S = 45.0  # for what had to wait; then it is left out
RETRY_S = 0.1
CHASE_S = 5.0
TURN_S = 0.02
DELAY_S, LATENCY_S = (0.02, 0.15), (0.0, 0.4)
AHEAD_S = (65, 150)  # of a clock: beyond what any time may lie ahead, and less than a job or a stream has left
SUPERVISE_S = 1.0
CUT_REQUESTS = 2


class Faults:
    """Runs a plan in the caller's thread. counts: what was done, by the names of the table. log: the same with the
    monotonic seconds of each, and to whom.
    """

    def __init__(self, setup: Setup, fleet: Fleet, draw: random.Random, load: Load) -> None:
        self._setup = setup
        self._fleet = fleet
        self._draw = draw
        self._counts = load.ledger.faults
        self.log: list[tuple[float, str]] = []
        self._keys = Keys()
        self._client: Any = setup.client()
        self._targets = Targets(fleet, self._client)
        self._damage = Damage(self._client, draw, load.ledger, self._note)
        self._victims = Victims(self._client, draw, load, self._note, self._soon)
        self._strangers = Strangers(self._client, draw, self._note)
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._outages = ThreadPoolExecutor(1, "outage")
        self._outage: Future[None] | None = None
        self._was_struck = False  # a worker, since the outage began
        self._quiet_until_s = self._end_s = 0.0

    def run(self, steps: Sequence[Step]) -> None:
        """Returns when all is done and everything runs again."""
        began_s = time.monotonic()
        self._end_s = began_s + steps[-1].at_s + OVERTIME_S
        for step in steps:
            self._at(began_s + step.at_s, partial(self._do, step))
        self._in(SUPERVISE_S, partial(self._supervise, began_s + steps[-1].at_s))
        try:
            while self._agenda:
                time.sleep(max(0.0, self._agenda[0][0] - time.monotonic()))
                heapq.heappop(self._agenda)[2]()
        finally:
            self._calm_down()

    def _calm_down(self) -> None:
        self._outages.shutdown()
        if self._outage is not None:
            self._outage.result()
        if self._setup.proxy is not None:
            self._setup.proxy.delay_s = 0.0
        if self._setup.rights.are_taken:
            self._setup.rights.give_back()
        self._set_clock(0.0)
        for member in self._fleet.members:
            if member.is_stopped:
                self._fleet.resume(member)
        self._client.close()

    def _at(self, at_s: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (at_s, next(self._numbers), do))

    def _in(self, seconds: float, do: Callable[[], None]) -> None:
        self._at(time.monotonic() + seconds, do)

    def _do(self, step: Step) -> None:
        now_s, hits = time.monotonic(), KINDS[step.kind].hits
        if hits != "none" and now_s < self._quiet_until_s:
            self._at(self._quiet_until_s, partial(self._do, step))
        elif self._try(step):
            if hits != "none":
                self._quiet_until_s = time.monotonic() + APART_S
        elif now_s < self._end_s:
            self._in(RETRY_S, partial(self._do, step))

    def _try(self, step: Step) -> bool:
        """False when it is not its time yet."""
        own: Callable[[Step], bool | None] | None = getattr(self, f"_{step.kind}", None)
        do = own or partial(self._do_damage, step.kind)
        hits = KINDS[step.kind].hits
        try:
            if (hits != "one" and self._is_out) or (hits == "all" and not self._targets.are_all_safe()):
                return False
            return do(step) is not False
        except NOT_NOW:
            return False

    def _do_damage(self, kind: str, step: Step) -> bool:
        doer = next(one for one in (self._damage, self._victims, self._strangers) if hasattr(one, kind))
        return bool(getattr(doer, kind)())

    def _soon(self, seconds: float, do: Callable[[], bool | None]) -> None:
        """In so many seconds, and then again as long as Redis is away, or a key is not as it has to be."""
        self._in(seconds, partial(self._attempt, do))

    def _attempt(self, do: Callable[[], bool | None]) -> None:
        try:
            is_done = not self._is_out and do() is not False
        except NOT_NOW:
            is_done = False
        if not is_done and time.monotonic() < self._end_s:
            self._soon(RETRY_S, do)

    def _supervise(self, until_s: float) -> None:
        """Put another worker in the place of each that ended by itself."""
        if n := self._fleet.replace_fallen():
            self._say(f"ended by themselves: {n} workers")
        if time.monotonic() < until_s:
            self._in(SUPERVISE_S, partial(self._supervise, until_s))

    def _note(self, name: str, what: str = "", n: int = 1) -> None:
        self._counts[name] += n
        self._say(f"{name} {what}")

    def _say(self, what: str) -> None:
        self.log.append((time.monotonic(), what))

    # Workers.

    def _kill(self, step: Step) -> bool:
        victim = self._stood_still()
        if victim is None:
            return False
        self._end(victim)
        return True

    def _kill_twice(self, step: Step) -> bool:
        victim = None if self._is_out else self._stood_still()
        if victim is None:
            return False
        held = self._targets.held_by(victim)
        self._end(victim)
        self._chase(held, time.monotonic() + CHASE_S)
        return True

    def _chase(self, held: Sequence[str], until_s: float) -> None:
        """Kill the heir of one of these entries as soon as there is one; in the end anybody."""
        heir = self._heir(held)
        if heir is not None:
            self._end(heir)
            self._note("heirs_killed", heir.log.name)
        elif time.monotonic() < until_s:
            self._in(TURN_S, partial(self._chase, held, until_s))
        else:
            self._do(Step(0.0, "kill", 0.0, is_hard=True))

    def _heir(self, held: Sequence[str]) -> Member | None:
        try:
            return None if self._is_out else self._stood_still(self._targets.heirs(held))
        except NOT_NOW:
            return None

    def _stop(self, step: Step) -> bool:
        return self._freeze("stops", step.seconds)

    def _hiccup(self, step: Step) -> bool:
        return self._freeze("hiccups", step.seconds)

    def _freeze(self, name: str, seconds: float) -> bool:
        victim = self._stood_still()
        if victim is None:
            return False
        self._in(seconds, partial(self._wake, victim))
        self._note(name, f"{victim.log.name} for {seconds:.1f} s")
        return True

    def _wake(self, member: Member) -> None:
        if member in self._fleet.members:
            self._fleet.resume(member)
            self._say(f"awake: {member.log.name}")

    def _end(self, victim: Member) -> None:
        self._fleet.kill(victim)
        self._note("kills", f"{victim.log.name}, in its place {self._fleet.start().log.name}")

    # Redis.

    def _restart(self, step: Step) -> None:
        self._break("restarts", step, lambda: self._setup.restart(step.is_hard))

    def _pause(self, step: Step) -> None:
        self._break("pauses", step, lambda: self._setup.pause(step.seconds))

    def _break(self, name: str, step: Step, outage: Callable[[], None]) -> None:
        """Beside what else is done meanwhile."""
        if self._outage is not None:
            self._outage.result()
        self._outage, self._was_struck = self._outages.submit(outage), False
        self._outage.add_done_callback(lambda _: self._say(f"over: {name}"))
        self._note(name, f"{step.seconds:.1f} s" if step.seconds else "hard" if step.is_hard else "")

    def _flush(self, step: Step) -> None:
        self._everywhere("flushes", "SCRIPT FLUSH")

    def _kill_clients(self, step: Step) -> None:
        self._everywhere("clients_killed", "CLIENT KILL", "TYPE", "normal", "SKIPME", "yes")

    def _everywhere(self, name: str, *words: str) -> None:
        where = {"target_nodes": "primaries"} if isinstance(self._client, redis.RedisCluster) else {}
        self._client.execute_command(*words, **where)
        self._note(name)

    def _destroy_group(self, step: Step) -> None:
        self._client.xgroup_destroy(self._keys.jobs, GROUP)
        self._note("groups_destroyed")

    def _rights(self, step: Step) -> bool:
        """Not from a worker that starts: one that may do nothing from the start is wrongly set up, and says so."""
        if self._setup.rights.are_taken or not self._targets.have_all_served():
            return False
        words = self._draw.choice(TAKEN)
        self._setup.rights.take(words)
        self._in(step.seconds, self._setup.rights.give_back)
        self._note("rights_taken", f"{' '.join(words)} for {step.seconds:.1f} s")
        return True

    def _clock(self, step: Step) -> bool:
        if not isinstance(self._setup.clock, Clock) or self._setup.clock.ahead_s:
            return False
        ahead_s = self._draw.uniform(*AHEAD_S)
        self._set_clock(ahead_s)
        self._in(step.seconds, partial(self._set_clock, 0.0))
        self._note("clocks_set", f"{ahead_s:.0f} s ahead for {step.seconds:.1f} s")
        return True

    def _set_clock(self, ahead_s: float) -> None:
        if isinstance(self._setup.clock, Clock):
            self._setup.clock.set_ahead(ahead_s)
            self._say(f"the clock is {ahead_s:.0f} s ahead")

    # The network.

    def _delay(self, step: Step) -> None:
        self._hold_up("delays", step, DELAY_S)

    def _latency(self, step: Step) -> None:
        self._hold_up("latencies", step, LATENCY_S)

    def _hold_up(self, name: str, step: Step, bounds_s: tuple[float, float]) -> None:
        self._proxy.delay_s = self._draw.uniform(*bounds_s)
        self._in(step.seconds, partial(setattr, self._proxy, "delay_s", 0.0))
        self._note(name, f"{self._proxy.delay_s:.2f} s for {step.seconds:.1f} s")

    def _http(self, step: Step) -> None:
        self._proxy.answer_http(step.seconds)
        self._note("http_answers", f"for {step.seconds:.1f} s")

    def _blackhole(self, step: Step) -> None:
        self._proxy.blackhole(step.seconds)
        self._note("blackholes", f"{step.seconds:.1f} s")

    def _cut(self, step: Step) -> None:
        self._proxy.cut()
        self._note("cuts")

    def _cut_after_request(self, step: Step) -> None:
        self._proxy.cut_after_request(CUT_REQUESTS)
        self._note("cuts_after_request", n=CUT_REQUESTS)

    @property
    def _proxy(self) -> Proxy:
        assert self._setup.proxy is not None
        return self._setup.proxy

    @property
    def _is_out(self) -> bool:
        return self._outage is not None and not self._outage.done()

    def _stood_still(self, members: Sequence[Member] | None = None) -> Member | None:
        """One of these, or of those at work, stopped; None when it has to be spared.

        During an outage nobody can be asked who is on a last attempt: one victim then, which costs no job more than
        the one attempt that was seen to be left before.
        """
        if self._setup.rights.are_taken:  # nobody could start in its place
            return None
        is_blind = self._is_out
        members = self._targets.lively() if members is None else members
        if not members or (is_blind and self._was_struck):
            return None
        member = self._draw.choice(members)
        self._fleet.stop(member)
        is_hit = False
        try:
            is_hit = is_blind or not self._targets.is_spared(member)
        finally:
            if not is_hit:
                self._fleet.resume(member)
        self._was_struck = self._was_struck or is_blind
        return member if is_hit else None
