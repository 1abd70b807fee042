"""The check finds what a run leaves behind in Redis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import redis

from tests.chaos.check import check_left_behind
from tests.stream.servers import HOST, cluster, needs_cli
from worker.stream.keys import Keys

KEYS = Keys()
LEFT = [
    *("2 left in jobs", "1 left in pending", "1 left in ready", "1 left in delayed", "1 left in gates"),
    *("1 left in waiting", "1 left in attempts"),
    *(f"{KEYS.audio(f's{n}')} never expires" for n in range(9)),
]


def test_what_a_run_leaves_behind_is_found(valkey: redis.Redis) -> None:
    assert check_left_behind(valkey, KEYS) == []
    _leave_everything(valkey)
    assert check_left_behind(valkey, KEYS) == LEFT
    valkey.flushall()


@needs_cli
def test_what_a_run_leaves_behind_is_found_on_all_nodes_of_a_cluster(tmp_path: Path) -> None:
    with cluster(tmp_path) as nodes, redis.RedisCluster(HOST, nodes[0].port, protocol=2) as client:
        assert check_left_behind(client, KEYS) == []
        _leave_everything(client)
        assert check_left_behind(client, KEYS) == LEFT


def test_what_the_driver_planted_is_not_left_behind_by_a_worker(valkey: redis.Redis) -> None:
    _leave_everything(valkey)
    planted = {("ready", b"1-0"), ("gates", b"s"), ("waiting", b"other")}
    left = check_left_behind(valkey, KEYS, planted)
    assert left == [sentence for sentence in LEFT if sentence not in ("1 left in ready", "1 left in gates")]
    valkey.flushall()
    valkey.set(f"{KEYS.prefix}:{{speak}}:waiting", "odd")
    valkey.set(f"{KEYS.prefix}:{{speak}}:seen:odd", "odd")
    assert check_left_behind(valkey, KEYS) == [
        "1 left in another type in place of waiting", f"{KEYS.prefix}:{{speak}}:seen:odd never expires"
    ]  # fmt: skip
    assert not check_left_behind(valkey, KEYS, {("waiting", b""), ("seen", b"makima:{speak}:seen:odd")})
    valkey.flushall()


def _leave_everything(client: Any) -> None:
    jobs, ready, delayed, gates, waiting, attempts, *_ = KEYS.job_plane
    for _ in range(2):
        client.xadd(jobs, {"text": "Hello."})
    client.xgroup_create(jobs, "workers", "0")
    client.xreadgroup("workers", "w", {jobs: ">"}, count=1)
    client.rpush(ready, "1-0")
    client.hset(gates, "s", "1-0")
    client.hset(attempts, "1-0", "1 1")
    for key in (delayed, waiting):
        client.zadd(key, {"1-0": 0})
    for n in range(9):
        client.xadd(KEYS.audio(f"s{n}"), {"type": "cancel"})
        client.set(KEYS.seen_prefix + str(n), "1-0", px=1000)
