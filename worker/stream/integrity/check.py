"""The integrity check of the job plane: reads every key in pages with plain commands and lists the damage.

The first scan yields suspicions, since workers claim and settle jobs between its commands. Each suspicion is checked
again in one transaction, and once more after a pause; one that remains is damage. Session keys are not checked: there
may be very many, and damage to one affects one session only.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from time import time
from typing import Any

from worker.stream.integrity.kinds import N_EXAMPLES, Damage, Item, Kind, printable
from worker.stream.integrity.pages import keys_under
from worker.stream.integrity.scan import Suspects
from worker.stream.integrity.streams import check_streams
from worker.stream.integrity.suspicion import Suspicion, confirmed
from worker.stream.keys import JOB_PLANE, Keys
from worker.stream.transport.base import Link
from worker.stream.transport.operator_link import OperatorLink
from worker.stream.transport.retry import MissingRight, Refusal

TYPES = dict(
    zip(
        JOB_PLANE,
        ("stream", "list", "zset", "hash", "zset", "hash", "stream", "stream", "hash", "string", "string"),
        strict=True,
    )
)
NEVER_EXPIRE = frozenset(JOB_PLANE) - {"taken", "sweeping"}
PAUSE_S = 1.0
MAX_OTHERS = 100
MAX_SWEEPING_MS = 600_000  # a worker blocks other sweeps for seconds
_SEEN = re.compile(rb"seen:[0-9a-f]{40}").fullmatch
_OF_A_SESSION = re.compile(rb"audio|cut|job:.*", re.DOTALL).fullmatch  # keys of a session named like the tag
_LEFT_ASIDE = re.compile(r"aside:[0-9]+:(dead|jobs)").fullmatch
_SIZE = {"stream": "XLEN", "list": "LLEN", "zset": "ZCARD", "hash": "HLEN", "set": "SCARD", "string": "STRLEN"}
_UNITS = {"stream": "entries", "string": "bytes", "hash": "fields"}


@dataclass(slots=True)
class IntegrityReport:
    """The result of a check. notes: harmless keys, one line each. unread: why parts could not be read."""

    damage: list[Damage] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        return not self.damage and not self.unread


async def check_job_plane(link: Link, keys: Keys, pause_s: float | None = None) -> IntegrityReport:
    """Check the whole job plane. pause_s: seconds that a suspicion must last; PAUSE_S by default.

    Raises redis-py's errors while Redis is unreachable. A missing right goes to `unread`.
    """
    return await _Check(OperatorLink(link), keys, PAUSE_S if pause_s is None else pause_s).run()


class _Check:
    def __init__(self, link: Link, keys: Keys, pause_s: float) -> None:
        self._link = link
        self._keys = keys
        self._tag = keys.job_plane_key("")
        self._pause_s = pause_s
        self._found = IntegrityReport()

    async def run(self) -> IntegrityReport:
        usable = await self._usable()
        suspects = Suspects(self._link, self._keys, usable, await self._now_ms())
        for part in suspects.parts():
            await self._guarded(part)
        await self._guarded(self._scan(suspects))
        await self._guarded(self._streams(usable))
        await self._guarded(self._confirm(suspects.found))
        self._found.damage.sort(key=lambda damage: (damage.name, damage.kind))
        return self._found

    async def _now_ms(self) -> int:
        """The clock of the server with the keys; a Cluster needs a key to find that server."""
        try:
            _, (seconds, _) = await self._link.transaction(("TYPE", self._keys.jobs), ("TIME",))
        except MissingRight as error:
            self._found.unread.append(str(error))
            return int(time() * 1000)
        return int(seconds) * 1000

    async def _guarded(self, part: Any) -> None:
        try:
            await part
        except MissingRight as error:
            if str(error) not in self._found.unread:
                self._found.unread.append(str(error))
        except Refusal as error:
            if not str(error).startswith(("WRONGTYPE", "NOGROUP", "ERR no such key")):
                raise  # the key was replaced since its type was read: the next check finds it

    def _damaged(self, name: str, kind: Kind, detail: str) -> None:
        self._found.damage.append(Damage(self._tag, name, kind, (), detail))

    async def _usable(self) -> set[str]:
        """Names of the keys that exist, have their type and may be read."""
        usable: set[str] = set()
        for name in JOB_PLANE:
            await self._guarded(self._look_at_type(name, usable))
        return usable

    async def _look_at_type(self, name: str, usable: set[str]) -> None:
        key = self._keys.job_plane_key(name)
        kind = (await self._link.call("TYPE", key)).decode()
        if kind == "none":
            return
        if kind != TYPES[name]:
            detail = f"a {_type_name(kind)} where a {_type_name(TYPES[name])} belongs"
            self._damaged(name, Kind.OTHER_TYPE, detail)
            return
        usable.add(name)
        left_ms = await self._link.call("PTTL", key)
        if name in NEVER_EXPIRE and left_ms >= 0:
            self._damaged(name, Kind.EXPIRES, f"{left_ms / 1000:.0f} s")
        if name == "sweeping" and (left_ms == -1 or left_ms > MAX_SWEEPING_MS):
            self._damaged(name, Kind.ETERNAL, "without an expiry" if left_ms == -1 else f"for {left_ms / 1000:.0f} s")

    async def _streams(self, usable: set[str]) -> None:
        self._found.damage += await check_streams(self._link, self._keys, usable)

    async def _scan(self, suspects: Suspects) -> None:
        known = {self._tag.encode() + name.encode() for name in JOB_PLANE}
        others: set[bytes] = set()
        async for page in keys_under(self._link, self._tag):
            names = {key: key[len(self._tag) :] for key in page if key not in known}
            seen = [key for key, name in names.items() if _SEEN(name)]
            if seen:
                await suspects.check_seen(seen)
            others |= {key for key, name in names.items() if not _SEEN(name) and not _OF_A_SESSION(name)}
        for key in sorted(others)[:MAX_OTHERS]:
            await self._look_at_other(key)
        if len(others) > MAX_OTHERS:
            self._found.notes.append(f"{len(others) - MAX_OTHERS} more keys under {self._tag} are not of this version")

    async def _look_at_other(self, key: bytes) -> None:
        """A key that was set aside, or an unknown one: a newer worker's or a foreign program's."""
        kind = (await self._link.call("TYPE", key)).decode()
        if kind == "none":
            return
        name = key.decode("utf-8", "backslashreplace")[len(self._tag) :]
        if _LEFT_ASIDE(name) and kind == "stream":
            some = await self._link.call("XRANGE", key, "-", "+", "COUNT", N_EXAMPLES)
            if some:
                n_more = await self._link.call("XLEN", key) - len(some)
                items = (*[(entry_id, b"") for entry_id, _ in some], *[(b"", b"")] * n_more)
                self._found.damage.append(Damage(self._tag, name, Kind.LEFT_ASIDE, items))
                return
        size = (
            f" with {await self._link.call(_SIZE[kind], key)} {_UNITS.get(kind, 'elements')}" if kind in _SIZE else ""
        )
        left_s = (await self._link.call("PTTL", key)) / 1000
        until = f"; it expires in {left_s / 3600:.0f} h" if left_s > 0 else ""
        what = "was set aside" if name.startswith("aside:") else "is not of this version"
        self._found.notes.append(f"{printable(key, 128)} {what}: a {_type_name(kind)}{size}{until}")

    async def _confirm(self, suspicions: list[Suspicion]) -> None:
        left = await confirmed(self._link, suspicions)
        if left and self._pause_s:
            await asyncio.sleep(self._pause_s)
            left = await confirmed(self._link, left)
        groups: dict[tuple[str, Kind], dict[Item, None]] = {}
        for one in left:
            groups.setdefault((one.name, one.kind), {})[one.item] = None
        self._found.damage += [Damage(self._tag, name, kind, tuple(items)) for (name, kind), items in groups.items()]


def _type_name(kind: str) -> str:
    return {"zset": "sorted set"}.get(kind, kind)
