"""Strangers do to the group what they are for; a worker of a later release gives back what it took."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from tests.chaos import strangers
from tests.chaos.damage import key_of
from tests.chaos.ledger import PLANTED
from tests.chaos.strangers import TOMORROW, Strangers, Tomorrow
from tests.conftest import Server
from tests.processes import until
from worker.stream.keys import GROUP, Keys

KEYS = Keys()
N_ACTS = 6


@pytest.fixture
def valkey_server(servers: dict[str, Server]) -> Server:
    """One server will do."""
    return servers["valkey"]


@pytest.fixture
def valkey(valkey: redis.Redis) -> Iterator[redis.Redis]:
    """Nothing of the damage stays."""
    yield valkey
    valkey.flushall()


@pytest.fixture
def group(valkey: redis.Redis) -> redis.Redis:
    """Three jobs; a worker runs the first."""
    valkey.xgroup_create(KEYS.jobs, GROUP, "0", mkstream=True)
    for n in range(3):
        valkey.xadd(KEYS.jobs, {"session_id": f"s{n}", "job_id": f"j{n}", "text": "Hello."}, id=f"{n + 1}-0")
    valkey.xreadgroup(GROUP, "w", {KEYS.jobs: ">"}, count=1)
    valkey.hset(key_of(KEYS, "attempts"), "1-0", "1 5")
    return valkey


def test_each_stranger_has_its_turn(group: redis.Redis) -> None:
    notes: list[str] = []
    one = Strangers(group, random.Random(1), lambda name, what: notes.append(f"{name}: {what}"))
    done = sum(one.stranger() for _ in range(3 * N_ACTS))
    assert done == len(notes) >= 3 * N_ACTS - 6, "what nobody holds can be taken from nobody"
    said = " ".join(notes)
    for what in ("with NOACK", "acknowledged 1-0", "deleted nothing", "set the group back", "set the group ahead"):
        assert what in said
    assert group.xlen(KEYS.jobs) == 3


def test_a_consumer_is_deleted_with_what_it_holds(group: redis.Redis) -> None:
    one = Strangers(group, random.Random(1), lambda name, what: None)
    assert one._delete_consumer() == "deleted the consumer w"
    assert one._delete_consumer() == one._ack() == ""


def test_tomorrows_worker_shows_everything_it_can(
    group: redis.Redis, valkey_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strangers, "TURN_S", (0.0, 0.001))
    monkeypatch.setattr(strangers, "HOLD_S", 0.01)
    group.xadd(KEYS.audio("idle"), {"type": "complete"})
    group.xadd(KEYS.audio("s1"), {"type": "begin"})
    counts: Counter[str] = Counter()
    with Tomorrow(redis.Redis.from_url(valkey_server.url, protocol=2), random.Random(1), counts):
        assert until(lambda: counts["tomorrows_doings"] > 40)
    raw: Any = group.hget(KEYS.workers, TOMORROW)
    assert json.loads(raw)["beat"] > 1000 * (time.time() - 60)
    ready: Any = group.lrange(key_of(KEYS, "ready"), 0, -1)
    assert ready == [b"2-0", b"3-0"], "what it read it gave back, once"
    assert group.xpending(KEYS.jobs, GROUP)["pending"] == 1
    assert group.hget(key_of(KEYS, "attempts"), "1-0") == b"1 5 7"
    entries: Any = group.xrange(KEYS.audio("idle"))
    assert all(PLANTED in fields for _, fields in entries[1:])
    assert len(entries) > 1
    assert group.xlen(KEYS.audio("s1")) == 1, "a session that still waits is left alone"
    hashes: Any = [group.hgetall(KEYS.job(f"s{n}", f"{n + 1}-0")) for n in range(3)]
    assert all(one[b"colour"] == b"blue" for one in hashes)
    assert [key for key in group.scan_iter(match="*job:*") if group.ttl(key) == -1] == []


def test_tomorrows_worker_bears_a_damaged_queue(
    valkey: redis.Redis, valkey_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strangers, "TURN_S", (0.0, 0.001))
    valkey.set(KEYS.jobs, "odd")
    counts: Counter[str] = Counter()
    with Tomorrow(redis.Redis.from_url(valkey_server.url, protocol=2), random.Random(1), counts) as one:
        assert until(lambda: counts["tomorrows_doings"] > 4)
        assert one.is_running
