"""The repair of damage (`queue repair`).

Workers may run meanwhile: each step is one command or script that is correct whatever they did since the check. Keys
with data are renamed or copied; what is deleted is listed first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from time import monotonic

from worker.stream.integrity.check import IntegrityReport, check_job_plane
from worker.stream.integrity.kinds import AHEAD_MS, Damage, Kind, is_session
from worker.stream.integrity.pages import scan_pairs
from worker.stream.keys import ASIDE_TTL_MS, GROUP, Keys
from worker.stream.queue import FORGET_CONSUMER_MS, FORGET_WORKER_MS, SWEEP_EVERY_MS, SWEEP_PAGE, JobQueue
from worker.stream.scripts import SWEEP, load_alone
from worker.stream.transport.base import Link, run_script
from worker.stream.transport.operator_link import OperatorLink
from worker.stream.transport.retry import PASSING, Refusal

N_ROUNDS = 6
BATCH = 200
SILENT_MS = 30_000  # a job without a beat for so long is not running
ALL_DEAD_S = 10.0  # live workers write their cards several times within it
BUSY_S = 60.0
WORKER_NAME = "queue repair"
SWEPT = frozenset({Kind.LOST, Kind.STUCK, Kind.ELSEWHERE})
REBUILD, RETURN = load_alone("rebuild"), load_alone("return")


@dataclass(slots=True)
class Repair:
    """before: what was found first. after: what is left. problems: why the rest is not repaired, one line each."""

    before: IntegrityReport
    after: IntegrityReport
    problems: list[str] = field(default_factory=list)


async def repair(link: Link, keys: Keys, found: IntegrityReport, busy_s: float = BUSY_S) -> Repair:
    """Repair the damage found, and what later checks find, until the queue is sound; N_ROUNDS at most.

    busy_s: how long to wait for running jobs that block a step. Raises redis-py's errors.
    """
    repairer = _Repairer(OperatorLink(link), keys, busy_s)
    after, problems = found, []
    for _ in range(N_ROUNDS):
        if not after.damage:
            break
        problems = await repairer.repair_all(after.damage)
        after = await check_job_plane(link, keys)
    return Repair(found, after, problems)


class _Repairer:
    def __init__(self, link: Link, keys: Keys, busy_s: float) -> None:
        self._link = link
        self._keys = keys
        self._busy_s = busy_s
        self._problems: list[str] = []
        self._of_kind: dict[Kind, Callable[[Damage], Awaitable[None]]] = {
            Kind.OTHER_TYPE: self._put_aside,
            Kind.EXPIRES: self._keep,
            Kind.ETERNAL: self._delete,
            Kind.TAKEN_AHEAD: self._delete,
            Kind.EXHAUSTED: self._rebuild,
            Kind.AHEAD: self._rebuild,
            Kind.NO_GROUP: self._make_group,
            Kind.GROUP_AHEAD: self._set_group_back,
            Kind.SCORE: self._set_score,
            Kind.UNWRITTEN: self._remove,
            Kind.GONE: self._remove,
            Kind.ELSEWHERE: self._remove,
            Kind.FUTURE: self._undo_time,
            Kind.LEFT_ASIDE: self._bring_back,
        }  # SWEEP repairs the others, and sessions' gates

    async def repair_all(self, found: Sequence[Damage]) -> list[str]:
        """One round: keys first, then their members. Returns why something was not repaired."""
        self._problems = []
        order = list(self._of_kind)
        for damage in sorted(found, key=lambda one: order.index(one.kind) if one.kind in order else len(order)):
            if damage.kind in self._of_kind:
                await self._try(self._of_kind[damage.kind](damage), damage.key)
        if any(damage.name == "gates" or damage.kind in SWEPT for damage in found):
            await self._try(self._sweep(), "the queue")
        return self._problems

    async def _try(self, step: Awaitable[None], where: str) -> None:
        try:
            await step
        except Refusal as error:
            if isinstance(error, PASSING):
                raise
            self._problems.append(f"{where}: Redis rejected the repair: {' '.join(str(error).split())}")

    async def _limit_ms(self) -> int:
        """The highest time in ms that is not too far ahead, by the clock of the server with the keys."""
        _, (seconds, _) = await self._link.transaction(("TYPE", self._keys.jobs), ("TIME",))
        return int(seconds) * 1000 + 999 + AHEAD_MS

    # Keys.

    async def _put_aside(self, damage: Damage) -> None:
        if damage.name != "seen:*":
            await JobQueue(self._link, self._keys, WORKER_NAME).set_aside()
        if damage.name == "jobs":
            await self._make_group(damage)

    async def _keep(self, damage: Damage) -> None:
        await self._link.call("PERSIST", damage.key)

    async def _delete(self, damage: Damage) -> None:
        await self._link.call("DEL", damage.key)

    async def _make_group(self, _: Damage) -> None:
        try:
            await self._link.call("XGROUP", "CREATE", self._keys.jobs, GROUP, "0", "MKSTREAM")
        except Refusal as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    async def _set_group_back(self, _: Damage) -> None:
        await self._link.call("XGROUP", "SETID", self._keys.jobs, GROUP, "$")

    async def _rebuild(self, damage: Damage) -> None:
        limit_ms = await self._limit_ms()
        aside = f"{self._keys.aside_prefix}{limit_ms - AHEAD_MS}:{damage.name}"
        if damage.name == "bell":
            await self._delete(damage)
        elif damage.name == "dead":  # its letters return with the repair of LEFT_ASIDE
            await self._link.transaction(("RENAME", damage.key, aside), ("PEXPIRE", aside, ASIDE_TTL_MS))
        else:
            await self._rebuild_jobs(aside, limit_ms)

    async def _rebuild_jobs(self, aside: str, limit_ms: int) -> None:
        keys = (self._keys.jobs, f"{aside}:new", aside, self._keys.job_plane_key("taken"))
        began_s, silent_ms, cards = monotonic(), SILENT_MS, await self._cards()
        while True:
            answer, *numbers = await run_script(self._link, REBUILD, keys, GROUP, limit_ms, silent_ms, ASIDE_TTL_MS)
            waited_s = monotonic() - began_s
            if answer != b"BUSY":
                return
            if waited_s > self._busy_s:
                problem = f"{numbers[0]} jobs whose IDs are ahead of the clock are running"
                self._problems.append(f"{self._keys.jobs}: {problem}; run queue repair again after they have ended")
                return
            if waited_s > ALL_DEAD_S and await self._cards() == cards:
                silent_ms = 0  # no worker is live; delivery times ahead of the clock make dead workers' jobs look busy
            await asyncio.sleep(0.2)

    async def _cards(self) -> dict[bytes, bytes]:
        """The workers' cards. Each live worker rewrites its own every second, whatever the clocks say."""
        if await self._link.call("TYPE", self._keys.workers) != b"hash":
            return {}
        return {name: card async for name, card in scan_pairs(self._link, "HSCAN", self._keys.workers)}

    async def _bring_back(self, damage: Damage) -> None:
        limit_ms = await self._limit_ms()
        plane = self._keys.job_plane_key
        home = damage.name.rpartition(":")[2]
        more = [plane(name) for name in ("ready", "delayed", "gates", "waiting", "attempts")] if home == "jobs" else []
        keys = (damage.key, plane(home), *more)
        while await run_script(self._link, RETURN, keys, 100, self._keys.seen_prefix, limit_ms):
            pass

    # Members.

    async def _remove(self, damage: Damage) -> None:
        key, names = damage.key, [item[0] for item in damage.items]
        if damage.name == "seen:*":
            for some in _batches(names):
                await self._link.call("DEL", *some)
        elif damage.name == "taken":
            await self._delete(damage)
        elif damage.name == "ready":
            at_most = 0 if len(names) < BATCH else 1  # many: one each, in order from the head, which is fast
            for name in names:
                await self._link.call("LREM", key, at_most, name)
        elif damage.name == "jobs":
            for some in _batches(names):
                await self._link.call("XACK", key, GROUP, *some)
        else:
            command = "ZREM" if damage.name in ("delayed", "waiting") else "HDEL"
            if damage.name == "gates":  # SWEEP removes those of sessions and passes the gate on at once
                names = [name for name in names if not is_session(name)]
            for some in _batches(names):
                await self._link.call(command, key, *some)

    async def _undo_time(self, damage: Damage) -> None:
        if damage.name != "delayed":
            await self._remove(damage)
            return
        now_ms = await self._limit_ms() - AHEAD_MS
        for member, _ in damage.items:
            await self._link.call("ZADD", damage.key, "XX", "LT", now_ms, member)

    async def _set_score(self, damage: Damage) -> None:
        for member, _ in damage.items:
            await self._link.call("ZADD", damage.key, "XX", 0, member)

    async def _sweep(self) -> None:
        """Run a worker's sweep, also while the key `sweeping` blocks workers."""
        if not await self._has_group():
            return
        part, cursor = 1, b"0"
        while part:
            part, cursor, _ = await run_script(
                self._link, SWEEP, self._keys.job_plane, self._keys.seen_prefix,
                WORKER_NAME, part, cursor, SWEEP_PAGE, SWEEP_EVERY_MS, FORGET_WORKER_MS, FORGET_CONSUMER_MS,
            )  # fmt: skip

    async def _has_group(self) -> bool:
        if await self._link.call("TYPE", self._keys.jobs) != b"stream":
            return False
        return any(GROUP.encode() in flat for flat in await self._link.call("XINFO", "GROUPS", self._keys.jobs))


def _batches(names: list[bytes]) -> Iterator[list[bytes]]:
    for start in range(0, len(names), BATCH):
        yield names[start : start + BATCH]
