"""Damaged keys: malformed members, wrong types and times from the future stop no script and no other session."""

from __future__ import annotations

import pytest

from tests.scripts.plane import Plane, a_lease
from worker.stream.keys import JOB_PLANE

ODD_IDS = (
    "",
    "oops",
    "1-1-1",
    "9" * 23,
    "1-",
    "-1",
    "1",
    "01-0",
    "1-00",
    "18446744073709551616-0",
    "1-1\n",
    " 1-1",
    "１-１",
)
ODD = (*ODD_IDS, "inf", "nan", "-1", "\x00", "{}", "x" * 5000)
HOUR_MS = 3_600_000
MAKE = {
    "string": ("SET", "x"),
    "list": ("RPUSH", "x"),
    "hash": ("HSET", "x", "y"),
    "set": ("SADD", "x"),
    "zset": ("ZADD", 1, "x"),
    "stream": ("XADD", "*", "x", "y"),
}


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_gate_is_free_and_reported(plane: Plane, odd: str) -> None:
    plane.client.hset(plane.key("gates"), "A", odd)
    ids = [plane.publish(session) for session in ("A", "B", "C")]
    assert plane.claim().ids == ids
    assert plane.gates() == dict(zip("ABC", ids, strict=True))
    assert [key for key, _ in plane.odd] == ["gates"]


def test_a_gate_that_names_an_entry_of_another_session_is_free(plane: Plane) -> None:
    other = plane.publish("B")
    plane.claim()
    plane.client.hset(plane.key("gates"), "A", other)
    mine = plane.publish("A")
    assert plane.claim().ids == [mine]


def test_a_gate_that_names_an_entry_by_its_time_alone_is_free(plane: Plane) -> None:
    entry_id = plane.publish("A", entry_id="1700000000000-0")
    plane.client.hset(plane.key("gates"), "A", "1700000000000")
    assert plane.claim().ids == [entry_id]


@pytest.mark.parametrize("odd", ["oops", ""])
def test_an_odd_gate_lets_no_job_overtake_one_that_has_begun(plane: Plane, odd: str) -> None:
    first, second = plane.publish("A"), plane.publish("A")
    running = plane.claim_one("w1")
    plane.client.hset(plane.key("gates"), "A", odd)
    plane.sweep()
    third = plane.publish("A")
    assert plane.claim("w2").ids == []
    assert plane.gates() == {"A": first}
    plane.settle(running)
    for entry_id in (second, third):
        lease = plane.claim_one("w2")
        assert lease.entry_id == entry_id
        plane.settle(lease)


@pytest.mark.parametrize("odd", ODD)
def test_odd_members_of_ready_are_dropped(plane: Plane, odd: str) -> None:
    entry_id = plane.publish()
    plane.settle(plane.claim_one(), "release")
    plane.client.lpush(plane.key("ready"), odd)
    assert plane.claim().ids == [entry_id]
    assert plane.ready() == []


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("score", [0, 5, -5, "inf", "-inf"])
def test_odd_waiting_members_keep_no_session_from_its_turn(plane: Plane, odd: str, score: float | str) -> None:
    ids = [plane.publish("m") for _ in range(3)]
    first = plane.claim_one()
    plane.call("ZADD", plane.key("waiting"), score, odd)
    plane.call("ZADD", plane.key("waiting"), score, f"m {odd}")
    plane.call("ZADD", plane.key("waiting"), score, f"a {odd}")
    plane.sweep()
    plane.settle(first)
    for entry_id in ids[1:]:
        lease = plane.claim_one()
        assert lease.entry_id == entry_id
        plane.settle(lease)
    assert plane.waiting() == []


@pytest.mark.parametrize("odd", ODD)
def test_odd_attempts_count_as_none(plane: Plane, odd: str) -> None:
    entry_id = plane.publish()
    plane.client.hset(plane.key("attempts"), mapping={entry_id: odd, odd: "1 1"})
    lease = plane.claim_one()
    assert lease.attempt == 1
    plane.client.hset(plane.key("attempts"), entry_id, odd)
    assert plane.beat(lease) == "OK"
    assert plane.settle(lease) == "OK"
    plane.sweep()
    assert not plane.client.exists(plane.key("attempts"))


@pytest.mark.parametrize("odd", ["", "oops", "1 2", "1 2 3 4"])
def test_a_record_that_no_claim_wrote_lets_no_later_job_overtake(plane: Plane, odd: str) -> None:
    first, second = plane.publish("s1"), plane.publish("s1")
    plane.client.hset(plane.key("attempts"), second, odd)
    assert plane.claim().ids == [first]
    assert plane.gates() == {"s1": first}


def test_attempts_with_more_than_a_newer_worker_may_write_are_read(plane: Plane) -> None:
    entry_id = plane.publish()
    plane.client.hset(plane.key("attempts"), entry_id, "2 1700000000000 tomorrow")
    assert plane.claim_one().attempt == 3


def test_a_fence_from_the_future_is_no_fence(plane: Plane) -> None:
    entry_id = plane.publish()
    lease = plane.claim_one()
    plane.client.hset(plane.key("attempts"), entry_id, "1 9999999999999")
    assert plane.beat(lease) == "OK"
    plane.client.hset(plane.key("attempts"), entry_id, "1 9999999999999")
    plane.settle(lease, "retry", 0)
    assert int(plane.claim_one().fence) < plane.now_ms() + HOUR_MS


@pytest.mark.parametrize("due", [9e15, float("inf"), "now and an hour"])
def test_a_delay_that_nobody_asks_for_is_over(plane: Plane, due: float | str) -> None:
    entry_id = plane.publish()
    plane.settle(plane.claim_one(), "retry", 5000)
    score = plane.now_ms() + HOUR_MS if isinstance(due, str) else due
    plane.client.zadd(plane.key("delayed"), {entry_id: score, "oops": score, "": 0})
    assert plane.claim().ids == [entry_id]
    plane.claim()
    assert not plane.client.exists(plane.key("delayed"))


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_mark_of_what_was_taken_hides_no_job(plane: Plane, odd: str) -> None:
    plane.client.set(plane.key("taken"), odd)
    ids = [plane.publish(f"s{n}") for n in range(3)]
    assert plane.claim().ids == ids
    assert plane.client.get(plane.key("taken")) == ids[-1]


def test_a_mark_ahead_of_the_stream_hides_no_job(plane: Plane) -> None:
    plane.client.set(plane.key("taken"), "18446744073709551615-18446744073709551615")
    entry_id = plane.publish()
    assert plane.claim().ids == [entry_id]


def test_a_job_that_a_stranger_read_is_spoken_in_its_order(plane: Plane) -> None:
    first = plane.publish("A")
    plane.call("XREADGROUP", "GROUP", "workers", "stranger", "NOACK", "STREAMS", plane.keys.jobs, ">")
    second = plane.publish("A")
    lease = plane.claim_one()
    assert lease.entry_id == first
    plane.settle(lease)
    assert plane.claim().ids == [second]


def test_a_group_that_was_set_ahead_hides_no_job(plane: Plane) -> None:
    plane.call("XGROUP", "SETID", plane.keys.jobs, "workers", "9999999999999-0")
    entry_id = plane.publish()
    assert plane.claim().ids == [entry_id]


@pytest.mark.parametrize("what", ["list", "oops", "1-1-1", ""])
def test_an_odd_mark_of_a_job_that_was_seen_makes_no_duplicate(plane: Plane, what: str) -> None:
    entry_id = plane.publish(job_id="j")
    plane.claim()
    (key,) = plane.client.scan_iter(f"{plane.keys.seen_prefix}*")
    plane.client.flushall()
    plane.create_group()
    plane.client.rpush(key, "x") if what == "list" else plane.client.set(key, what)
    entry_id = plane.publish(job_id="j")
    claim = plane.claim()
    assert (claim.ids, claim.leases[0].repeats) == ([entry_id], "")
    assert plane.client.get(key) == entry_id
    assert plane.client.pttl(key) > 0


@pytest.mark.parametrize("card", ["not json", "[]", '{"beat": "x"}', '{"beat": 9e15}', '{"beat": -1}', "{" * 100])
def test_a_sweep_forgets_cards_that_no_worker_wrote(plane: Plane, card: str) -> None:
    plane.client.hset(plane.keys.workers, "w", card)
    plane.sweep()
    assert not plane.client.exists(plane.keys.workers)


def test_a_sweep_that_nobody_ends_does_not_keep_others_from_sweeping(plane: Plane) -> None:
    plane.client.set(plane.key("sweeping"), "somebody")
    assert plane._run_on_jobs("sweep", "w9", 1, "", 200, 10_000, 60_000, 3_600_000)[0] == 2
    assert 0 < plane.client.pttl(plane.key("sweeping")) <= 10_000


@pytest.mark.parametrize("name", JOB_PLANE)
@pytest.mark.parametrize("kind", ["string", "list", "hash", "set", "zset", "stream"])
def test_a_key_of_another_type_is_put_aside_for_some_time(plane: Plane, name: str, kind: str) -> None:
    client, key = plane.client, plane.key(name)
    plane.heals = True
    client.delete(key)
    plane.call(*MAKE[kind][:1], key, *MAKE[kind][1:])
    has_other_type = bool(plane.set_aside())
    aside = list(client.scan_iter(f"{plane.keys.aside_prefix}*"))
    assert [key.rpartition(":")[2] for key in aside] == ([name] if has_other_type else [])
    assert all(client.pttl(key) > 0 for key in aside)
    entry_id = plane.publish("A", voice="nobody")
    lease = next(lease for lease in plane.claim().leases if lease.entry_id == entry_id)
    assert plane.settle(lease, "dead", "unknown_voice") == "OK"
    plane.sweep()


@pytest.mark.parametrize("name", ["waiting", "gates", "ready", "attempts"])
def test_jobs_keep_their_order_when_a_key_of_another_type_was_put_aside(plane: Plane, name: str) -> None:
    plane.heals = True
    ids = [plane.publish() for _ in range(3)]
    lease = plane.claim_one("w1")
    plane.client.set(plane.key(name), "x")
    plane.set_aside()
    ids.append(plane.publish())
    assert plane.beat(lease) == "OK"
    assert plane.claim("w2").ids == []
    for entry_id in ids:
        assert lease.entry_id == entry_id
        plane.settle(lease)
        lease = next(iter(plane.claim("w2").leases), lease)


@pytest.mark.parametrize("name", ["ready", "delayed", "gates", "waiting", "bell"])
def test_a_claim_that_met_a_key_of_another_type_counts_no_attempt(plane: Plane, name: str) -> None:
    plane.heals = True
    entry_id = plane.publish()
    plane.client.set(plane.key(name), "x")
    [lease] = plane.claim().leases
    assert (lease.entry_id, lease.attempt) == (entry_id, 1)
    plane.client.delete(plane.key(name))
    plane.client.set(plane.key(name), "x")
    assert plane.settle(lease, "release", 0) == "OK"
    assert plane.claim_one().attempt == 1


@pytest.mark.parametrize("name", ["dead", "bell"])
def test_an_exhausted_stream_is_put_aside(plane: Plane, name: str) -> None:
    plane.heals = True
    plane.call("XADD", plane.key(name), "18446744073709551615-18446744073709551615", "a", "b")
    first, second = plane.publish("A"), plane.publish("A")
    assert plane.settle(plane.claim_one(), "dead", "unknown_voice") == "OK"
    assert [letter["dead_id"] for letter in plane.dead()] == [first]
    assert plane.claim().ids == [second]


@pytest.mark.parametrize("field", ["fence", "began", "end", "base", "at"])
@pytest.mark.parametrize("odd", [*ODD, "9999999999999", "5", "1-1"])
def test_odd_fields_of_a_jobs_hash_are_absent(plane: Plane, field: str, odd: str) -> None:
    lease = a_lease(fence=plane.now_ms())
    key = plane.keys.job(lease.session_id, lease.entry_id)
    plane.client.hset(key, field, odd)
    answer = plane.begin(lease)
    if field == "began":  # the record says that it has begun, and it has no stream
        assert answer[0] == "GONE"
        plane.client.xadd(plane.keys.audio("s1"), {"type": "audio", "entry": lease.entry_id, "delivered": "abc"})
        assert plane.begin(lease)[0] == "LOST"
        assert plane.end(lease, "error", code="internal", message="m") == ["OK", "error"]
        assert plane.heard("s1")[-1][1]["delivered"] == "0"
    else:
        assert answer[0] == "OK"
        assert plane.end(lease, at=f"{answer[1]}-1") == ["OK", "complete"]


@pytest.mark.parametrize("has_stream", [True, False])
def test_an_end_that_no_worker_wrote_is_no_end(plane: Plane, has_stream: bool) -> None:
    lease = a_lease(fence=plane.now_ms())
    if has_stream:
        plane.client.xadd(plane.keys.audio("s1"), {"type": "cancel"})
    plane.client.hset(plane.keys.job("s1", lease.entry_id), "end", "complete")
    plane.client.expire(plane.keys.job("s1", lease.entry_id), 60)
    assert plane.begin(lease)[0] == ("OK" if has_stream else "DONE")


def test_an_end_of_an_older_worker_is_found_on_the_stream(plane: Plane) -> None:
    lease = a_lease(fence=plane.now_ms())
    plane.end(lease, "error", code="internal", message="m")
    plane.client.hdel(plane.keys.job("s1", lease.entry_id), "at")
    assert plane.begin(lease) == ["DONE", "error", "internal"]


def test_a_fence_that_lies_is_not_believed_where_the_lease_was_confirmed(plane: Plane) -> None:
    lease = a_lease(fence=plane.now_ms())
    plane.client.hset(plane.keys.job("s1", lease.entry_id), "fence", plane.now_ms() + 5000)
    assert plane.begin(lease) == ["FENCED"]
    assert plane.begin(lease, is_confirmed=True)[0] == "OK"


def test_a_job_published_again_after_its_end_is_answered_with_a_copy_of_it(plane: Plane) -> None:
    plane.publish(job_id="j")
    lease = plane.claim_one()
    epoch = plane.begin(lease)[1]
    plane.end(lease, at=f"{epoch}-1", body=b"the end")
    plane.settle(lease)
    again = plane.publish(job_id="j")
    copy = plane.claim_one()
    assert plane.repeat(copy) == ["OK", "complete"]
    assert plane.repeat(copy) == ["DONE", "complete", "1"]
    (_, first), (_, second) = plane.heard("s1")[-2:]
    assert second == {**first, "entry": again, "at": second["at"]}
    assert plane.settle(copy) == "OK"


def test_an_end_that_was_trimmed_cannot_be_repeated(plane: Plane) -> None:
    plane.publish(job_id="j")
    lease = plane.claim_one()
    plane.end(lease, "error", code="internal", message="m")
    plane.settle(lease)
    plane.publish(job_id="j")
    plane.call("XTRIM", plane.keys.audio("s1"), "MAXLEN", 0)
    again = plane.claim_one()
    assert plane.repeat(again) == ["NONE"]
    plane.end(again, "error")  # it was spoken and failed, and its worker died before SETTLE
    assert plane.repeat(again) == ["DONE", "error", ""]


@pytest.mark.parametrize("n", [1000])
def test_a_session_of_waiting_entries_that_are_gone_is_cleared_in_bounded_steps(plane: Plane, n: int) -> None:
    for number in range(1, n + 1):
        plane.client.zadd(plane.key("waiting"), {f"s1 {number:0>20}-{0:0>20}": 0})
    first, second = plane.publish(), plane.publish()
    lease = plane.claim_one()
    assert lease.entry_id == first
    assert plane.client.zcard(plane.key("waiting")) >= n - 500
    plane.settle(lease)
    plane.sweep()
    assert plane.claim().ids == [second]
