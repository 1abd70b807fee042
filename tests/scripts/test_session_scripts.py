"""BEGIN: each epoch is above the one before, and starts from the delivered samples."""

from __future__ import annotations

from dataclasses import replace

import pytest
import redis

from tests.scripts.plane import Plane, a_lease
from tests.scripts.utterances import KINDS, TTL_MS, begin, counted, forget_stream, speak, taken_over

UPTO_EVERYTHING = 2**64 - 1


@pytest.fixture
def plane(session_plane: Plane) -> Plane:
    return session_plane


def test_begin_opens_an_epoch_with_the_first_entry_of_the_utterance(plane: Plane) -> None:
    before = plane.now_ms()
    kind, epoch, fruitless, now_ms = plane.begin(a_lease(job_id="j1"), body=b"\xff\x00body")
    assert (kind, fruitless) == ("OK", 1)
    assert before <= int(epoch) <= plane.now_ms()
    assert before <= int(now_ms) <= plane.now_ms()
    ((entry_id, fields),) = plane.heard("s1")
    assert entry_id == f"{epoch}-0"
    data = b"\xff\x00body".decode("utf-8", "surrogateescape")
    assert list(fields.items()) == [
        ("type", "begin"),
        ("job_id", "j1"),
        ("entry", "1000-0"),
        ("delivered", "0"),
        ("data", data),
        ("at", now_ms),
    ]


def test_begin_makes_every_key_expire(plane: Plane) -> None:
    lease = a_lease()
    begin(plane, lease)
    for key in (plane.keys.audio("s1"), plane.keys.job("s1", lease.entry_id)):
        assert TTL_MS - 5000 < plane.client.pttl(key) <= TTL_MS


def test_a_chunk_renews_the_jobs_life_also_while_a_relay_renews_the_streams(plane: Plane) -> None:
    lease = a_lease()
    epoch = begin(plane, lease)
    job, audio = plane.keys.job("s1", lease.entry_id), plane.keys.audio("s1")
    plane.client.pexpire(job, 100_000)
    plane.client.pexpire(audio, TTL_MS)
    plane.append(lease, f"{epoch}-0", f"{epoch}-1", 10)
    assert plane.client.pttl(job) > TTL_MS - 5000


def test_begin_renews_a_short_life_and_leaves_a_longer_one(plane: Plane) -> None:
    audio = plane.keys.audio("s1")
    begin(plane, a_lease(entry_id="1-0"))
    plane.client.pexpire(audio, 10_000)
    begin(plane, a_lease(entry_id="2-0"))
    assert plane.client.pttl(audio) > TTL_MS - 5000
    plane.client.pexpire(audio, 2 * TTL_MS)
    begin(plane, a_lease(entry_id="3-0"))
    assert plane.client.pttl(audio) > TTL_MS


def test_epochs_rise_within_a_millisecond_after_a_clock_set_back_and_with_the_fence(plane: Plane) -> None:
    epochs = [int(begin(plane, a_lease(entry_id=f"{n}-0"))) for n in range(1, 20)]
    assert epochs == sorted(set(epochs))
    ahead = plane.now_ms() + 1_000_000
    assert int(begin(plane, a_lease(entry_id="30-0", fence=ahead))) == ahead
    assert int(begin(plane, a_lease(entry_id="31-0", fence=1))) == ahead + 1
    plane.call("XADD", plane.keys.audio("s1"), f"{ahead + 5}-77", "type", "cancel")
    assert int(begin(plane, a_lease(entry_id="32-0"))) == ahead + 6


def test_a_new_epoch_refuses_the_writer_of_an_older_one(plane: Plane) -> None:
    old = a_lease()
    epoch, delivered, at = speak(plane, old)
    begin(plane, taken_over(old), delivered)
    assert plane.write(old, at, delivered + 10)[0] == "STALE"
    assert plane.types("s1") == ["begin", "audio", "audio", "begin"]
    assert epoch == at.split("-")[0]


def test_a_begun_job_is_stale_for_a_lower_fence(plane: Plane) -> None:
    old = a_lease(fence=5)
    begin(plane, taken_over(old))
    assert plane.begin(old) == ["FENCED"]
    assert plane.types("s1") == ["begin"]


def test_the_same_attempt_may_begin_again(plane: Plane) -> None:
    lease = a_lease()
    assert int(begin(plane, lease)) < int(begin(plane, lease))


def test_begin_says_what_was_delivered_and_writes_nothing_when_the_writer_believes_otherwise(
    plane: Plane,
) -> None:
    old = a_lease()
    _, delivered, _ = speak(plane, old, 3)
    new = taken_over(old)
    before = plane.heard("s1"), plane.client.hgetall(plane.keys.job("s1", old.entry_id))
    assert plane.begin(new, 0) == ["MOVED", str(delivered), 2, 1]
    assert (plane.heard("s1"), plane.client.hgetall(plane.keys.job("s1", old.entry_id))) == before
    begin(plane, new, delivered)
    assert plane.heard("s1")[-1][1]["delivered"] == str(delivered)


def test_a_job_that_never_began_has_delivered_nothing_whatever_is_on_the_stream(plane: Plane) -> None:
    speak(plane, a_lease(entry_id="1-0"))
    assert plane.begin(a_lease(entry_id="2-0"), 20) == ["MOVED", "0", 1, 1]


def test_what_was_delivered_is_found_behind_many_cancels(plane: Plane) -> None:
    old = a_lease(entry_id="1000-0")
    _, delivered, _ = speak(plane, old)
    for _ in range(30):
        plane.cancel("s1", "999-0")
    assert plane.begin(taken_over(old))[:2] == ["MOVED", str(delivered)]


def test_attempts_count_from_the_last_one_that_delivered_new_samples(plane: Plane) -> None:
    first = a_lease(fence=10)
    assert counted(plane, first) == (1, 1)
    second = taken_over(first)
    assert counted(plane, second) == (2, 2)
    third = taken_over(second)
    assert counted(plane, third) == (3, 3)
    plane.write(third, f"{begin(plane, third)}-1", 10)
    fourth = taken_over(third)
    assert counted(plane, fourth, 10) == (4, 1)
    fifth = taken_over(fourth)
    assert counted(plane, fifth, 10) == (2, 2)
    plane.write(fifth, f"{begin(plane, fifth, 10)}-1", 20)
    assert counted(plane, taken_over(fifth), 20) == (3, 1)


def test_a_begin_whose_reply_was_lost_counts_the_same_when_sent_again(plane: Plane) -> None:
    first = a_lease()
    _, delivered, _ = speak(plane, first)
    second = taken_over(first)
    assert [counted(plane, second, delivered)[1] for _ in range(3)] == [1, 1, 1]
    assert counted(plane, taken_over(second), delivered) == (2, 2)


def test_an_attempt_that_had_to_begin_again_keeps_what_it_delivered_before_that(plane: Plane) -> None:
    first = a_lease()
    _, delivered, _ = speak(plane, first)
    begin(plane, first, delivered)
    assert counted(plane, taken_over(first), delivered) == (2, 1)


def test_a_lost_count_makes_no_attempt_below_the_first(plane: Plane) -> None:
    lease = a_lease()
    delivered = 0
    for _ in range(3):
        _, delivered, _ = speak(plane, lease, believed=delivered)
        lease = taken_over(lease)
    begin(plane, lease, delivered)
    assert counted(plane, replace(lease, attempt=1, fence=str(int(lease.fence) + 1)), delivered) == (1, 1)


def test_a_job_dies_after_three_attempts_without_a_new_sample_whatever_it_delivered_before(plane: Plane) -> None:
    lease, delivered = a_lease(), 0
    for _ in range(4):
        _, delivered, _ = speak(plane, lease, believed=delivered)
        lease = taken_over(lease)
    for _ in range(3):
        begin(plane, lease, delivered)
        lease = taken_over(lease)
    assert plane.begin(lease, delivered) == ["SPENT", str(delivered)]
    assert plane.begin(taken_over(lease)) == ["SPENT", str(delivered)]


def test_a_job_that_never_began_is_spent_after_three_attempts(plane: Plane) -> None:
    assert plane.begin(replace(a_lease(), attempt=4)) == ["SPENT", "0"]
    begin(plane, replace(a_lease(), attempt=3))


def test_a_job_that_waited_too_long_has_expired(plane: Plane) -> None:
    lease = a_lease()
    assert plane.begin(lease, deadline_ms=plane.now_ms() - 1) == ["EXPIRED"]
    assert plane.heard("s1") == []
    assert plane.begin(lease, deadline_ms=plane.now_ms() + 10_000)[0] == "OK"


def test_the_time_for_which_the_sessions_earlier_job_was_held_does_not_count(plane: Plane) -> None:
    """Published 60 s ago, behind a job that waited 40 s for its listener and ended only now."""
    first = a_lease()
    plane.begin(first)
    plane.end(first, "cancelled", held="40000")
    published_ms = plane.now_ms() - 60_000
    behind = replace(first, entry_id=f"{published_ms}-1")
    assert plane.begin(behind, deadline_ms=published_ms + 10_000) == ["EXPIRED"], "it waited 20 s for other reasons"
    assert plane.begin(behind, deadline_ms=published_ms + 30_000)[0] == "OK"


@pytest.mark.parametrize("has_begun", [True, False])
def test_the_time_for_which_the_job_before_the_earlier_one_was_held_does_not_count_either(
    plane: Plane, has_begun: bool
) -> None:
    """All were published 60 s ago. The one between was not held itself, and may have been cancelled in the queue."""
    first = a_lease()
    plane.begin(first)
    plane.end(first, "cancelled", held="40000")
    published_ms = plane.now_ms() - 60_000
    between, last = (replace(first, entry_id=f"{published_ms}-{n}") for n in (1, 2))
    if has_begun:
        assert plane.begin(between, deadline_ms=published_ms + 30_000)[0] == "OK"
    plane.end(between, "cancelled")
    assert plane.begin(last, deadline_ms=published_ms + 10_000) == ["EXPIRED"], "it waited 20 s for other reasons"
    assert plane.begin(last, deadline_ms=published_ms + 30_000)[0] == "OK"


def test_only_the_wait_that_a_job_shared_counts_as_held(plane: Plane) -> None:
    first = a_lease()
    plane.begin(first)
    plane.end(first, "cancelled", held="40000")
    published_ms = plane.now_ms() - 5_000
    behind = replace(first, entry_id=f"{published_ms}-1")
    assert plane.begin(behind, deadline_ms=published_ms - 30_000) == ["EXPIRED"]


def test_a_job_that_began_never_expires(plane: Plane) -> None:
    lease = a_lease()
    begin(plane, lease)
    assert plane.begin(taken_over(lease), deadline_ms=1)[0] == "OK"


@pytest.mark.parametrize(
    ("job", "upto", "is_cut"),
    [
        ("1000-0", "1000-0", True),
        ("1000-0", "999-18446744073709551615", False),
        ("1000-5", "1000-4", False),
        ("1000-5", "1000-10", True),
        ("999-9", "1000-0", True),
        ("1000-0", "999-9", False),
        (f"1000-{2**53 + 1}", f"1000-{2**53}", False),
        (f"1000-{2**53}", f"1000-{2**53 + 1}", True),
        ("1000-77", f"1000-{UPTO_EVERYTHING}", True),
        (f"1000-{UPTO_EVERYTHING}", f"1000-{UPTO_EVERYTHING}", True),
        ("1001-0", f"1000-{UPTO_EVERYTHING}", False),
    ],
)
def test_a_cut_holds_for_every_job_up_to_its_id_and_no_later_one(
    plane: Plane, job: str, upto: str, is_cut: bool
) -> None:
    plane.cancel("s1", upto)
    answer = plane.begin(a_lease(entry_id=job))
    assert answer == ["CANCELLED", "0"] if is_cut else answer[0] == "OK"


def test_a_cut_is_never_lowered(plane: Plane) -> None:
    plane.cancel("s1", "2000-0")
    refused = plane.cancel("s1", "1000-0")
    assert isinstance(refused[0], redis.ResponseError)
    assert plane.begin(a_lease(entry_id="1500-0")) == ["CANCELLED", "0"]


def test_a_cancelled_job_is_cut_before_it_is_expired_spent_or_moved(plane: Plane) -> None:
    lease = a_lease()
    plane.cancel("s1", lease.entry_id)
    assert plane.begin(replace(lease, attempt=4), believed=5, deadline_ms=1) == ["CANCELLED", "0"]


def test_a_cut_says_how_much_was_delivered_and_closes_the_job_to_lower_fences(plane: Plane) -> None:
    old = a_lease()
    _, delivered, _ = speak(plane, old)
    plane.cancel("s1", old.entry_id)
    assert plane.begin(taken_over(old)) == ["CANCELLED", str(delivered)]
    assert plane.begin(old) == ["FENCED"]
    assert plane.end(old, "error") == ["FENCED"]
    assert TTL_MS - 5000 < plane.client.pttl(plane.keys.job("s1", old.entry_id)) <= TTL_MS


def test_a_late_cancel_of_an_older_job_lets_a_newer_one_go_on(plane: Plane) -> None:
    older, newer = a_lease(entry_id="1000-0"), a_lease(entry_id="1001-0")
    plane.end(older, "error")
    epoch, delivered, at = speak(plane, newer)
    plane.cancel("s1", older.entry_id, int(epoch) + 1)
    assert plane.write(newer, at, delivered + 10)[0] == "STALE"
    assert plane.begin(newer, delivered)[0] == "OK"


def test_a_listener_that_left_is_gone_only_for_a_job_that_began(plane: Plane) -> None:
    lease = a_lease()
    begin(plane, lease)
    forget_stream(plane)
    assert plane.begin(taken_over(lease)) == ["GONE"]
    assert not plane.client.exists(plane.keys.audio("s1"))
    assert plane.begin(a_lease(entry_id="2000-0"))[0] == "OK"


@pytest.mark.parametrize("trim", ["XTRIM", "another job"])
def test_a_job_of_which_no_entry_is_left_is_lost(plane: Plane, trim: str) -> None:
    lease = a_lease()
    begin(plane, lease)
    if trim == "XTRIM":
        plane.call("XTRIM", plane.keys.audio("s1"), "MAXLEN", 0)
    else:
        forget_stream(plane)
        speak(plane, a_lease(entry_id="2000-0"), 20)
    assert plane.begin(taken_over(lease)) == ["LOST"]


def test_a_cut_job_of_which_no_entry_is_left_has_delivered_nothing_it_knows_of(plane: Plane) -> None:
    lease = a_lease()
    speak(plane, lease)
    plane.cancel("s1", lease.entry_id)
    plane.call("XTRIM", plane.keys.audio("s1"), "MAXLEN", 0)
    assert plane.begin(taken_over(lease)) == ["CANCELLED", "0"]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_begins_after_its_end(plane: Plane, kind: str) -> None:
    lease = a_lease()
    _, delivered, at = speak(plane, lease)
    assert plane.end(lease, kind, at, delivered) == ["OK", kind]
    before = plane.heard("s1")
    plane.cancel("s1", lease.entry_id)
    assert plane.begin(taken_over(lease)) == ["DONE", kind]
    assert plane.begin(lease) == ["DONE", kind]
    assert plane.heard("s1")[: len(before)] == before
