"""Damage to the job plane: odd members, other types, deleted and exhausted keys.

Everything that is planted is noted, so that what lies there in the end can be told from what a worker left.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

import redis

from tests.chaos import odd
from tests.chaos.ledger import Excepted, Ledger
from worker.stream.keys import Keys

# Of the job plane's keys all but `jobs`, which says itself what there is to do, and the type each has.
PLANE = {
    "ready": "list", "delayed": "zset", "gates": "hash", "waiting": "zset", "attempts": "hash", "bell": "stream",
    "dead": "stream", "workers": "hash", "taken": "string", "sweeping": "string",
}  # fmt: skip
STREAMS = ("dead", "bell")
KEPT_TTL_MS = 3_600_000

Words = tuple[bytes | str | int, ...]
Note = Callable[[str, str], None]


def key_of(keys: Keys, name: str) -> str:
    """The job plane's key of this name, whatever this release calls its own."""
    return f"{keys.prefix}:{{speak}}:{name}"


def turns(draw: random.Random, names: Sequence[Any]) -> Iterator[Any]:
    """Each of them once in a drawn order, and again."""
    while True:
        yield from draw.sample(list(names), len(names))


class Damage:
    """Each public method does one drawn damage and returns False where there is nothing to damage just now. They raise
    what their client does, also where a key has another type already.
    """

    def __init__(
        self, client: redis.Redis | redis.RedisCluster, draw: random.Random, ledger: Ledger, note: Note
    ) -> None:
        self._client: Any = client
        self._draw = draw
        self._ledger = ledger
        self._note = note
        self._keys = Keys()
        self._kept = count(1)
        self._member_turns = turns(draw, [*PLANE, "seen", "jobs"])
        self._type_turns = turns(draw, [*PLANE])
        self._delete_turns = turns(draw, [*PLANE])
        self._stream_turns = turns(draw, STREAMS)
        self._record_turns = turns(draw, ("gates", "attempts"))

    def odd_member(self) -> bool:
        """One more thing that no worker wrote, in the next key."""
        name = next(self._member_turns)
        member, words = getattr(self, f"_into_{name}")(self._key(name), self._now_ms())
        self._ledger.planted.add((name, member))
        self._client.execute_command(*words)
        self._note("odd_members", f"{name}: {member[:60]!r}")
        return True

    def odd_record(self) -> bool:
        """In place of the gate of a session, or of the attempts record of a job, that is in use."""
        return bool(getattr(self, f"_replace_in_{next(self._record_turns)}")())

    def other_type(self) -> bool:
        name = next(self._type_turns)
        kind, make = odd.other_type(self._draw, PLANE[name])
        with self._client.pipeline(transaction=not self._is_cluster) as pipeline:
            self._take_away(pipeline, name)
            pipeline.execute_command(*make(self._key(name)))
            pipeline.execute()
        self._ledger.planted |= {(name, b""), (name, b"odd")}
        self._note("other_types", f"{name}: {kind}")
        return True

    def delete_key(self) -> bool:
        """No worker can see that `waiting` is gone: jobs that waited may be overtaken before a sweep finds them."""
        name = next(self._delete_turns)
        if name == "waiting":
            members = self._client.zrange(self._key(name), 0, -1)
            self._ledger.unordered |= {member.partition(b" ")[0].decode(errors="replace") for member in members}
        with self._client.pipeline(transaction=not self._is_cluster) as pipeline:
            self._take_away(pipeline, name)
            pipeline.execute()
        self._note("keys_deleted", name)
        return True

    def exhaust(self) -> bool:
        """So that nothing can be added to a stream any more."""
        name = next(self._stream_turns)
        self._client.xadd(self._key(name), {"odd": "1"}, id=odd.ENDLESS.decode())
        self._note("exhausted", name)
        return True

    # What is odd in each key: the member as it lies there, and the command that puts it there.

    def _into_ready(self, key: str, now_ms: int) -> tuple[bytes, Words]:
        member = odd.odd_id(self._draw, now_ms)
        return member, (self._draw.choice(("RPUSH", "LPUSH")), key, member)

    def _into_delayed(self, key: str, now_ms: int) -> tuple[bytes, Words]:
        """Half of them of a job that there is, which is then due at an odd time."""
        member = (self._draw.random() < 0.5 and self._a_job()) or odd.odd_id(self._draw, now_ms)
        return member, ("ZADD", key, odd.odd_score(self._draw, now_ms), member)

    def _into_waiting(self, key: str, now_ms: int) -> tuple[bytes, Words]:
        member = odd.odd_waiting(self._draw, now_ms)
        return member, ("ZADD", key, self._draw.choice((b"0", odd.odd_score(self._draw, now_ms))), member)

    def _into_gates(self, key: str, now_ms: int) -> tuple[bytes, Words]:
        member = self._draw.choice(odd.SESSIONS)
        return member, ("HSET", key, member, odd.odd_id(self._draw, now_ms))

    def _into_attempts(self, key: str, now_ms: int) -> tuple[bytes, Words]:
        member = odd.odd_id(self._draw, now_ms)
        return member, ("HSET", key, member, odd.odd_record(self._draw, now_ms))

    def _into_workers(self, key: str, now_ms: int) -> tuple[bytes, Words]:
        member = self._draw.choice(odd.WORDS)
        return member, ("HSET", key, member, odd.odd_card(self._draw, now_ms))

    def _into_bell(self, key: str, now_ms: int) -> tuple[bytes, Words]:
        word = self._draw.choice(odd.WORDS)
        return word, ("XADD", key, "*", word, word)

    _into_dead = _into_bell

    def _into_taken(self, key: str, now_ms: int) -> tuple[bytes, Words]:
        member = odd.odd_id(self._draw, now_ms)
        return member, ("SET", key, member)

    def _into_sweeping(self, key: str, now_ms: int) -> tuple[bytes, Words]:
        """Without a time to live: whose sweep it is would never end."""
        member = self._draw.choice(odd.WORDS)
        return member, ("SET", key, member)

    def _into_seen(self, key: str, now_ms: int) -> tuple[bytes, Words]:
        """A key of its own beside the workers'."""
        _, make = odd.other_type(self._draw, "string")
        name = f"{self._keys.seen_prefix}odd-{next(self._kept)}"
        return name.encode(), make(name)

    def _into_jobs(self, key: str, now_ms: int) -> tuple[bytes, Words]:
        """An entry of no session that anybody could hear, or of one that nobody listens to."""
        names = (b"text", b"session_id", b"job_id", b"voice", b"ttl_ms", b"v", b"seed", b"odd", odd.BINARY, b"")
        words: list[bytes] = []
        for name in self._draw.choices(names, k=self._draw.randint(1, 6)):
            words += [name, self._draw.choice([*odd.SESSIONS, b"odd-2"] if name == b"session_id" else odd.WORDS)]
        return b"", ("XADD", key, "*", *words)

    # What is in use.

    def _replace_in_gates(self) -> bool:
        """The jobs of that session may fail; its order and its samples stay as they are to be."""
        held = self._client.hgetall(self._key("gates"))
        unsettled = {fields.get(b"session_id") for _, fields in self._client.xrange(self._keys.jobs, count=1000)}
        sessions = sorted(session for session in held if session in unsettled and self._is_ours(session))
        if not sessions:
            return False
        session = self._draw.choice(sessions)
        for job in [job for job in self._ledger.jobs if job.session_id == session.decode()]:
            self._ledger.let_fail(job.job_id, Excepted("its gate"))
        value = odd.odd_id(self._draw, self._now_ms())
        self._client.hset(self._key("gates"), session, value)
        self._note("odd_records", f"gate of {session.decode()}: {value[:60]!r}")
        return True

    def _replace_in_attempts(self) -> bool:
        entry_ids = sorted(filter(odd.is_like_an_id, self._client.hkeys(self._key("attempts"))))
        entry_id = self._draw.choice(entry_ids) if entry_ids else b"0-1"
        for _, fields in self._client.xrange(self._keys.jobs, entry_id, entry_id):
            if not self._is_ours(fields.get(b"session_id", b"")):
                continue
            self._ledger.let_fail(fields[b"job_id"].decode(), Excepted("its attempts record"))
            value = odd.odd_record(self._draw, self._now_ms())
            self._client.hset(self._key("attempts"), entry_id, value)
            self._note("odd_records", f"attempts of {entry_id.decode()}: {value[:60]!r}")
            return True
        return False

    def _is_ours(self, session: bytes) -> bool:
        return any(job.session_id.encode() == session for job in reversed(self._ledger.jobs))

    def _a_job(self) -> bytes | None:
        """An entry that is not settled."""
        entries = self._client.xrange(self._keys.jobs, count=100)
        return self._draw.choice(entries)[0] if entries else None

    # The rest.

    def _take_away(self, pipeline: Any, name: str) -> None:
        """Delete it; dead letters are kept aside, for they say what became of jobs."""
        if name == "dead" and self._client.exists(self._key(name)):
            kept = self._key(f"kept:{next(self._kept)}:{name}")
            pipeline.execute_command("RENAME", self._key(name), kept)  # a pipeline of a Cluster has no rename
            pipeline.pexpire(kept, KEPT_TTL_MS)
        else:
            pipeline.delete(self._key(name))

    def _key(self, name: str) -> str:
        return key_of(self._keys, name)

    def _now_ms(self) -> int:
        """By the servers' clock."""
        where = {"target_nodes": "random"} if self._is_cluster else {}
        seconds, microseconds = self._client.execute_command("TIME", **where)
        return int(seconds) * 1000 + int(microseconds) // 1000

    @property
    def _is_cluster(self) -> bool:
        return isinstance(self._client, redis.RedisCluster)
