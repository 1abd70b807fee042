"""CLAIM: a job published twice in a session is one job."""

from __future__ import annotations

import pytest

from tests.scripts.plane import Plane


def test_entries_without_a_session_do_not_wait_for_each_other_and_are_never_duplicates(plane: Plane) -> None:
    ids = [plane.publish(None, job_id="j1"), plane.publish("not one", job_id="j1"), plane.publish(None)]
    claim = plane.claim()
    assert claim.ids == ids
    assert claim.n_duplicates == 0


def test_a_job_published_twice_in_a_session_is_one_job(plane: Plane) -> None:
    first = plane.publish(job_id="j1")
    plane.publish(job_id="j1")
    claim = plane.claim()
    assert (claim.ids, claim.n_duplicates) == ([first], 1)
    assert plane.unsettled() == [first]
    assert len(plane.pending()) == 1


def test_a_duplicate_of_a_settled_job_is_given_with_the_entry_that_it_repeats(plane: Plane) -> None:
    first = plane.publish(job_id="j1")
    plane.settle(plane.claim_one())
    again = plane.publish(job_id="j1")
    lease = plane.claim_one()
    assert (lease.entry_id, lease.repeats) == (again, first)


def test_a_job_that_may_come_again_is_no_duplicate_then(plane: Plane) -> None:
    plane.publish(job_id="j1")
    plane.settle(plane.claim_one(), "dead", "expired", may_come_again=True)
    again = plane.publish(job_id="j1")
    plane.publish(job_id="j1")
    claim = plane.claim()
    assert (claim.ids, claim.n_duplicates, claim.leases[0].repeats) == ([again], 1, "")


@pytest.mark.parametrize("may_come_again", [True, False])
def test_what_is_published_again_while_a_retryable_end_is_written_waits_for_the_settlement(
    may_come_again: bool, plane: Plane
) -> None:
    first_id = plane.publish(job_id="j1")
    first = plane.claim_one()
    plane.announce_end(first)
    again, third = plane.publish(job_id="j1"), plane.publish(job_id="j1")
    waiting = plane.claim()
    assert (waiting.ids, waiting.n_duplicates) == ([], 0)
    plane.settle(first, "dead" if may_come_again else "ok", "", may_come_again=may_come_again)
    second = plane.claim_one()
    assert (second.entry_id, second.repeats) == (again, "" if may_come_again else first_id)
    plane.publish(job_id="j1")
    assert plane.claim().n_duplicates == int(may_come_again)  # of the second; or it repeats the first too
    plane.settle(second)
    last = plane.claim_one()
    assert (last.entry_id, last.repeats) == (third, again if may_come_again else first_id)


def test_of_two_that_were_published_again_the_earlier_one_is_the_job(plane: Plane) -> None:
    plane.publish(job_id="j1")
    first = plane.claim_one()
    plane.announce_end(first)
    again = plane.publish(job_id="j1")
    assert plane.claim().ids == []
    plane.settle(first, "dead", "expired", may_come_again=True)
    later = plane.publish(job_id="j1")  # is looked at before the one that became ready
    second = plane.claim_one()
    assert (second.entry_id, second.repeats) == (again, "")
    plane.settle(second)
    third = plane.claim_one()
    assert (third.entry_id, third.repeats) == (later, again)


def test_the_same_job_id_in_two_sessions_is_two_jobs(plane: Plane) -> None:
    ids = [plane.publish("s1", job_id="j1"), plane.publish("s2", job_id="j1")]
    assert plane.claim().ids == ids


def test_of_a_repeated_field_the_first_counts_for_the_session_and_for_duplicates(plane: Plane) -> None:
    jobs = plane.keys.jobs
    first = plane.call("XADD", jobs, "*", "session_id", "a", "session_id", "b", "job_id", "1", "job_id", "2")
    plane.call("XADD", jobs, "*", "session_id", "a", "job_id", "1", "text", "again")
    second = plane.call("XADD", jobs, "*", "session_id", "a", "job_id", "2")
    claim = plane.claim()
    assert (claim.ids, claim.n_duplicates) == ([first], 1)
    # Given again without their second values, so that the worker can refuse the job.
    assert claim.leases[0].fields == ("session_id", "a", "session_id", "", "job_id", "1", "job_id", "")
    assert plane.gates() == {"a": first}
    plane.settle(claim.leases[0])
    assert plane.claim().ids == [second]
    assert plane.gates() == {"a": second}


def test_what_was_seen_is_remembered_for_a_day(plane: Plane) -> None:
    entry_id = plane.publish(job_id="j1")
    plane.claim()
    (key,) = plane.client.scan_iter(f"{plane.keys.seen_prefix}*")
    assert plane.client.get(key) == entry_id
    assert 86_390_000 < plane.client.pttl(key) <= 86_400_000


def test_a_group_made_again_does_not_take_a_job_for_its_own_duplicate(plane: Plane) -> None:
    entry_id = plane.publish(job_id="j1")
    plane.claim()
    plane.recreate_group()
    assert plane.claim("w2").ids == []
    plane.sweep()
    claim = plane.claim("w2")
    assert (claim.ids, claim.n_duplicates) == ([entry_id], 0)
    assert claim.leases[0].attempt == 2
