"""BEAT and RECLAIM: how a lease is renewed, and how it changes hands."""

from __future__ import annotations

import pytest

from tests.scripts.plane import Lease, Plane


def test_a_beat_keeps_the_lease(plane: Plane) -> None:
    entry_id = plane.publish()
    lease = plane.claim_one()
    plane.go_silent(entry_id)
    assert plane.beat(lease) == "OK"
    assert plane.reclaim() == []


def test_a_beat_says_that_the_lease_is_lost(plane: Plane) -> None:
    entry_id = plane.publish()
    old = plane.claim_one("w1")
    plane.go_silent(entry_id)
    (new,) = plane.reclaim("w2")
    assert plane.beat(old) == "LOST"
    assert plane.beat(Lease(entry_id, 1, old.fence, "s1", (), "w2")) == "LOST"
    assert plane.beat(Lease(entry_id, 1, new.fence, "s1", (), "w1")) == "LOST"
    assert plane.beat(new) == "OK"
    plane.settle(new)
    assert plane.beat(new) == "GONE"


@pytest.mark.parametrize("verdict", ["retry", "release"])
def test_a_beat_that_comes_after_its_job_was_given_back_does_not_take_it_again(plane: Plane, verdict: str) -> None:
    plane.publish()
    lease = plane.claim_one()
    plane.settle(lease, verdict, 60_000)
    assert plane.beat(lease) == "LOST"
    assert plane.pending() == []


def test_a_beat_takes_an_entry_back_that_an_accident_took_from_the_group(plane: Plane) -> None:
    entry_id = plane.publish()
    lease = plane.claim_one()
    plane.call("XGROUP", "DELCONSUMER", plane.keys.jobs, "workers", "w1")
    assert plane.beat(lease) == "OK"
    plane.call("XACK", plane.keys.jobs, "workers", entry_id)
    assert plane.beat(lease) == "OK"
    plane.client.delete(plane.key("attempts"))
    assert plane.beat(lease) == "OK"
    assert plane.pending() == [(entry_id, "w1")]
    assert plane.client.hget(plane.key("attempts"), entry_id) == f"1 {lease.fence}"


def test_who_speaks_a_job_goes_on_when_its_entry_was_deleted(plane: Plane) -> None:
    entry_id = plane.publish()
    lease = plane.claim_one()
    plane.client.xdel(plane.keys.jobs, entry_id)
    assert plane.beat(lease) == "GONE"
    assert plane.settle(lease) == "GONE"
    assert plane.client.hlen(plane.key("attempts")) == 0
    assert plane.gates() == {}


def test_a_worker_that_reclaims_its_own_job_has_lost_the_older_lease(plane: Plane) -> None:
    entry_id = plane.publish()
    old = plane.claim_one("w1")
    plane.go_silent(entry_id)
    (new,) = plane.reclaim("w1")
    assert plane.beat(old) == "LOST"
    assert plane.settle(old) == "FENCED"
    assert plane.beat(new) == "OK"


def test_a_beat_restores_a_gate_that_is_missing_and_leaves_any_other(plane: Plane) -> None:
    entry_id = plane.publish()
    lease = plane.claim_one()
    plane.client.delete(plane.key("gates"))
    plane.beat(lease)
    assert plane.gates() == {"s1": entry_id}
    plane.client.hset(plane.key("gates"), "s1", "9-9")
    plane.beat(lease)
    assert plane.gates() == {"s1": "9-9"}


def test_a_beat_of_a_job_without_a_session_makes_no_gate(plane: Plane) -> None:
    plane.publish(None)
    assert plane.beat(plane.claim_one()) == "OK"
    assert plane.gates() == {}


def test_an_attempt_that_only_waits_counts_when_it_no_longer_does(plane: Plane) -> None:
    entry_id = plane.publish()
    lease = plane.claim_one("w1")
    for _ in range(2):
        assert plane.beat(lease, lease.attempt - 1) == "OK"
    assert plane.beat(lease) == "OK"
    plane.go_silent(entry_id)
    (lease,) = plane.reclaim("w2")
    assert lease.attempt == 1
    assert plane.beat(lease, lease.attempt - 1) == "OK"
    assert plane.beat(lease, lease.attempt) == "OK"
    plane.go_silent(entry_id)
    (lease,) = plane.reclaim("w3")
    assert lease.attempt == 2
    assert plane.beat(lease, lease.attempt - 1) == "OK"
    assert plane.settle(lease, "release") == "OK"
    assert plane.claim_one().attempt == 2


def test_a_job_whose_worker_fell_silent_is_taken_over(plane: Plane) -> None:
    entry_id = plane.publish(text="Hello.")
    old = plane.claim_one("w1")
    assert plane.reclaim("w2") == []
    plane.go_silent(entry_id)
    (new,) = plane.reclaim("w2")
    assert (new.entry_id, new.attempt, new.session_id, new.fields) == (entry_id, 2, "s1", old.fields)
    assert int(new.fence) > int(old.fence)
    assert plane.pending() == [(entry_id, "w2")]
    assert plane.reclaim("w3") == []


def test_no_more_is_taken_over_than_there_are_slots(plane: Plane) -> None:
    ids = [plane.publish(f"s{n}") for n in range(3)]
    plane.claim("w1")
    for entry_id in ids:
        plane.go_silent(entry_id)
    assert [lease.entry_id for lease in plane.reclaim("w2", count=2)] == ids[:2]
    assert [lease.entry_id for lease in plane.reclaim("w2", count=2)] == ids[2:]


def test_a_full_worker_is_given_what_has_expired_and_nothing_else(plane: Plane) -> None:
    now_ms = plane.now_ms()
    old = plane.publish("s1", f"{now_ms - 31_000}-0")
    patient = plane.publish("s2", f"{now_ms - 31_000}-1", ttl_ms="60000")
    plane.publish("s3", f"{now_ms - 31_000}-2")
    assert plane.claim(count=0).ids == [old]
    assert plane.claim(count=0).ids == [], "the oldest that has not expired is for whoever has a slot"
    assert plane.claim().ids[0] == patient


def test_a_full_worker_finds_expired_jobs_among_those_handed_back(plane: Plane) -> None:
    now_ms = plane.now_ms()
    first, second = (
        plane.publish(f"s{n}", f"{now_ms - 5_000}-{n}", ttl_ms=f"{ttl}") for n, ttl in enumerate((1, 90_000))
    )
    for lease in plane.claim().leases:
        plane.settle(lease, "release")
    assert plane.ready() == [first, second]
    assert plane.claim(count=0).ids == [first]
    assert plane.ready() == [second]


def test_a_full_worker_leaves_an_expired_job_behind_the_one_its_session_hears(plane: Plane) -> None:
    now_ms = plane.now_ms()
    running = plane.publish("s1", f"{now_ms - 5_000}-0")
    (lease,) = plane.claim().leases
    behind = plane.publish("s1", f"{now_ms - 5_000}-1", ttl_ms="1")
    assert plane.claim(count=0).ids == []
    assert lease.entry_id == running
    plane.settle(lease)
    assert plane.claim(count=0).ids == [behind]


def test_a_reclaim_that_arrives_late_takes_nothing_over_and_says_when_to_look_again(plane: Plane) -> None:
    entry_id = plane.publish()
    plane.claim("w1")
    plane.go_silent(entry_id)
    sent_ms = plane.now_ms()
    assert plane.reclaim_at(sent_ms - 700, silent_ms=1500)[:2] == ([], 500)
    taken, _, now_ms = plane.reclaim_at(sent_ms - 100, silent_ms=1500)
    assert [lease.entry_id for lease in taken] == [entry_id]
    assert sent_ms <= now_ms <= plane.now_ms()


def test_a_reclaim_says_when_the_next_entry_may_be_due(plane: Plane) -> None:
    assert plane.reclaim_at("", silent_ms=1500)[1] == 1500
    ids = [plane.publish(f"s{n}") for n in range(3)]
    plane.claim("w1")
    for n, entry_id in enumerate(ids):
        plane.call("XCLAIM", plane.keys.jobs, "workers", "w1", 0, entry_id, "IDLE", 300 * n, "JUSTID")
    assert 0 < plane.reclaim_at("", silent_ms=1500)[1] <= 900
    assert plane.reclaim_at("", silent_ms=1)[1] == 1, "what was taken over just now is silent again soon"


def test_a_pending_entry_that_is_gone_is_forgotten(plane: Plane) -> None:
    entry_id = plane.publish()
    plane.claim()
    plane.client.xdel(plane.keys.jobs, entry_id)
    assert plane.reclaim(silent_ms=0) == []
    assert plane.pending() == []
    assert plane.client.hlen(plane.key("attempts")) == 0


def test_a_job_that_lost_its_gate_to_another_waits_when_its_worker_falls_silent(plane: Plane) -> None:
    first, second = plane.publish(), plane.publish()
    plane.claim("w1", 1)
    plane.client.hset(plane.key("gates"), "s1", second)
    taken = plane.claim_one("w2")
    assert taken.entry_id == second
    plane.go_silent(first)
    assert plane.reclaim("w3") == []
    assert plane.pending() == [(second, "w2")]
    plane.settle(taken)
    assert plane.claim("w3").ids == [first]


def test_a_job_taken_over_without_a_gate_gets_it(plane: Plane) -> None:
    entry_id = plane.publish()
    plane.claim("w1")
    plane.client.delete(plane.key("gates"))
    plane.go_silent(entry_id)
    assert [lease.entry_id for lease in plane.reclaim()] == [entry_id]
    assert plane.gates() == {"s1": entry_id}


def test_a_lost_count_starts_again_and_who_holds_the_job_keeps_it(plane: Plane) -> None:
    entry_id = plane.publish()
    old = plane.claim_one("w1")
    plane.client.delete(plane.key("attempts"))
    assert plane.beat(old) == "OK"
    plane.client.delete(plane.key("attempts"))
    plane.go_silent(entry_id)
    (new,) = plane.reclaim()
    assert new.attempt == 1
    assert plane.beat(old) == "LOST"
    assert plane.settle(old) == "FENCED"
