"""A worker with a job on its last attempt is spared, and no worker is hit while too few are at work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.chaos.fleet import Fleet
from tests.chaos.nursery import Nursery
from tests.chaos.targets import Targets
from tests.conftest import Server
from tests.flow.listening import KEYS
from tests.processes import until

LONG = "A sentence that takes its time. " * 4


@pytest.fixture
def valkey_server(servers: dict[str, Server]) -> Server:
    """One server will do."""
    return servers["valkey"]


@pytest.fixture
def fleet(valkey: redis.Redis, valkey_server: Server, tmp_path: Path) -> Iterator[Fleet]:
    with Nursery() as nursery, Fleet(nursery, valkey_server.url, 2, tmp_path, ["--pace", "1"]) as two:
        yield two


def _speak(valkey: redis.Redis, session_id: str) -> str:
    answer = valkey.xadd(KEYS.jobs, {"session_id": session_id, "text": LONG})
    entry_id = str(answer, "ascii")  # type: ignore[arg-type]
    assert until(lambda: valkey.hexists(KEYS.job(session_id, entry_id), "base"))
    return entry_id


def _attempt(valkey: redis.Redis, entry_id: str, n: int) -> None:
    attempts = KEYS.job_plane[5]
    raw: bytes = valkey.hget(attempts, entry_id)  # type: ignore[assignment]
    valkey.hset(attempts, entry_id, f"{n} {raw.split()[1].decode()}")


def test_a_worker_is_spared_while_a_job_of_it_has_one_attempt_left(fleet: Fleet, valkey: redis.Redis) -> None:
    targets = Targets(fleet, valkey)
    entry_id = _speak(valkey, "s")
    [holder] = targets.heirs([entry_id])
    [other] = [member for member in fleet.members if member is not holder]
    assert targets.held_by(holder) == [entry_id]
    assert targets.held_by(other) == []
    _attempt(valkey, entry_id, 2)
    assert targets.are_all_safe()
    assert not targets.is_spared(holder)
    _attempt(valkey, entry_id, 3)
    assert not targets.are_all_safe()
    assert targets.is_spared(holder)
    assert not targets.is_spared(other)
    valkey.hset(KEYS.job("s", entry_id), "base", "1")
    assert targets.are_all_safe(), "its first attempt had delivered new samples, and does not count"


def test_a_job_whose_next_attempt_is_the_last_makes_nobody_safe_while_nobody_runs_it(
    fleet: Fleet, valkey: redis.Redis
) -> None:
    targets = Targets(fleet, valkey)
    entry_id = _speak(valkey, "s")
    for member in fleet.members:
        fleet.stop(member)
    _attempt(valkey, entry_id, 2)
    assert targets.are_all_safe()
    valkey.xgroup_destroy(KEYS.jobs, "workers")
    assert not targets.are_all_safe()
    assert not any(map(targets.is_spared, fleet.members))


def test_all_have_served_when_each_has_been_listed_for_a_while(
    fleet: Fleet, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets = Targets(fleet, valkey)
    assert until(targets.have_all_served, 20)
    monkeypatch.setattr("tests.chaos.targets.SERVED_S", 0.0)
    fleet.start()
    assert not targets.have_all_served(), "it does not even run"
    assert until(targets.have_all_served, 20)


def test_odd_records_are_nobodys_last_attempt(fleet: Fleet, valkey: redis.Redis) -> None:
    for n, value in enumerate(("", "oops", "3", "inf 1", "99999999999999999999 1", "-1 -1")):
        valkey.hset(KEYS.job_plane[5], f"{n + 1}-0", value)
    valkey.hset(KEYS.job_plane[5], "oops", "3 1")
    assert Targets(fleet, valkey).are_all_safe()


def test_nobody_is_hit_while_only_one_is_at_work(fleet: Fleet, valkey: redis.Redis) -> None:
    targets = Targets(fleet, valkey)
    assert targets.lively() == fleet.members
    fleet.stop(fleet.members[0])
    assert targets.lively() == targets.heirs([]) == []
    fleet.start()
    assert until(lambda: len(targets.lively()) == 2, 10), "a new one counts from when it is ready"
