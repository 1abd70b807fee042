"""Sessions whose keys the driver damages: the damage in order, and what their jobs may do then.

Each publishes jobs that may fail, for their keys are damaged, and jobs before or behind them that may not.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from hashlib import sha1
from itertools import count
from typing import Any

import redis

from schemas.messages import TERMINAL_TYPES
from tests.chaos import odd
from tests.chaos.damage import Note, turns
from tests.chaos.ledger import PLANTED, Excepted, Ledger, Published
from tests.chaos.load import Load
from worker.stream.keys import Keys

ABSURD_ID = "9999999999999999-0"  # of a session's stream: no epoch can follow it
JOB_TTL_MS = 600_000
FIELDS = ("fence", "began", "end", "base")
TYPES = {"audio": "stream", "cut": "stream", "job": "hash"}

TEXT_DAMAGES: dict[str, Callable[[str], tuple[bytes | str | int, ...]]] = {
    "expired": lambda key: ("PEXPIRE", key, 1),
    "deleted": lambda key: ("DEL", key),
    "trimmed": lambda key: ("XTRIM", key, "MAXLEN", 0),
    "exhausted": lambda key: ("XADD", key, odd.ENDLESS, "odd", "1"),
    "no UTF-8": lambda key: ("XADD", key, "*", "text", odd.BINARY),
    "odd marks": lambda key: ("XADD", key, "*", "flush", "yes", "end", "0"),
    "ended": lambda key: ("XADD", key, "*", "end", "1"),
    "a long piece": lambda key: ("XADD", key, "*", "text", b"x" * 1_000_000),
}
TEXT_TTL_MS = 600_000

Later = Callable[[float, Callable[[], bool | None]], None]


class Victims:
    """Each public method begins one session's story.

    later: does something in so many seconds, and again a little later while it returns False or Redis is away.
    """

    def __init__(
        self, client: redis.Redis | redis.RedisCluster, draw: random.Random, load: Load, note: Note, later: Later
    ) -> None:
        self._client: Any = client
        self._draw = draw
        self._load = load
        self._note = note
        self._later = later
        self._keys = Keys()
        self._numbers = count(1)
        self._key_turns = turns(draw, [*TYPES])
        self._field_turns = turns(draw, FIELDS)
        self._text_turns = turns(draw, ("another type", *TEXT_DAMAGES))
        self._entry_turns = turns(draw, ("delivered", "data", "codes", "entry", "absurd id", "unknown type"))

    def odd_session_key(self) -> bool:
        """Another type in place of a key of a session's own, for a while."""
        session_id, name = self._new(), next(self._key_turns)
        job = self._load.publish_for(session_id, self._draw)
        self._later(self._draw.uniform(0, 2.5), partial(self._replace, job, name))
        return True

    def odd_job_field(self) -> bool:
        """In the hash of a job that has perhaps begun; a second job of its session waits."""
        session_id, name = self._new(), next(self._field_turns)
        job = self._load.publish_for(session_id, self._draw)
        self._load.publish_for(session_id, self._draw)
        self._later(self._draw.uniform(0, 2.5), partial(self._write_field, job, name))
        return True

    def odd_entry(self) -> bool:
        """In a session's stream amid an utterance; a second job waits."""
        session_id, name = self._new(), next(self._entry_turns)
        job = self._load.publish_for(session_id, self._draw)
        if name != "absurd id":
            self._load.publish_for(session_id, self._draw)
        self._later(self._draw.uniform(0.5, 2.5), partial(self._write_entry, job, name))
        return True

    def odd_text(self) -> bool:
        """With the stream of a text that is being written, or was written already; a second job waits."""
        session_id, what = self._new(), next(self._text_turns)
        job = self._load.publish_for(session_id, self._draw, open_share=1.0)
        self._load.publish_for(session_id, self._draw)
        self._later(self._draw.uniform(0, 2.5), partial(self._damage_text, job, what))
        return True

    def odd_seen(self) -> bool:
        """Where it is kept that a job was seen, before it is published."""
        session_id = self._new()
        job_id = self._load.next_job_id(session_id)
        key = self._keys.seen_prefix + sha1(f"{session_id} {job_id}".encode()).hexdigest()
        if self._draw.random() < 0.5:
            value = odd.odd_id(self._draw, 0)
            self._client.set(key, value)
            if odd.is_like_an_id(value):
                self._ledger.let_fail(job_id, Excepted("its job_id was seen"))
        else:
            value = b"of another type"
            _, make = odd.other_type(self._draw, "string")
            self._client.execute_command(*make(key))
        self._ledger.planted.add(("seen", key.encode()))
        self._load.publish_for(session_id, self._draw)
        self._note("odd_seen", f"{session_id}: {value[:60]!r}")
        return True

    # A session's keys.

    def _replace(self, job: Published, name: str) -> None:
        session_id = job.session_id
        key = self._keys.job(session_id, job.entry_id) if name == "job" else getattr(self._keys, name)(session_id)
        excepted = Excepted(f"its {name} key", is_spoilt=name != "cut", may_vanish=name != "cut")
        self._ledger.let_fail(job.job_id, excepted)
        if name == "audio":
            self._will_replace(session_id)
        kind, make = odd.other_type(self._draw, TYPES[name])
        with self._client.pipeline(transaction=False) as pipeline:
            pipeline.delete(key)
            pipeline.execute_command(*make(key))
            pipeline.execute()
        self._note("odd_session_keys", f"{key}: {kind}")
        self._later(self._draw.uniform(0.2, 1), partial(self._publish_meanwhile, session_id, excepted, name))

    def _publish_meanwhile(self, session_id: str, excepted: Excepted, name: str) -> None:
        """A job of the same session may fail too, unless the key is one of the first job's alone."""
        job_id = self._load.next_job_id(session_id)
        if name != "job":
            self._ledger.let_fail(job_id, excepted)
        job = self._load.publish_for(session_id, self._draw)
        key = (
            self._keys.job(session_id, self._first_id(job)) if name == "job" else getattr(self._keys, name)(session_id)
        )
        self._later(self._draw.uniform(4, 8), partial(self._delete, session_id, key))

    def _first_id(self, job: Published) -> str:
        return next(one.entry_id for one in self._ledger.jobs if one.session_id == job.session_id)

    def _delete(self, session_id: str, key: str) -> None:
        self._client.delete(key)
        if session_id in self._ledger.replaced:
            self._load.recorder.begin_again(session_id)
        self._later(self._draw.uniform(0.1, 1), partial(self._publish, session_id))

    def _publish(self, session_id: str) -> None:
        self._load.publish_for(session_id, self._draw)

    def _damage_text(self, job: Published, what: str) -> None:
        key = self._keys.text(job.session_id, job.job_id)
        self._ledger.let_fail(job.job_id, Excepted("its text's stream", is_spoilt=True))
        if what == "another type":
            kind, make = odd.other_type(self._draw, "stream")
            with self._client.pipeline(transaction=False) as pipeline:
                pipeline.delete(key)
                pipeline.execute_command(*make(key))
                pipeline.pexpire(key, TEXT_TTL_MS)
                pipeline.execute()
            what = kind
        else:
            self._client.execute_command(*TEXT_DAMAGES[what](key))
            self._client.pexpire(key, TEXT_TTL_MS if what != "expired" else 1)
        self._note("odd_texts", f"{key}: {what}")

    def _write_field(self, job: Published, name: str) -> None:
        key, value = self._keys.job(job.session_id, job.entry_id), odd.odd_number(self._draw, self._now_ms())
        if name == "end" and self._draw.random() < 0.3:
            value = self._draw.choice(sorted(TERMINAL_TYPES)).encode()
        # Without a stream a job that had begun has lost its relay; one that had ended is settled.
        self._ledger.let_fail(job.job_id, Excepted(f"its {name} field", may_vanish=name in ("began", "end")))
        with self._client.pipeline(transaction=False) as pipeline:
            pipeline.hset(key, name, value)
            pipeline.pexpire(key, JOB_TTL_MS)
            pipeline.execute()
        self._note("odd_job_fields", f"{key} {name}: {value[:60]!r}")

    def _write_entry(self, job: Published, name: str) -> bool | None:
        """An entry of a type unknown harms nobody; a damaged one of the job itself may be its end."""
        audio, entry_id = self._keys.audio(job.session_id), job.entry_id.encode()
        fields = {b"type": b"audio", b"job_id": job.job_id.encode(), b"entry": entry_id, b"delivered": b"480"}
        fields |= {b"data": odd.BINARY, b"codes": bytes(38), PLANTED: b"1"}
        if name == "unknown type":
            fields[b"type"] = b"news"
            del fields[b"entry"]
        elif name != "absurd id":
            fields[name.encode()] = self._draw.choice(odd.WORDS)
        if not self._client.exists(audio):
            return False
        is_end = name == "absurd id"
        if name != "unknown type":
            reason = f"an odd {name} in its stream" if not is_end else "an absurd id in its stream"
            self._ledger.let_fail(job.job_id, Excepted(reason, is_spoilt=True, may_vanish=is_end))
        if is_end:
            self._will_replace(job.session_id)
        self._client.xadd(audio, fields, id=ABSURD_ID if is_end else "*", nomkstream=True)
        self._note("odd_entries", f"{audio}: {name}")
        if is_end:
            self._later(self._draw.uniform(4, 8), partial(self._delete, job.session_id, audio))
        return None

    # The rest.

    def _will_replace(self, session_id: str) -> None:
        """Its stream; what is heard of it from now on is of the next one."""
        self._ledger.replaced.add(session_id)
        self._load.recorder.skip(session_id)

    def _new(self) -> str:
        return f"victim-{next(self._numbers)}"

    @property
    def _ledger(self) -> Ledger:
        return self._load.ledger

    def _now_ms(self) -> int:
        where = {"target_nodes": "random"} if isinstance(self._client, redis.RedisCluster) else {}
        seconds, microseconds = self._client.execute_command("TIME", **where)
        return int(seconds) * 1000 + int(microseconds) // 1000
