"""SWEEP: the remains of accidents are found, and nothing else is changed."""

from __future__ import annotations

import json

import pytest

from tests.scripts.plane import Plane


@pytest.mark.parametrize("page_size", [1, 2, 200])
@pytest.mark.parametrize("names", [("ready",), ("ready", "gates"), ("ready", "waiting"), ("ready", "gates", "waiting")])
def test_a_sweep_finds_every_job_that_a_lost_key_left_in_no_queue(
    plane: Plane, names: tuple[str, ...], page_size: int
) -> None:
    for n in range(3):
        plane.publish(f"s{n}"), plane.publish(f"s{n}"), plane.publish(None)
    for lease in plane.claim().leases:
        plane.settle(lease, "release")
    for name in names:
        plane.client.delete(plane.key(name))
    if "gates" not in names:  # else a claim finds them too
        assert plane.claim().ids == []
    plane.sweep(page_size)
    _speak_all(plane)
    assert plane.unsettled() == []


def test_a_sweep_of_an_empty_redis_finds_nothing(plane: Plane) -> None:
    plane.client.flushall()
    plane.sweep()
    assert plane.client.keys() == []


def test_a_sweep_goes_on_in_pages_to_the_last_entry_that_was_delivered(plane: Plane) -> None:
    ids = [plane.publish(f"s{n}") for n in range(5)]
    for lease in plane.claim(count=4).leases:
        plane.settle(lease, "release")
    plane.client.delete(plane.key("ready"))
    assert plane.sweep(page_size=2) > plane.sweep(page_size=200)
    assert plane.ready() == ids[:4]


def test_a_sweep_leaves_jobs_alone_that_are_new_running_ready_delayed_or_waiting(plane: Plane) -> None:
    for _ in range(2):
        plane.publish("s1")
    plane.publish("s2"), plane.publish("s3")
    leases = plane.claim().leases
    plane.settle(leases[1], "release")
    plane.settle(leases[2], "retry", 60_000)
    plane.publish("s4")
    before = _everything(plane)
    plane.sweep()
    assert _everything(plane) == before


def test_a_lost_delay_ends_at_the_next_sweep(plane: Plane) -> None:
    entry_id = plane.publish()
    plane.settle(plane.claim_one(), "retry", 60_000)
    plane.client.delete(plane.key("delayed"))
    plane.sweep()
    assert plane.claim().ids == [entry_id]


def test_a_swept_session_keeps_its_order(plane: Plane) -> None:
    ids = [plane.publish() for _ in range(12)]
    plane.settle(plane.claim().leases[0], "release")
    for name in ("ready", "gates", "waiting"):
        plane.client.delete(plane.key(name))
    plane.sweep(page_size=5)
    assert _speak_all(plane) == ids


def test_a_sweep_passes_on_a_gate_whose_entry_is_gone_and_drops_one_that_nobody_waits_for(plane: Plane) -> None:
    first, second, other = plane.publish(), plane.publish(), plane.publish("s2")
    plane.claim("w1")
    plane.client.xdel(plane.keys.jobs, first, other)
    plane.sweep()
    assert plane.gates() == {"s1": second}
    assert plane.claim("w2").ids == [second]


def test_a_sweep_drops_counts_and_waiting_entries_whose_job_is_gone(plane: Plane) -> None:
    for n in range(300):
        plane.client.hset(plane.key("attempts"), f"{n}-0", "1 1")
        plane.client.zadd(plane.key("waiting"), {f"s1 {n:0>20}-{0:0>20}": 0})
    plane.sweep()
    assert not plane.client.exists(plane.key("attempts"), plane.key("waiting"))


def test_a_sweep_forgets_silent_workers(plane: Plane) -> None:
    now_ms = plane.now_ms()
    cards = {
        "fresh": json.dumps({"beat": now_ms}),
        "silent": json.dumps({"beat": now_ms - 60_001 - 1000}),
        "wordless": "{}",
        "listless": "[]",
        "broken": "{",
    }
    for name, card in cards.items():
        plane.client.hset(plane.keys.workers, name, card)
    plane.sweep()
    assert plane.client.hkeys(plane.keys.workers) == ["fresh"]


def test_a_sweep_forgets_idle_consumers_without_jobs(plane: Plane) -> None:
    plane.publish("s1"), plane.publish("s2")
    plane.claim("busy", 1)
    plane.settle(plane.claim_one("done"))
    plane.sweep()
    assert _consumers(plane) >= {"busy", "done"}
    plane.call("CLIENT", "PAUSE", 5, "ALL")
    plane.sweep(idle_ms=3)
    assert _consumers(plane) == {"busy"}


def test_a_sweep_after_the_group_was_made_again_does_nothing_wrong(plane: Plane) -> None:
    ids = [plane.publish() for _ in range(3)]
    plane.claim("w1")
    plane.call("XGROUP", "DESTROY", plane.keys.jobs, "workers")
    plane.create_group()
    plane.sweep()
    assert _speak_all(plane) == ids


def _speak_all(plane: Plane) -> list[str]:
    """Claim and settle until no job is left; returns the entries of session s1 in that order."""
    spoken = []
    while leases := plane.claim("w8").leases:
        for lease in leases:
            if lease.session_id == "s1":
                spoken.append(lease.entry_id)
            assert plane.settle(lease) == "OK"
    return spoken


def _consumers(plane: Plane) -> set[str]:
    return {info["name"] for info in plane.client.xinfo_consumers(plane.keys.jobs, "workers")}


def _everything(plane: Plane) -> list[object]:
    delayed = plane.client.zrange(plane.key("delayed"), 0, -1, withscores=True)
    attempts = plane.client.hgetall(plane.key("attempts"))
    return [plane.ready(), plane.waiting(), plane.gates(), attempts, delayed, plane.pending()]
