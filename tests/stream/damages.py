"""Damage that foreign programs may do to the job plane: the commands, and the sentence that a check must report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import redis

from worker.stream.integrity.kinds import Kind, waiting_member
from worker.stream.keys import Keys

ABSENT = "1700000000000-7"
FAR_MS = "9999999999999"
LAST = f"{2**64 - 1}-{2**64 - 1}"
_SEEN = "seen:" + "0" * 40


@dataclass(frozen=True)
class Damaging:
    """Commands that damage one key.

    commands: name, key without prefix and tag, arguments; {running} and the like stand for entry IDs of the queue.
    said: part of the sentence.
    """

    key: str
    kind: Kind
    said: str
    commands: tuple[tuple[str | bytes, ...], ...]

    def do(self, client: redis.Redis, ids: dict[str, str]) -> None:
        known = ids | {"behind": waiting_member(b"A", ids["waiting"].encode()).decode()}
        for name, key, *words in self.commands:
            filled: list[Any] = [word.format(**known) if isinstance(word, str) else word for word in words]
            client.execute_command(name, Keys().job_plane_key(str(key)), *filled)  # type: ignore[no-untyped-call]


def _by(key: str, kind: Kind, said: str, *words: str | bytes) -> Damaging:
    """Damage by one command on that key."""
    return Damaging(key, kind, said, ((words[0], key, *words[1:]),))


_GONE = waiting_member(b"A", ABSENT.encode())
DAMAGES = {
    "a gate of no id": _by("gates", Kind.UNWRITTEN, "1 field that no worker wrote: 'X' → 'oops'", "HSET", "X", "oops"),
    "an empty gate": _by("gates", Kind.UNWRITTEN, "'X' → ''", "HSET", "X", ""),
    "a gate of three numbers": _by("gates", Kind.UNWRITTEN, "'X' → '1-1-1'", "HSET", "X", "1-1-1"),
    "a gate without a number": _by("gates", Kind.UNWRITTEN, "'X'", "HSET", "X", "1700000000000"),
    "a gate of 23 digits": _by("gates", Kind.UNWRITTEN, "'X'", "HSET", "X", "1" * 23 + "-0"),
    "a gate of 65 bits": _by("gates", Kind.UNWRITTEN, "'X'", "HSET", "X", f"{2**64}-0"),
    "a gate of no session": _by("gates", Kind.UNWRITTEN, "'' →", "HSET", "", "{new}"),
    "a gate with escapes": _by("gates", Kind.UNWRITTEN, r"'\x1b[31m\xff'", "HSET", b"\x1b[31m\xff", "x"),
    "a gate of a job gone": _by("gates", Kind.GONE, f"'X' → '{ABSENT}'", "HSET", "X", ABSENT),
    "a gate of another's job": _by("gates", Kind.ELSEWHERE, "a job of another session", "HSET", "X", "{running}"),
    "attempts of no id": _by("attempts", Kind.UNWRITTEN, "'oops' → '1 1'", "HSET", "oops", "1 1"),
    "infinite attempts": _by("attempts", Kind.UNWRITTEN, "'inf 5'", "HSET", "{new}", "inf 5"),
    "attempts of a job gone": _by("attempts", Kind.GONE, ABSENT, "HSET", ABSENT, "1 1"),
    "a fence ahead": _by("attempts", Kind.FUTURE, FAR_MS, "HSET", "{running}", f"1 {FAR_MS}"),
    "ready of no id": _by("ready", Kind.UNWRITTEN, "1 element that no worker wrote: 'oops'", "RPUSH", "oops", "oops"),
    "ready of a job gone": _by("ready", Kind.GONE, ABSENT, "RPUSH", ABSENT),
    "delayed of no id": _by("delayed", Kind.UNWRITTEN, "1 member that no worker wrote", "ZADD", "1", "oops"),
    "delayed of a job gone": _by("delayed", Kind.GONE, ABSENT, "ZADD", "1", ABSENT),
    "due in years": _by("delayed", Kind.FUTURE, "more than 60 s ahead", "ZADD", FAR_MS, "{delayed}"),
    "due never": _by("delayed", Kind.FUTURE, "'inf'", "ZADD", "+inf", "{delayed}"),
    "waiting of no id": _by("waiting", Kind.UNWRITTEN, "2 members", "ZADD", "0", "A oops", "0", "A"),
    "waiting of a job gone": _by("waiting", Kind.GONE, "'A 0", "ZADD", "0", _GONE),
    "waiting with a score": _by("waiting", Kind.SCORE, "a score other than 0", "ZADD", "5", "{behind}"),
    "waiting without a job before": Damaging("waiting", Kind.STUCK, "no job before", (("HDEL", "gates", "A"),)),
    "a card of words": _by("workers", Kind.UNWRITTEN, "1 worker's card that no worker wrote", "HSET", "w2", "not json"),
    "a card without a number": _by("workers", Kind.UNWRITTEN, "w2", "HSET", "w2", b'{"beat": "1"}'),
    "a card without end": _by("workers", Kind.UNWRITTEN, "…'", "HSET", "w2", "[" * 90_000),
    "a card ahead": _by("workers", Kind.FUTURE, "w2", "HSET", "w2", b'{"beat": %s}' % FAR_MS.encode()),
    "a job in no queue": Damaging("jobs", Kind.LOST, "1 entry that", (("LREM", "ready", "0", "{ready}"),)),
    "a pending job gone": Damaging(
        "jobs",
        Kind.GONE,
        "1 pending record of jobs that are gone",
        (
            ("XDEL", "jobs", "{running}"),
            ("HDEL", "attempts", "{running}"),
            ("HSET", "gates", "A", "{waiting}"),
            ("ZREM", "waiting", "{behind}"),
            ("RPUSH", "ready", "{waiting}"),
        ),
    ),
    "taken of no id": _by("taken", Kind.UNWRITTEN, "1 value that no worker wrote: 'soon'", "SET", "soon"),
    "taken ahead": _by("taken", Kind.TAKEN_AHEAD, LAST, "SET", LAST),
    "sweeping for ever": _by("sweeping", Kind.ETERNAL, "without an expiry", "SET", "x"),
    "a mark of no id": Damaging("seen:*", Kind.UNWRITTEN, "1 mark", (("SET", _SEEN, "x", "EX", "60"),)),
    "a mark of another type": Damaging("seen:*", Kind.UNWRITTEN, "another type", (("RPUSH", _SEEN, "x"),)),
    "a group gone": Damaging("jobs", Kind.NO_GROUP, "has no group", (("XGROUP DESTROY", "jobs", "workers"),)),
    "a group ahead": Damaging("jobs", Kind.GROUP_AHEAD, FAR_MS, (("XGROUP SETID", "jobs", "workers", f"{FAR_MS}-0"),)),
    "a stream that expires": _by("jobs", Kind.EXPIRES, "expires in", "EXPIRE", "100"),
    "dead letters exhausted": _by("dead", Kind.EXHAUSTED, "no more entries", "XADD", LAST, "text", "x"),
    "dead letters ahead": _by("dead", Kind.AHEAD, FAR_MS, "XADD", f"{FAR_MS}-0", "text", "x"),
    "a bell exhausted": _by("bell", Kind.EXHAUSTED, "last ID", "XADD", LAST, "x", "x"),
    "jobs exhausted": _by("jobs", Kind.EXHAUSTED, LAST, "XADD", LAST, "session_id", "F", "text", "x", "job_id", "j9"),
    "jobs ahead": _by("jobs", Kind.AHEAD, FAR_MS, "XADD", f"{FAR_MS}-0", "session_id", "F", "text", "x"),
}
