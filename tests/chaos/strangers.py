"""Other members of the consumer group: clients with commands of their own, and a worker of a later release.

Tomorrow's writes, properly and in turn with the others', what today's does not know: fields, numbers, keys, entries.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import redis
from redis.exceptions import ResponseError

from tests.chaos.background import AWAY, Background
from tests.chaos.damage import Note, key_of, turns
from tests.chaos.ledger import PLANTED
from worker.stream.keys import GROUP, Keys

STRANGER = "odd-stranger"
TOMORROW = "tomorrow:1:abcdef01"
TURN_S = (0.2, 0.8)
HOLD_S = 0.3
KEY_TTL_MS = 60_000

# What is still its reader's goes back as a worker gives it back.
RELEASE = """
local found = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1)
if not found[1] or found[1][2] ~= ARGV[2] then return 0 end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[3])
redis.call('RPUSH', KEYS[2], ARGV[3])
redis.call('XADD', KEYS[3], 'MAXLEN', '~', 100, '*', 'ready', '1', 'colour', 'blue')
return 1
"""
# Only beside the two numbers of a sound record.
THIRD_NUMBER = """
local record = redis.call('HGET', KEYS[1], ARGV[1])
if not record or not string.match(record, '^%d+ %d+$') then return 0 end
return redis.call('HSET', KEYS[1], ARGV[1], record .. ' 7')
"""


class Strangers:
    """One command after the other that no worker sends."""

    def __init__(self, client: redis.Redis | redis.RedisCluster, draw: random.Random, note: Note) -> None:
        self._client: Any = client
        self._draw = draw
        self._note = note
        self._jobs = Keys().jobs
        acts = (
            self._read_noack,
            self._ack,
            self._delete_nothing,
            self._delete_consumer,
            self._set_back,
            self._set_ahead,
        )
        self._turns = turns(draw, acts)

    def stranger(self) -> bool:
        """The next one's; False where there is nothing to do it to."""
        act: Callable[[], str] = next(self._turns)
        what = act()
        if what:
            self._note("strangers", what)
        return bool(what)

    def _read_noack(self) -> str:
        read = self._client.xreadgroup(GROUP, STRANGER, {self._jobs: ">"}, count=3, noack=True)
        return f"read {sum(len(entries) for _, entries in read)} with NOACK"

    def _ack(self) -> str:
        pending = self._client.xpending_range(self._jobs, GROUP, "-", "+", 100)
        if not pending:
            return ""
        entry_id = self._draw.choice(pending)["message_id"]
        self._client.xack(self._jobs, GROUP, entry_id)
        return f"acknowledged {entry_id.decode()}"

    def _delete_nothing(self) -> str:
        self._client.xdel(self._jobs, "1-1")
        return "deleted nothing"

    def _delete_consumer(self) -> str:
        consumers = [one["name"] for one in self._client.xinfo_consumers(self._jobs, GROUP) if one["pending"]]
        if not consumers:
            return ""
        name = self._draw.choice(consumers)
        self._client.xgroup_delconsumer(self._jobs, GROUP, name)
        return f"deleted the consumer {name.decode()}"

    def _set_back(self) -> str:
        self._client.xgroup_setid(self._jobs, GROUP, "0")
        return "set the group back"

    def _set_ahead(self) -> str:
        self._client.xgroup_setid(self._jobs, GROUP, "$")
        return "set the group ahead"


class Tomorrow(Background):
    """While entered, a worker of another release. counts: how often it did what."""

    def __init__(self, client: redis.Redis | redis.RedisCluster, draw: random.Random, counts: Counter[str]) -> None:
        super().__init__("tomorrow")
        self._client: Any = client
        self._draw = draw
        self._counts = counts
        self._keys = Keys()
        acts = (
            self._show_card,
            self._take_and_release,
            self._add_fields,
            self._add_number,
            self._write_entry,
            self._set_key,
        )
        self._turns = turns(draw, acts)

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._client.close()

    def _turn(self) -> float:
        act: Callable[[], bool] = next(self._turns)
        try:
            self._counts["tomorrows_doings"] += act()
        except (*AWAY, ResponseError):  # a key has another type just now, or the group is gone
            pass
        return self._draw.uniform(*TURN_S)

    def _show_card(self) -> bool:
        card = {
            "host": "tomorrow",
            "pid": 1,
            "beat": self._now_ms(),
            "v": 9,
            "shards": [{"gpu": None}],
            "slots": "many",
        }
        self._client.hset(self._key("workers"), TOMORROW, json.dumps(card))
        return True

    def _take_and_release(self) -> bool:
        read = self._client.xreadgroup(GROUP, TOMORROW, {self._keys.jobs: ">"}, count=2)
        entry_ids = [entry_id for _, entries in read for entry_id, _ in entries]
        time.sleep(HOLD_S)
        keys = (self._keys.jobs, self._key("ready"), self._key("bell"))
        for entry_id in entry_ids:
            self._client.eval(RELEASE, len(keys), *keys, GROUP, TOMORROW, entry_id)
        return bool(entry_ids)

    def _add_fields(self) -> bool:
        """To the hash of a job that is not settled."""
        entry_id, fields = self._a_job()
        job = self._keys.job(fields[b"session_id"].decode(), entry_id.decode())
        with self._client.pipeline(transaction=False) as pipeline:
            pipeline.hset(job, mapping={"colour": "blue", "fences": "1 2 3", "epoch": "x"})
            pipeline.pexpire(job, 10 * KEY_TTL_MS)
            pipeline.execute()
        return True

    def _add_number(self) -> bool:
        entry_id, _ = self._a_job()
        self._client.eval(THIRD_NUMBER, 1, self._key("attempts"), entry_id)
        return True

    def _write_entry(self) -> bool:
        """Of an unknown type, into the stream of a session that has heard all its jobs."""
        talking = {fields.get(b"session_id") for _, fields in self._client.xrange(self._keys.jobs, count=1000)}
        streams = list(self._client.scan_iter(match=self._keys.audio("*"), count=1000))
        idle = sorted(key for key in streams if key.split(b"{")[1].split(b"}")[0] not in talking)
        if not idle:
            return False
        entry = {"type": "news", PLANTED: "1", "upto": "x", "delivered": "-1", "entry": "x", "data": b"\xc1"}
        self._client.xadd(self._draw.choice(idle), entry, nomkstream=True)
        return True

    def _set_key(self) -> bool:
        self._client.set(self._key("tomorrows"), "1", px=KEY_TTL_MS)
        return True

    def _a_job(self) -> tuple[bytes, dict[bytes, bytes]]:
        entries = [one for one in self._client.xrange(self._keys.jobs, count=100) if one[1].get(b"session_id")]
        if not entries:
            raise ResponseError("there is no job")
        return self._draw.choice(entries)  # type: ignore[no-any-return]

    def _key(self, name: str) -> str:
        return key_of(self._keys, name)

    def _now_ms(self) -> int:
        where = {"target_nodes": "random"} if isinstance(self._client, redis.RedisCluster) else {}
        seconds, microseconds = self._client.execute_command("TIME", **where)
        return int(seconds) * 1000 + int(microseconds) // 1000
