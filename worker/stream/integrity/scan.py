"""The first look over the job plane's members: reads each key in pages, and gathers what no worker wrote."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from typing import Any

from schemas.jobs import session_id_of
from worker.stream.integrity.kinds import AHEAD_MS, Item, Kind, fence_of, id_of, is_session, waiting_member, waiting_of
from worker.stream.integrity.pages import elements, entries, pending_ids, scan_pairs
from worker.stream.integrity.suspicion import Suspicion
from worker.stream.keys import GROUP, Keys
from worker.stream.transport.base import Link, Word

IsSo = Callable[[list[Any]], bool]
Named = list[tuple[str, bytes, bytes, tuple[Word, ...]]]  # key, member, value, the command that reads it again
ID_BYTES = 100  # of a string that should be an id; nothing longer is one


class Suspects:
    """usable: the names of the keys that are there and have their type. now_ms: the server's clock.

    found: grows as the parts run.
    """

    def __init__(self, link: Link, keys: Keys, usable: set[str], now_ms: int) -> None:
        self.found: list[Suspicion] = []
        self._link = link
        self._key = keys.job_plane_key
        self._usable = usable
        self._limit_ms = now_ms + AHEAD_MS
        self._unread = {"jobs", "pending", "ready", "delayed", "waiting", "gates"}
        self._entries: dict[bytes, bytes] = {}  # {id: session, b"" for none that is usable}
        self._placed: set[bytes] = set()  # ids that are pending, ready or delayed
        self._waiting: dict[bytes, bytes] = {}  # {id: member}
        self._gates: dict[bytes, bytes] = {}

    def parts(self) -> Iterator[Coroutine[Any, Any, None]]:
        """The look in parts, to be run in turn: one that may not be read keeps the others from nothing."""
        # Members before the entries that they name: what is published meanwhile is no reference to nothing.
        named: Named = []
        members = (self._read_gates, self._read_attempts, self._read_ready, self._read_delayed, self._read_waiting)
        for read in members:
            yield read(named)
        yield self._read_workers()
        yield self._read_pending(named)
        yield self._read_entries()
        yield self._match(named)
        yield self._find_lost()

    def _suspect(self, name: str, kind: Kind, item: Item, is_so: IsSo, *commands: tuple[Word, ...]) -> None:
        self.found.append(Suspicion(name, kind, item, commands, is_so))

    def _there(self, name: str) -> bool:
        """False for a key that is absent or of another type; one that is absent counts as read."""
        return name in self._usable

    async def _read_gates(self, named: Named) -> None:
        if self._there("gates"):
            async for session, entry_id in scan_pairs(self._link, "HSCAN", self._key("gates")):
                held = ("HGET", self._key("gates"), session)
                self._gates[session] = entry_id
                if not is_session(session) or id_of(entry_id) is None:
                    self._suspect("gates", Kind.UNWRITTEN, (session, entry_id), _equals(entry_id), held)
                else:
                    named.append(("gates", session, entry_id, held))
        self._unread.discard("gates")

    async def _read_attempts(self, named: Named) -> None:
        if not self._there("attempts"):
            return
        async for entry_id, value in scan_pairs(self._link, "HSCAN", self._key("attempts")):
            held = ("HGET", self._key("attempts"), entry_id)
            fence = fence_of(value)
            if id_of(entry_id) is None or fence is None:
                self._suspect("attempts", Kind.UNWRITTEN, (entry_id, value), _equals(value), held)
                continue
            named.append(("attempts", entry_id, value, held))
            self._suspect_time("attempts", (entry_id, value), fence, held)

    def _suspect_time(self, name: str, item: Item, ms: float, held: tuple[Word, ...]) -> None:
        if ms > self._limit_ms:
            self._suspect(name, Kind.FUTURE, item, partial(_is_ahead, item[1], ms), held, ("TIME",))

    async def _read_ready(self, named: Named) -> None:
        if self._there("ready"):
            async for element in elements(self._link, self._key("ready")):
                held = ("LPOS", self._key("ready"), element)
                if id_of(element) is None:
                    self._suspect("ready", Kind.UNWRITTEN, (element, b""), _is_there, held)
                else:
                    self._placed.add(element)
                    named.append(("ready", element, b"", held))
        self._unread.discard("ready")

    async def _read_delayed(self, named: Named) -> None:
        if self._there("delayed"):
            async for member, score in scan_pairs(self._link, "ZSCAN", self._key("delayed")):
                held = ("ZSCORE", self._key("delayed"), member)
                if id_of(member) is None:
                    self._suspect("delayed", Kind.UNWRITTEN, (member, score), _is_there, held)
                    continue
                self._placed.add(member)
                named.append(("delayed", member, score, held))
                self._suspect_time("delayed", (member, score), float(score), held)
        self._unread.discard("delayed")

    async def _read_waiting(self, named: Named) -> None:
        if self._there("waiting"):
            async for member, score in scan_pairs(self._link, "ZSCAN", self._key("waiting")):
                held = ("ZSCORE", self._key("waiting"), member)
                waiting = waiting_of(member)
                if waiting is None:
                    self._suspect("waiting", Kind.UNWRITTEN, (member, score), _is_there, held)
                    continue
                self._waiting[waiting[1]] = member
                named.append(("waiting", member, score, held))
                if float(score) != 0:
                    self._suspect("waiting", Kind.SCORE, (member, score), _is_scored, held)
        self._unread.discard("waiting")

    async def _read_workers(self) -> None:
        if not self._there("workers"):
            return
        async for name, card in scan_pairs(self._link, "HSCAN", self._key("workers")):
            held = ("HGET", self._key("workers"), name)
            beat_ms = beat_of(_card_of(card))
            if beat_ms is None:
                self._suspect("workers", Kind.UNWRITTEN, (name, card), _equals(card), held)
            else:
                self._suspect_time("workers", (name, card), beat_ms, held)

    async def _read_pending(self, named: Named) -> None:
        if self._there("jobs"):
            async for entry_id in pending_ids(self._link, self._key("jobs")):
                self._placed.add(entry_id)
                named.append(("jobs", entry_id, b"", self._pending(entry_id)))
        self._unread.discard("pending")

    def _pending(self, entry_id: bytes) -> tuple[Word, ...]:
        return ("XPENDING", self._key("jobs"), GROUP, entry_id, entry_id, 1)

    async def _read_entries(self) -> None:
        if self._there("jobs"):
            async for entry_id, fields in entries(self._link, self._key("jobs")):
                self._entries[entry_id] = (session_id_of(fields) or "").encode()
        self._unread.discard("jobs")

    async def _match(self, named: Named) -> None:
        """References to entries that are gone, and to another session's."""
        if "jobs" in self._unread or ("jobs" not in self._usable and await self._is_jobs_there()):
            return
        for name, member, value, held in named:
            session, entry_id = _reference(name, member, value)
            owner = self._entries.get(entry_id)
            item = (member, value)
            same = _equals(value) if name == "gates" else _is_there
            if owner is None:
                gone = ("XRANGE", self._key("jobs"), entry_id, entry_id)
                self._suspect(name, Kind.GONE, item, partial(_is_gone, same), held, gone)
            elif session is not None and owner != session:
                self._suspect(name, Kind.ELSEWHERE, item, same, held)

    async def _is_jobs_there(self) -> bool:
        return bool(await self._link.call("TYPE", self._key("jobs")) != b"none")

    async def _find_lost(self) -> None:
        """Entries that a CLAIM has looked at and that are in no queue, or wait for a turn that nobody passes on."""
        if self._unread or "jobs" not in self._usable:
            return
        looked_at = await self._looked_at()
        for entry_id, session in self._entries.items():
            if entry_id in self._placed or (looked_at is None or id_of(entry_id) > looked_at):  # type: ignore[operator]
                continue
            member = waiting_member(session, entry_id)
            waits = entry_id in self._waiting
            if waits and self._gates.get(session, entry_id) != entry_id:
                continue
            commands = (
                ("XRANGE", self._key("jobs"), entry_id, entry_id),
                self._pending(entry_id),
                ("ZSCORE", self._key("delayed"), entry_id),
                ("LPOS", self._key("ready"), entry_id),
                ("ZSCORE", self._key("waiting"), member),
                ("HGET", self._key("gates"), session),
            )
            name, kind, item = ("waiting", Kind.STUCK, member) if waits else ("jobs", Kind.LOST, entry_id)
            self._suspect(name, kind, (item, b"0" if waits else b""), partial(_is_lost, waits, entry_id), *commands)

    async def _looked_at(self) -> tuple[int, int] | None:
        """The highest id that a CLAIM has looked at; None where every entry will be looked at again."""
        if not self._there("taken"):
            return None
        return id_of(await self._link.call("GETRANGE", self._key("taken"), 0, ID_BYTES))

    async def check_seen(self, seen: list[bytes]) -> None:
        """Marks of job ids that are no entry's id. Redis gives None for those of another type, and for expired ones."""
        for key, value in zip(seen, await self._link.call("MGET", *seen), strict=True):
            if value is None:
                of_other_type = ("TYPE", key)
                self._suspect("seen:*", Kind.UNWRITTEN, (key, b"another type"), _is_no_string, of_other_type)
            elif id_of(value) is None:
                self._suspect("seen:*", Kind.UNWRITTEN, (key, value), _equals(value), ("GET", key))


def _card_of(raw: bytes) -> dict[str, Any]:
    try:
        card = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return card if isinstance(card, dict) else {}


def beat_of(card: dict[str, Any]) -> float | None:
    """The time in ms of a worker's card; None where it has none."""
    beat = card.get("beat")
    return beat if isinstance(beat, int | float) and not isinstance(beat, bool) and abs(beat) < 2**53 else None


def _reference(name: str, member: bytes, value: bytes) -> tuple[bytes | None, bytes]:
    """(session that it must be of, or None; entry id)"""
    if name == "gates":
        return member, value
    if name == "waiting":
        return waiting_of(member) or (None, member)
    return None, member


def _equals(value: bytes) -> IsSo:
    return lambda answers: answers[0] == value


def _is_there(answers: list[Any]) -> bool:
    return answers[0] is not None and answers[0] != []


def _is_gone(is_held: IsSo, answers: list[Any]) -> bool:
    return is_held(answers) and answers[1] == []


def _is_scored(answers: list[Any]) -> bool:
    return answers[0] is not None and float(answers[0]) != 0


def _is_ahead(value: bytes, ms: float, answers: list[Any]) -> bool:
    held, (seconds, _) = answers
    return held == value and ms > int(seconds) * 1000 + 999 + AHEAD_MS


def _is_no_string(answers: list[Any]) -> bool:
    return answers[0] not in (b"string", b"none")


def _is_lost(waits: bool, entry_id: bytes, answers: list[Any]) -> bool:
    there, pending, delayed, ready, waiting, gate = answers
    is_placed = bool(pending) or delayed is not None or ready is not None
    waits_behind_nobody = waiting is not None and gate in (None, entry_id)
    return bool(there) and not is_placed and (waits_behind_nobody if waits else waiting is None)
