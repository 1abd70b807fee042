"""The first scan of the job plane: reads the members of each key in pages and collects suspicions."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from typing import Any

from schemas.jobs import session_id_of
from worker.stream.integrity.kinds import (
    AHEAD_MS,
    Item,
    Kind,
    is_session,
    parse_fence,
    parse_id,
    parse_waiting,
    waiting_member,
)
from worker.stream.integrity.pages import elements, entries, pending_ids, scan_pairs
from worker.stream.integrity.streams import ID_BYTES
from worker.stream.integrity.suspicion import Suspicion
from worker.stream.keys import GROUP, Keys
from worker.stream.transport.base import Link, Word

IsDamaged = Callable[[list[Any]], bool]
References = list[tuple[str, bytes, bytes, tuple[Word, ...]]]  # key, member, value, command that rereads it


class Suspects:
    """The suspicions of one scan, in `found`, which grows as the parts run.

    usable: names of the keys that exist and have their type. now_ms: the server's clock.
    """

    def __init__(self, link: Link, keys: Keys, usable: set[str], now_ms: int) -> None:
        self.found: list[Suspicion] = []
        self._link = link
        self._key = keys.job_plane_key
        self._usable = usable
        self._limit_ms = now_ms + AHEAD_MS
        self._unread = {"jobs", "pending", "ready", "delayed", "waiting", "gates"}
        self._entries: dict[bytes, bytes] = {}  # {ID: session, b"" without a usable one}
        self._queued: set[bytes] = set()  # IDs that are pending, ready or delayed
        self._waiting: dict[bytes, bytes] = {}  # {ID: member}
        self._gates: dict[bytes, bytes] = {}

    def parts(self) -> Iterator[Coroutine[Any, Any, None]]:
        """The scan in parts, to be run in order. A part that fails does not affect the others."""
        # References before entries: an entry published meanwhile cannot look missing.
        references: References = []
        members = (self._read_gates, self._read_attempts, self._read_ready, self._read_delayed, self._read_waiting)
        for read in members:
            yield read(references)
        yield self._read_workers()
        yield self._read_pending(references)
        yield self._read_entries()
        yield self._match(references)
        yield self._find_lost()

    def _suspect(self, name: str, kind: Kind, item: Item, is_damaged: IsDamaged, *commands: tuple[Word, ...]) -> None:
        self.found.append(Suspicion(name, kind, item, commands, is_damaged))

    def _is_usable(self, name: str) -> bool:
        """False for a key that is absent or has another type."""
        return name in self._usable

    async def _read_gates(self, references: References) -> None:
        if self._is_usable("gates"):
            async for session, entry_id in scan_pairs(self._link, "HSCAN", self._key("gates")):
                reread = ("HGET", self._key("gates"), session)
                self._gates[session] = entry_id
                if not is_session(session) or parse_id(entry_id) is None:
                    self._suspect("gates", Kind.UNWRITTEN, (session, entry_id), _equals(entry_id), reread)
                else:
                    references.append(("gates", session, entry_id, reread))
        self._unread.discard("gates")

    async def _read_attempts(self, references: References) -> None:
        if not self._is_usable("attempts"):
            return
        async for entry_id, value in scan_pairs(self._link, "HSCAN", self._key("attempts")):
            reread = ("HGET", self._key("attempts"), entry_id)
            fence = parse_fence(value)
            if parse_id(entry_id) is None or fence is None:
                self._suspect("attempts", Kind.UNWRITTEN, (entry_id, value), _equals(value), reread)
                continue
            references.append(("attempts", entry_id, value, reread))
            self._suspect_time("attempts", (entry_id, value), fence, reread)

    def _suspect_time(self, name: str, item: Item, ms: float, reread: tuple[Word, ...]) -> None:
        if ms > self._limit_ms:
            self._suspect(name, Kind.FUTURE, item, partial(_is_ahead, item[1], ms), reread, ("TIME",))

    async def _read_ready(self, references: References) -> None:
        if self._is_usable("ready"):
            async for element in elements(self._link, self._key("ready")):
                reread = ("LPOS", self._key("ready"), element)
                if parse_id(element) is None:
                    self._suspect("ready", Kind.UNWRITTEN, (element, b""), _is_there, reread)
                else:
                    self._queued.add(element)
                    references.append(("ready", element, b"", reread))
        self._unread.discard("ready")

    async def _read_delayed(self, references: References) -> None:
        if self._is_usable("delayed"):
            async for member, score in scan_pairs(self._link, "ZSCAN", self._key("delayed")):
                reread = ("ZSCORE", self._key("delayed"), member)
                if parse_id(member) is None:
                    self._suspect("delayed", Kind.UNWRITTEN, (member, score), _is_there, reread)
                    continue
                self._queued.add(member)
                references.append(("delayed", member, score, reread))
                self._suspect_time("delayed", (member, score), float(score), reread)
        self._unread.discard("delayed")

    async def _read_waiting(self, references: References) -> None:
        if self._is_usable("waiting"):
            async for member, score in scan_pairs(self._link, "ZSCAN", self._key("waiting")):
                reread = ("ZSCORE", self._key("waiting"), member)
                waiting = parse_waiting(member)
                if waiting is None:
                    self._suspect("waiting", Kind.UNWRITTEN, (member, score), _is_there, reread)
                    continue
                self._waiting[waiting[1]] = member
                references.append(("waiting", member, score, reread))
                if float(score) != 0:
                    self._suspect("waiting", Kind.SCORE, (member, score), _is_scored, reread)
        self._unread.discard("waiting")

    async def _read_workers(self) -> None:
        if not self._is_usable("workers"):
            return
        async for name, card in scan_pairs(self._link, "HSCAN", self._key("workers")):
            reread = ("HGET", self._key("workers"), name)
            beat_ms = beat_of(_card_of(card))
            if beat_ms is None:
                self._suspect("workers", Kind.UNWRITTEN, (name, card), _equals(card), reread)
            else:
                self._suspect_time("workers", (name, card), beat_ms, reread)

    async def _read_pending(self, references: References) -> None:
        if self._is_usable("jobs"):
            async for entry_id in pending_ids(self._link, self._key("jobs")):
                self._queued.add(entry_id)
                references.append(("jobs", entry_id, b"", self._pending(entry_id)))
        self._unread.discard("pending")

    def _pending(self, entry_id: bytes) -> tuple[Word, ...]:
        return ("XPENDING", self._key("jobs"), GROUP, entry_id, entry_id, 1)

    async def _read_entries(self) -> None:
        if self._is_usable("jobs"):
            async for entry_id, fields in entries(self._link, self._key("jobs")):
                self._entries[entry_id] = (session_id_of(fields) or "").encode()
        self._unread.discard("jobs")

    async def _match(self, references: References) -> None:
        """Suspect references to entries that are gone or belong to another session."""
        if "jobs" in self._unread or ("jobs" not in self._usable and await self._is_jobs_there()):
            return
        for name, member, value, reread in references:
            session, entry_id = _reference(name, member, value)
            owner = self._entries.get(entry_id)
            item = (member, value)
            same = _equals(value) if name == "gates" else _is_there
            if owner is None:
                gone = ("XRANGE", self._key("jobs"), entry_id, entry_id)
                self._suspect(name, Kind.GONE, item, partial(_is_gone, same), reread, gone)
            elif session is not None and owner != session:
                self._suspect(name, Kind.ELSEWHERE, item, same, reread)

    async def _is_jobs_there(self) -> bool:
        return bool(await self._link.call("TYPE", self._key("jobs")) != b"none")

    async def _find_lost(self) -> None:
        """Suspect entries that a CLAIM has scanned but that are in no queue, or wait with no job before them."""
        if self._unread or "jobs" not in self._usable:
            return
        looked_at = await self._looked_at()
        for entry_id, session in self._entries.items():
            if entry_id in self._queued or (looked_at is None or parse_id(entry_id) > looked_at):  # type: ignore[operator]
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
        """The highest ID that a CLAIM has scanned; None when CLAIM will scan every entry again."""
        if not self._is_usable("taken"):
            return None
        return parse_id(await self._link.call("GETRANGE", self._key("taken"), 0, ID_BYTES))

    async def check_seen(self, seen: list[bytes]) -> None:
        """Suspect `seen` keys whose value is not an entry ID. MGET returns None for another type or an expired key."""
        for key, value in zip(seen, await self._link.call("MGET", *seen), strict=True):
            if value is None:
                of_other_type = ("TYPE", key)
                self._suspect("seen:*", Kind.UNWRITTEN, (key, b"another type"), _is_no_string, of_other_type)
            elif parse_id(value) is None:
                self._suspect("seen:*", Kind.UNWRITTEN, (key, value), _equals(value), ("GET", key))


def _card_of(raw: bytes) -> dict[str, Any]:
    try:
        card = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return card if isinstance(card, dict) else {}


def beat_of(card: dict[str, Any]) -> float | None:
    """The time in ms of a worker's card, or None."""
    beat = card.get("beat")
    return beat if isinstance(beat, int | float) and not isinstance(beat, bool) and abs(beat) < 2**53 else None


def _reference(name: str, member: bytes, value: bytes) -> tuple[bytes | None, bytes]:
    """(session that the entry must belong to, or None for any; entry ID)."""
    if name == "gates":
        return member, value
    if name == "waiting":
        return parse_waiting(member) or (None, member)
    return None, member


def _equals(value: bytes) -> IsDamaged:
    return lambda answers: answers[0] == value


def _is_there(answers: list[Any]) -> bool:
    return answers[0] is not None and answers[0] != []


def _is_gone(is_held: IsDamaged, answers: list[Any]) -> bool:
    return is_held(answers) and answers[1] == []


def _is_scored(answers: list[Any]) -> bool:
    return answers[0] is not None and float(answers[0]) != 0


def _is_ahead(value: bytes, ms: float, answers: list[Any]) -> bool:
    current, (seconds, _) = answers
    return current == value and ms > int(seconds) * 1000 + 999 + AHEAD_MS


def _is_no_string(answers: list[Any]) -> bool:
    return answers[0] not in (b"string", b"none")


def _is_lost(waits: bool, entry_id: bytes, answers: list[Any]) -> bool:
    there, pending, delayed, ready, waiting, gate = answers
    is_queued = bool(pending) or delayed is not None or ready is not None
    is_stuck = waiting is not None and gate in (None, entry_id)
    return bool(there) and not is_queued and (is_stuck if waits else waiting is None)
