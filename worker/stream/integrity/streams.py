"""Checks of the job plane's three streams as a whole: last IDs, the consumer group, and `taken`."""

from __future__ import annotations

from typing import Any

from worker.stream.integrity.kinds import AHEAD_MS, Damage, Kind, parse_id, printable
from worker.stream.keys import GROUP, Keys
from worker.stream.transport.base import Link, Word

LAST_ID = (2**64 - 1, 2**64 - 1)
ID_BYTES = 100  # read of a string that should be an ID; an ID is shorter
STREAMS = ("jobs", "dead", "bell")
OF_WORKERS = frozenset({"taken", "gates", "attempts", "ready", "delayed", "waiting", "bell"})


async def check_streams(link: Link, keys: Keys, usable: set[str]) -> list[Damage]:
    """Damage to the streams, read in one transaction. usable: names of the keys that exist and have their type."""
    streams = [name for name in STREAMS if name in usable]
    commands: list[tuple[Word, ...]] = [("XINFO", "STREAM", keys.job_plane_key(name)) for name in streams]
    if "jobs" in usable:
        commands.append(("XINFO", "GROUPS", keys.job_plane_key("jobs")))
    if "taken" in usable:
        commands.append(("GETRANGE", keys.job_plane_key("taken"), 0, ID_BYTES))
    if not commands:
        return []
    *answers, kind, time = await link.transaction(*commands, ("TYPE", keys.jobs), ("TIME",))
    if any(isinstance(answer, BaseException) for answer in answers):
        return []  # a key was replaced meanwhile: the next check finds it
    limit_ms = int(time[0]) * 1000 + 999 + AHEAD_MS
    tag = keys.job_plane_key("")
    last = {name: _map(flat)[b"last-generated-id"] for name, flat in zip(streams, answers, strict=False)}
    found = [damage for name in streams if (damage := _last_id(tag, name, last[name], limit_ms))]
    if "jobs" in usable:
        found += _group(tag, answers[len(streams)], last["jobs"], usable)
    if "taken" in usable and ("jobs" in usable or kind == b"none"):  # else `jobs` has just appeared, or is not a stream
        found += _taken(tag, answers[-1], last.get("jobs", b"0-0"))
    return found


def _map(flat: list[Any]) -> dict[bytes, Any]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _numbers(entry_id: bytes) -> tuple[int, int]:
    """(ms, seq) of an ID that Redis itself generated."""
    ms, _, seq = entry_id.partition(b"-")
    return int(ms), int(seq)


def _last_id(tag: str, name: str, last: bytes, limit_ms: int) -> Damage | None:
    if _numbers(last) == LAST_ID:
        return Damage(tag, name, Kind.EXHAUSTED, detail=last.decode())
    return Damage(tag, name, Kind.AHEAD, detail=last.decode()) if _numbers(last)[0] > limit_ms else None


def _group(tag: str, groups: list[list[Any]], last: bytes, usable: set[str]) -> list[Damage]:
    """Damage to the group. A missing group is damage only after a worker has run."""
    for group in map(_map, groups):
        if group[b"name"] == GROUP.encode():
            given = group[b"last-delivered-id"]
            is_ahead = _numbers(given) > _numbers(last)
            return [Damage(tag, "jobs", Kind.GROUP_AHEAD, detail=given.decode())] if is_ahead else []
    return [Damage(tag, "jobs", Kind.NO_GROUP)] if usable & OF_WORKERS else []


def _taken(tag: str, taken: bytes, last: bytes) -> list[Damage]:
    looked_at = parse_id(taken)
    if looked_at is None:
        return [Damage(tag, "taken", Kind.UNWRITTEN, ((taken, b""),))]
    is_ahead = looked_at > _numbers(last)
    return [Damage(tag, "taken", Kind.TAKEN_AHEAD, detail=printable(taken))] if is_ahead else []
