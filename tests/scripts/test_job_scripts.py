"""CLAIM: which jobs may run, in which order, and which fields a worker receives."""

from __future__ import annotations

import pytest

from tests.scripts.plane import MAX_FIELD_BYTES, Plane, numbers

SEQ_PAST_DOUBLES = 2**53 + 1


def test_a_claim_gives_what_a_worker_needs(plane: Plane) -> None:
    entry_id = plane.publish(text="Hello.", job_id="j1")
    before = plane.now_ms()
    claim = plane.claim()
    (lease,) = claim.leases
    assert (lease.entry_id, lease.attempt, lease.session_id) == (entry_id, 1, "s1")
    assert lease.fields == ("text", "Hello.", "job_id", "j1", "session_id", "s1")
    assert int(lease.fence) >= before
    assert before <= claim.now_ms <= plane.now_ms()
    assert plane.pending() == [(entry_id, "w1")]
    assert plane.gates() == {"s1": entry_id}


def test_a_claim_of_nothing_is_empty_and_waits_for_the_doorbell(plane: Plane) -> None:
    claim = plane.claim()
    assert claim.leases == ()
    assert (claim.last_job, claim.last_bell, claim.wait_ms, claim.n_duplicates) == ("0-0", "0-0", -1, 0)


def test_a_claim_of_a_job_needs_the_group(plane: Plane) -> None:
    plane.client.delete(plane.keys.jobs)
    plane.publish()
    with pytest.raises(Exception, match="NOGROUP"):
        plane.claim()


def test_a_claim_gives_no_more_than_there_are_slots_and_in_the_order_published(plane: Plane) -> None:
    ids = [plane.publish(f"s{n}") for n in range(5)]
    assert plane.claim(count=2).ids == ids[:2]
    assert plane.claim(count=2).ids == ids[2:4]
    assert plane.claim(count=0).ids == []
    assert plane.claim(count=2).ids == ids[4:]


def test_the_last_ids_name_what_came_last_and_not_what_is_left(plane: Plane) -> None:
    plane.publish()
    last = plane.publish("s2")
    for lease in plane.claim().leases:
        plane.settle(lease)
    plane.publish("s3")
    lease = plane.claim_one()
    plane.settle(lease, "release")
    claim = plane.claim(count=0)
    assert numbers(claim.last_job) > numbers(last)
    assert claim.last_bell == plane.call("XREVRANGE", plane.keys.bell, "+", "-", "COUNT", 1)[0][0]


def test_only_one_job_of_a_session_runs_and_the_others_wait(plane: Plane) -> None:
    first, second = plane.publish(), plane.publish()
    other = plane.publish("s2")
    claim = plane.claim()
    assert claim.ids == [first, other]
    assert plane.waiting() == [f"s1 {_padded(second)}"]
    assert second in plane.unsettled()
    assert second not in [entry_id for entry_id, _ in plane.pending()]
    assert plane.claim("w2").ids == []


def test_the_next_of_a_session_runs_when_the_first_is_settled(plane: Plane) -> None:
    first, second, third = plane.publish(), plane.publish(), plane.publish()
    lease = plane.claim_one()
    assert plane.claim().ids == []
    plane.settle(lease)
    assert plane.ready() == [second]
    assert plane.gates() == {"s1": second}
    lease = plane.claim_one("w2")
    assert lease.entry_id == second
    plane.settle(lease)
    assert plane.claim().ids == [third]
    assert first not in plane.unsettled()


@pytest.mark.parametrize(
    "ids",
    [
        ("99-9", "99-10", "100-0", "1000-0"),
        (f"5-{SEQ_PAST_DOUBLES - 1}", f"5-{SEQ_PAST_DOUBLES}", f"5-{SEQ_PAST_DOUBLES + 1}"),
        ("5-9", f"5-{2**64 - 1}", f"6-{2**63}", f"{2**53 + 1}-0"),
    ],
)
def test_waiting_entries_take_their_turns_by_number_whatever_their_length(plane: Plane, ids: tuple[str, ...]) -> None:
    for entry_id in ids:
        plane.publish(entry_id=entry_id)
    spoken = []
    while plane.unsettled():
        (lease,) = plane.claim().leases
        spoken.append(lease.entry_id)
        plane.settle(lease)
    assert spoken == list(ids)


def test_sessions_whose_names_are_alike_do_not_share_a_queue(plane: Plane) -> None:
    names = ["s", "s.", "s-", "s:", "s_", "s1", "S", "s10"]
    firsts = [plane.publish(name) for name in names]
    seconds = [plane.publish(name) for name in names]
    claim = plane.claim()
    assert claim.ids == firsts
    assert plane.claim().ids == []
    plane.settle(claim.leases[0])
    assert plane.claim().ids == seconds[:1]


def test_lost_gates_are_made_again_so_that_no_later_job_overtakes_one_that_has_begun(plane: Plane) -> None:
    ids = [plane.publish() for _ in range(3)]
    running = plane.claim().leases[0]
    plane.client.delete(plane.key("gates"))
    newest = plane.publish()
    assert plane.claim("w2").ids == []
    assert plane.gates() == {"s1": ids[0]}
    assert plane.waiting() == [f"s1 {_padded(entry_id)}" for entry_id in (*ids[1:], newest)]
    plane.settle(running)
    assert plane.claim("w2").ids == [ids[1]]


def test_a_gate_that_names_an_entry_that_is_gone_is_free(plane: Plane) -> None:
    first, second = plane.publish(), plane.publish()
    plane.claim(count=1)
    plane.client.xdel(plane.keys.jobs, first)
    assert plane.claim("w2").ids == [second]


def test_waiting_entries_that_are_gone_are_passed_over(plane: Plane) -> None:
    _, second, third = (plane.publish() for _ in range(3))
    lease = plane.claim().leases[0]
    plane.client.xdel(plane.keys.jobs, second)
    plane.settle(lease)
    assert plane.claim().ids == [third]
    assert plane.waiting() == []


@pytest.mark.parametrize(
    "session_id",
    [None, "", " ", "a b", "a!", "a/b", "ä", "x" * 129, "a\nb", b"a\0b", b"\xff", "{speak}"],
)
def test_an_entry_without_a_usable_session_is_given_without_a_session_or_a_gate(
    plane: Plane, session_id: str | bytes | None
) -> None:
    entry_id = plane.publish(session_id, text="Hello.")
    (lease,) = plane.claim().leases
    assert (lease.entry_id, lease.session_id) == (entry_id, "")
    assert plane.gates() == {}
    assert plane.waiting() == []


@pytest.mark.parametrize("session_id", ["a", "A.b_c:d-9", "x" * 128, "speak", "-", "."])
def test_every_session_id_of_the_contract_is_usable(plane: Plane, session_id: str) -> None:
    plane.publish(session_id)
    assert plane.claim_one().session_id == session_id


def test_only_fields_of_the_contract_are_given(plane: Plane) -> None:
    plane.publish(**{f"field{n}": "x" for n in range(60)})
    assert plane.claim_one().fields == ("text", "1", "session_id", "s1")


def test_of_an_entry_with_five_thousand_fields_enough_names_are_given_to_show_it(plane: Plane) -> None:
    plane.publish(**{f"field{n}": "x" * 1000 for n in range(5000)})
    lease = plane.claim_one()
    assert 2 * 64 < len(lease.fields) <= 2 * (64 + 12 + 1)
    assert (lease.field("text"), lease.field("session_id"), lease.field("field0")) == ("1", "s1", "")
    assert plane.settle(lease, "dead", "invalid_field") == "OK"
    assert plane.unsettled() == []


def test_a_huge_field_is_cut_but_still_seen_as_too_long(plane: Plane) -> None:
    plane.client.config_set("proto-max-bulk-len", "512mb")
    plane.publish(text="x" * 10_000_000, voice="y" * MAX_FIELD_BYTES)
    lease = plane.claim_one()
    assert lease.field("text") == "x" * MAX_FIELD_BYTES
    assert lease.field("voice") == "y" * MAX_FIELD_BYTES
    assert plane.settle(lease, "dead", "text_too_long") == "OK"
    assert plane.dead()[0]["text"] == "x" * 4096


def test_bytes_that_are_no_text_are_given_as_they_are(plane: Plane) -> None:
    plane.publish(text=b"\xff\x00\xfe")
    assert plane.claim_one().field("text") == b"\xff\x00\xfe".decode("utf-8", "surrogateescape")


def test_ready_and_new_entries_take_turns_and_the_caller_says_which_is_first(plane: Plane) -> None:
    old = _make_ready(plane, 3)
    new = [plane.publish(f"new{n}") for n in range(3)]
    assert plane.claim(count=3, turn=0).ids == [old[0], new[0], old[1]]
    assert plane.claim(count=3, turn=1).ids == [new[1], old[2], new[2]]


def test_a_flood_of_new_jobs_keeps_no_ready_one_waiting(plane: Plane) -> None:
    (old,) = _make_ready(plane, 1)
    for n in range(100):
        plane.publish(f"new{n}")
    assert old in plane.claim(count=2).ids


def test_a_claim_does_a_bounded_amount_of_work_and_says_that_there_is_more(plane: Plane) -> None:
    for _ in range(450):
        plane.publish()
    plane.publish("s2")
    claim = plane.claim("w1", 2)
    assert len(claim.ids) == 1
    n_waiting, n_calls = len(plane.waiting()), 1
    assert 0 < n_waiting <= 64
    while claim.wait_ms == 0:
        claim, n_calls = plane.claim("w2", 1), n_calls + 1
        assert len(plane.waiting()) <= n_waiting + 64
        n_waiting = len(plane.waiting())
    assert claim.leases[0].session_id == "s2"
    assert claim.wait_ms == -1
    assert n_calls >= 3


def test_stale_ids_in_ready_are_cleared_without_giving_anything(plane: Plane) -> None:
    running, delayed = plane.publish("s1"), plane.publish("s2")
    leases = plane.claim("w1").leases
    plane.settle(leases[1], "retry", 60_000)
    gone = plane.publish("s3")
    plane.settle(plane.claim_one())
    plane.client.rpush(plane.key("ready"), running, delayed, gone, running)
    assert plane.claim("w2").ids == []
    assert plane.ready() == []
    assert plane.pending() == [(running, "w1")]


def test_a_retry_comes_when_it_is_due_and_wait_ms_says_when(plane: Plane) -> None:
    entry_id = plane.publish()
    plane.settle(plane.claim_one(), "retry", 5000)
    claim = plane.claim()
    assert claim.ids == []
    assert 4000 < claim.wait_ms <= 5000
    plane.client.zadd(plane.key("delayed"), {entry_id: claim.now_ms})
    claim = plane.claim()
    assert (claim.ids, claim.wait_ms) == ([entry_id], -1)
    assert claim.leases[0].attempt == 2
    assert plane.client.zcard(plane.key("delayed")) == 0


def test_wait_ms_is_never_zero_for_what_is_overdue_but_over_the_hundred_of_a_call(plane: Plane) -> None:
    plane.client.zadd(plane.key("delayed"), {f"{n}-0": 1 for n in range(1, 151)})
    claim = plane.claim(count=5)
    assert claim.wait_ms in (0, 1)
    assert plane.client.zcard(plane.key("delayed")) == 50
    plane.claim(count=5)
    assert plane.client.zcard(plane.key("delayed")) == 0


def test_a_delayed_job_keeps_its_gate(plane: Plane) -> None:
    first, _ = plane.publish(), plane.publish()
    plane.settle(plane.claim_one(), "retry", 60_000)
    assert plane.claim().ids == []
    assert plane.gates() == {"s1": first}


def test_a_group_made_again_gives_no_delayed_job_before_its_time(plane: Plane) -> None:
    plane.publish()
    plane.settle(plane.claim_one(), "retry", 60_000)
    plane.recreate_group()
    assert plane.claim().ids == []
    assert plane.pending() == []


def test_every_claim_raises_the_fence_even_within_a_millisecond_or_after_a_clock_set_back(
    plane: Plane,
) -> None:
    entry_id = plane.publish()
    ahead = plane.now_ms() + 1_000_000
    plane.client.hset(plane.key("attempts"), entry_id, f"0 {ahead}")
    lease = plane.claim_one()
    assert int(lease.fence) == ahead + 1
    plane.settle(lease, "release")
    assert int(plane.claim_one().fence) > ahead + 2


def _padded(entry_id: str) -> str:
    ms, seq = entry_id.split("-")
    return f"{ms:0>20}-{seq:0>20}"


def _make_ready(plane: Plane, n: int) -> list[str]:
    ids = [plane.publish(f"old{i}") for i in range(n)]
    for lease in plane.claim().leases:
        plane.settle(lease, "release")
    return ids
