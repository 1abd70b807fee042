"""Each kind of damage changes the key that it names, is drawn from the seed, and excepts only the jobs it hits."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice

import pytest
import redis

from tests.chaos import odd
from tests.chaos.damage import PLANE, Damage, key_of, turns
from tests.chaos.ledger import Ledger, Published
from tests.conftest import Server
from worker.stream.keys import GROUP, Keys

KEYS = Keys()
N_MEMBERS = len(PLANE) + 2  # and seen, and jobs


@pytest.fixture
def valkey_server(servers: dict[str, Server]) -> Server:
    """One server will do."""
    return servers["valkey"]


@pytest.fixture
def valkey(valkey: redis.Redis) -> Iterator[redis.Redis]:
    """Nothing of the damage stays."""
    yield valkey
    valkey.flushall()


class Scene:
    """Two sessions with a job each, of which one runs."""

    def __init__(self, valkey: redis.Redis, seed: int) -> None:
        self.valkey = valkey
        self.ledger = Ledger()
        self.notes: list[tuple[str, str]] = []
        self.damage = Damage(
            valkey, random.Random(seed), self.ledger, lambda name, what: self.notes.append((name, what))
        )
        valkey.xgroup_create(KEYS.jobs, GROUP, "0", mkstream=True)
        for n, session_id in enumerate(("a", "b")):
            job_id, entry_id = f"{session_id}-0", f"{n + 1}-0"
            fields = {"session_id": session_id, "job_id": job_id, "text": "Hello."}
            valkey.xadd(KEYS.jobs, fields, id=entry_id)  # type: ignore[arg-type]
            self.ledger.jobs.append(Published(session_id, job_id, entry_id, fields, 0.0))
        valkey.hset(key_of(KEYS, "gates"), "a", "1-0")
        valkey.hset(key_of(KEYS, "attempts"), "1-0", "1 5")

    def type_of(self, name: str) -> str:
        return str(self.valkey.type(key_of(KEYS, name)), "ascii")  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(4))
def test_odd_members_come_into_every_key_in_turn_and_are_remembered(valkey: redis.Redis, seed: int) -> None:
    scene = Scene(valkey, seed)
    for _ in range(N_MEMBERS):
        assert scene.damage.odd_member()
    assert [name for name, _ in scene.notes] == ["odd_members"] * N_MEMBERS
    assert {what.partition(":")[0] for _, what in scene.notes} == {*PLANE, "seen", "jobs"}
    assert {name for name, _ in scene.ledger.planted} == {*PLANE, "seen", "jobs"}
    assert all(scene.type_of(name) == kind for name, kind in PLANE.items())
    for name, member in scene.ledger.planted:
        if name in ("gates", "attempts"):
            assert valkey.hexists(key_of(KEYS, name), member)
    assert valkey.hget(key_of(KEYS, "gates"), "a") == b"1-0"
    assert not scene.ledger.excepted


def test_other_types_take_the_place_of_every_key_but_the_jobs(valkey: redis.Redis) -> None:
    scene = Scene(valkey, 1)
    for name in PLANE:
        assert scene.damage.other_type(), name
    assert {what.partition(":")[0] for _, what in scene.notes} == {*PLANE}
    assert all(scene.type_of(name) not in ("none", kind) for name, kind in PLANE.items())
    assert valkey.xlen(KEYS.jobs) == 2
    assert not scene.ledger.excepted


def test_keys_are_deleted_and_dead_letters_kept_aside(valkey: redis.Redis) -> None:
    scene = Scene(valkey, 2)
    valkey.xadd(KEYS.dead, {"job_id": "x", "dead_reason": "worker_lost"})
    valkey.zadd(key_of(KEYS, "waiting"), {b"b 00000000000000000002-00000000000000000000": 0, b"\xff": 0})
    for _ in PLANE:
        assert scene.damage.delete_key()
    assert "b" in scene.ledger.unordered
    assert "a" not in scene.ledger.unordered
    assert all(scene.type_of(name) == "none" for name in PLANE)
    [kept] = valkey.keys(key_of(KEYS, "kept:*"))
    assert valkey.xlen(kept) == 1
    assert valkey.pttl(kept) > 0
    assert valkey.xlen(KEYS.jobs) == 2


def test_streams_are_exhausted_once(valkey: redis.Redis) -> None:
    scene = Scene(valkey, 3)
    for _ in range(2):
        assert scene.damage.exhaust()
    for key in (KEYS.dead, KEYS.bell):
        with pytest.raises(redis.ResponseError):
            valkey.xadd(key, {"a": "1"})
    with pytest.raises(redis.ResponseError):
        scene.damage.exhaust()


def test_a_record_in_use_is_replaced_and_its_own_jobs_may_fail(valkey: redis.Redis) -> None:
    scene = Scene(valkey, 4)
    assert scene.damage.odd_record()
    assert scene.damage.odd_record()
    assert {job_id: one.is_spoilt for job_id, one in scene.ledger.excepted.items()} == {"a-0": False}
    assert "gate" in scene.ledger.excepted["a-0"].reason
    assert "attempts" in scene.ledger.excepted["a-0"].reason
    assert valkey.hget(key_of(KEYS, "attempts"), "1-0") != b"1 5"
    assert valkey.hget(key_of(KEYS, "gates"), "a") != b"1-0"


def test_without_records_in_use_nothing_is_replaced(valkey: redis.Redis) -> None:
    scene = Scene(valkey, 5)
    valkey.delete(key_of(KEYS, "gates"), key_of(KEYS, "attempts"))
    assert not scene.damage.odd_record()
    assert not scene.damage.odd_record()
    assert not scene.ledger.excepted


def test_a_key_that_is_damaged_already_is_told_by_an_error(valkey: redis.Redis) -> None:
    """Which the driver takes for: not now."""
    scene = Scene(valkey, 6)
    for name in PLANE:
        valkey.delete(key_of(KEYS, name))
        valkey.sadd(key_of(KEYS, name), "odd")
    refused = 0
    for _ in range(N_MEMBERS):
        try:
            scene.damage.odd_member()
        except redis.ResponseError:
            refused += 1
    assert refused == len(PLANE) - 2, "a string is set over anything, and seen and jobs are none of these"


def test_the_same_seed_draws_the_same_damage(valkey: redis.Redis) -> None:
    first = Scene(valkey, 7)
    drawn = [turns(random.Random(7), "abc") for _ in range(2)]
    assert list(islice(drawn[0], 9)) == list(islice(drawn[1], 9))
    assert first.damage.odd_member()


def test_odd_values_are_of_every_shape() -> None:
    draw = random.Random(1)
    ids = {odd.odd_id(draw, 5) for _ in range(2000)}
    assert {b"", b"oops", b"1-1-1", b"3600005-0", b"12345678901234567890123", odd.ENDLESS, odd.BINARY} <= ids
    assert any(map(odd.is_like_an_id, ids))
    for make in (odd.odd_record, odd.odd_card, odd.odd_score, odd.odd_number, odd.odd_waiting):
        values = [make(draw, 5) for _ in range(500)]
        assert len(set(values)) > 5
        assert values != [make(draw, 5) for _ in range(500)]


@pytest.mark.parametrize(
    ("value", "is_one"),
    [(b"1-0", True), (b"1", False), (b"1-1-1", False), (odd.ENDLESS, True), (b"18446744073709551616-0", False),
     (b"-", False), ("１-０".encode(), False), (b"000000000000000000001-0", False), (b" 1-0", False)],
)  # fmt: skip
def test_what_looks_like_an_id(value: bytes, is_one: bool) -> None:
    assert odd.is_like_an_id(value) == is_one


@pytest.mark.parametrize("kind", odd.TYPES)
def test_another_type_is_another_one(valkey: redis.Redis, kind: str) -> None:
    draw, made = random.Random(2), set()
    for _ in range(60):
        name, make = odd.other_type(draw, kind)
        valkey.delete("x")
        valkey.execute_command(*make("x"))  # type: ignore[no-untyped-call]
        assert valkey.type("x") == name.encode()
        made.add(name)
    assert made == {*odd.TYPES} - {kind}
    valkey.delete("x")
