"""SETTLE: the end of a lease, and the fields of a dead letter."""

from __future__ import annotations

import pytest

from tests.scripts.plane import MAX_FIELD_BYTES, Lease, Plane


@pytest.mark.parametrize("verdict", ["ok", "dead"])
def test_a_settled_job_leaves_nothing_on_the_job_plane(plane: Plane, verdict: str) -> None:
    plane.publish(job_id="j1")
    assert plane.settle(plane.claim_one(), verdict, "why") == "OK"
    assert plane.unsettled() == []
    for name in ("ready", "delayed", "gates", "waiting", "attempts"):
        assert not plane.client.exists(plane.key(name))
    assert plane.pending() == []


@pytest.mark.parametrize("verdict", ["ok", "retry", "release", "dead"])
def test_only_the_owner_with_the_newest_fence_settles(plane: Plane, verdict: str) -> None:
    entry_id = plane.publish()
    old = plane.claim_one("w1")
    plane.go_silent(entry_id)
    (new,) = plane.reclaim("w2")
    not_owner = Lease(entry_id, 2, new.fence, "s1", (), "w1")
    old_fence = Lease(entry_id, 2, old.fence, "s1", (), "w2")
    for lease in (old, not_owner, old_fence):
        assert plane.settle(lease, verdict, 0) == "FENCED"
    assert plane.pending() == [(entry_id, "w2")]
    assert plane.settle(new, verdict, 0) == "OK"
    assert plane.settle(new, verdict, 0) == ("FENCED" if verdict in ("retry", "release") else "GONE")


def test_a_settlement_whose_reply_was_lost_changes_nothing_when_sent_again(plane: Plane) -> None:
    plane.publish(), plane.publish()
    lease = plane.claim().leases[0]
    assert plane.settle(lease) == "OK"
    before = (plane.ready(), plane.gates(), plane.waiting())
    assert plane.settle(lease) == "GONE"
    assert (plane.ready(), plane.gates(), plane.waiting()) == before


@pytest.mark.parametrize("verdict", ["retry", "release"])
def test_a_verdict_on_an_entry_that_is_gone_clears_what_is_left_of_it(plane: Plane, verdict: str) -> None:
    first, second = plane.publish(), plane.publish()
    lease = plane.claim().leases[0]
    plane.client.xdel(plane.keys.jobs, first)
    assert plane.settle(lease, verdict, 0) == "GONE"
    assert plane.claim("w2").ids == [second]
    assert plane.client.hkeys(plane.key("attempts")) == [second]


def test_a_job_made_ready_rings_the_bell(plane: Plane) -> None:
    plane.publish(), plane.publish()
    lease = plane.claim().leases[0]
    bells = [plane.claim(count=0).last_bell]
    plane.settle(lease, "release")
    bells.append(plane.claim(count=0).last_bell)
    lease = plane.claim_one()
    plane.settle(lease, "retry", 0)
    bells.append(plane.claim(count=0).last_bell)
    plane.settle(plane.claim_one())
    bells.append(plane.claim(count=0).last_bell)
    assert len(set(bells)) == 4


def test_the_bell_stays_short(plane: Plane) -> None:
    plane.publish()
    for _ in range(500):
        plane.settle(plane.claim_one(), "release")
    assert plane.client.xlen(plane.keys.bell) <= 250


def test_a_released_attempt_does_not_count_but_a_failed_one_does(plane: Plane) -> None:
    plane.publish()
    for _ in range(5):
        lease = plane.claim_one()
        assert lease.attempt == 1
        plane.settle(lease, "release")
    plane.settle(plane.claim_one(), "retry", 0)
    lease = plane.claim_one()
    assert lease.attempt == 2
    plane.settle(lease, "release")
    assert plane.claim_one().attempt == 2


def test_a_released_job_is_ready_for_anyone_and_keeps_its_gate(plane: Plane) -> None:
    first, _ = plane.publish(), plane.publish()
    plane.settle(plane.claim_one("w1"), "release")
    assert plane.ready() == [first]
    assert plane.gates() == {"s1": first}
    assert plane.claim("w2").ids == [first]


def test_a_dead_letter_says_why_and_holds_the_entry(plane: Plane) -> None:
    entry_id = plane.publish(text="Hello.", colour="red")
    plane.settle(plane.claim_one("w1"), "dead", "unknown_voice")
    assert plane.dead() == [
        {
            "dead_reason": "unknown_voice",
            "dead_attempts": "1",
            "dead_worker": "w1",
            "dead_id": entry_id,
            "text": "Hello.",
            "session_id": "s1",
            "colour": "red",
        }
    ]


def test_a_dead_letter_counts_the_attempts(plane: Plane) -> None:
    plane.publish()
    for _ in range(2):
        plane.settle(plane.claim_one(), "retry", 0)
    plane.settle(plane.claim_one(), "dead", "engine_failed")
    assert plane.dead()[0]["dead_attempts"] == "3"


@pytest.mark.parametrize("text", ["x" * 5000, "\u304b" * 4000])
def test_a_dead_letter_holds_a_job_whole(plane: Plane, text: str) -> None:
    plane.publish(text=text, voice="nobody")
    plane.settle(plane.claim_one(), "dead", "unknown_voice")
    (letter,) = plane.dead()
    assert (letter["text"], letter["voice"]) == (text, "nobody")
    assert "dead_cut" not in letter


def test_a_dead_letter_names_what_it_does_not_hold_whole(plane: Plane) -> None:
    plane.publish(text="x" * (MAX_FIELD_BYTES + 1), **{f"f{n}" + "n" * 5000: "y" * 4097 for n in range(100)})
    plane.settle(plane.claim_one(), "dead", "text_too_long")
    (letter,) = plane.dead()
    assert len(letter) == 5 + 64
    assert letter["dead_cut"].split(" ")[0] == "text"
    assert letter["dead_cut"].split(" ")[-1] == "*"
    assert letter["text"] == "x" * 4096


def test_dead_letters_are_written_for_dead_jobs_only(plane: Plane) -> None:
    plane.publish("s1"), plane.publish("s2"), plane.publish("s3")
    for lease, verdict in zip(plane.claim().leases, ("ok", "retry", "release"), strict=True):
        plane.settle(lease, verdict, 0)
    assert plane.dead() == []


def test_there_are_ten_thousand_dead_letters_at_most(plane: Plane) -> None:
    fill = "for i = 1, 10300 do redis.call('XADD', KEYS[1], '*', 'a', 'b') end"
    plane.call("EVAL", fill, 1, plane.keys.dead)
    plane.publish()
    plane.settle(plane.claim_one(), "dead", "why")
    assert plane.client.xlen(plane.keys.dead) <= 10_200


def test_a_settlement_passes_on_only_a_gate_that_names_it(plane: Plane) -> None:
    first, second, third = plane.publish(), plane.publish(), plane.publish()
    lease = plane.claim().leases[0]
    plane.client.hset(plane.key("gates"), "s1", second)
    plane.settle(lease)
    assert plane.gates() == {"s1": second}
    assert plane.ready() == []
    assert first not in plane.unsettled()
    assert third in plane.unsettled()


def test_an_entry_without_a_session_is_settled_too(plane: Plane) -> None:
    plane.publish(None, text="x")
    assert plane.settle(plane.claim_one(), "dead", "invalid_field") == "OK"
    assert plane.unsettled() == []
