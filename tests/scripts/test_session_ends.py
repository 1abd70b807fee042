"""END: one terminal entry, whichever worker dies at any time."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.scripts.plane import Plane, a_lease, numbers
from tests.scripts.utterances import KINDS, TTL_MS, begin, forget_stream, speak, taken_over


@pytest.fixture
def plane(session_plane: Plane) -> Plane:
    return session_plane


def test_complete_follows_the_writers_last_entry(plane: Plane) -> None:
    lease = a_lease(job_id="j1")
    epoch, delivered, at = speak(plane, lease)
    assert plane.end(lease, "complete", at, delivered, body=b"\xfe\x00") == ["OK", "complete"]
    entry_id, fields = plane.heard("s1")[-1]
    assert entry_id == f"{epoch}-3"
    assert list(fields.items())[:-1] == [
        ("type", "complete"),
        ("job_id", "j1"),
        ("entry", "1000-0"),
        ("delivered", "20"),
        ("data", b"\xfe\x00".decode("utf-8", "surrogateescape")),
    ]


def test_an_error_carries_its_code_and_message_beside_the_data(plane: Plane) -> None:
    lease = a_lease()
    assert plane.end(lease, "error", code="no_audio", message="no sound") == ["OK", "error"]
    fields = plane.heard("s1")[-1][1]
    assert list(fields)[4:] == ["data", "code", "message", "at"]
    assert (fields["code"], fields["message"]) == ("no_audio", "no sound")


@pytest.mark.parametrize("at", ["", "1-1"])
def test_complete_without_an_epoch_of_its_own_is_not_written(plane: Plane, at: str) -> None:
    lease = a_lease()
    assert plane.end(lease, "complete") == ["REWOUND"]
    _, delivered, _ = speak(plane, lease)
    assert plane.end(lease, "complete", at, delivered)[0] == "STALE"
    assert plane.types("s1") == ["begin", "audio", "audio"]


def test_an_end_behind_entries_that_are_gone_with_their_stream_is_not_written(plane: Plane) -> None:
    assert plane.end(a_lease(), "cancelled", "5-3") == ["REWOUND"]
    assert plane.heard("s1") == []


@pytest.mark.parametrize("kind", ["cancelled", "error"])
def test_an_attempt_does_not_end_its_job_on_a_stream_that_was_made_after_a_loss(plane: Plane, kind: str) -> None:
    old, again = a_lease(job_id="j1"), a_lease(entry_id="2000-0", job_id="j1")
    _, delivered, at = speak(plane, old)
    plane.client.flushall()
    speak(plane, again)
    assert plane.end(old, kind, at, delivered) == ["REWOUND"]
    assert plane.types("s1") == ["begin", "audio", "audio"]
    assert plane.end(again, kind) == ["OK", kind]


def test_a_job_that_redis_lost_begins_again_however_long_ago_it_was_published(plane: Plane) -> None:
    lease = a_lease()
    _, delivered, at = speak(plane, lease)
    plane.client.flushall()
    for _ in range(2):  # the first reply was lost
        assert plane.write(lease, at, delivered + 10) == ["REWOUND"]
    begin(plane, taken_over(lease, 4), deadline_ms=plane.now_ms() - 1)  # nor are the attempts of before counted
    assert plane.begin(a_lease(entry_id="2000-0"), deadline_ms=plane.now_ms() - 1) == ["EXPIRED"]


def test_a_job_that_redis_lost_and_a_client_cancelled_since_is_cancelled_at_its_next_begin(plane: Plane) -> None:
    lease = a_lease()
    _, delivered, at = speak(plane, lease)
    plane.client.flushall()
    plane.call("XADD", plane.keys.cut("s1"), lease.entry_id, "type", "cancel")
    plane.call("PEXPIRE", plane.keys.cut("s1"), TTL_MS)
    assert plane.write(lease, at, delivered + 10) == ["REWOUND"]
    assert plane.begin(taken_over(lease)) == ["CANCELLED", "0"]
    assert plane.end(taken_over(lease), "cancelled") == ["OK", "cancelled"]
    assert plane.types("s1") == ["cancelled"]


def test_a_lost_record_alone_keeps_no_job_from_its_end(plane: Plane) -> None:
    lease = a_lease()
    _, delivered, at = speak(plane, lease)
    plane.client.delete(plane.keys.job("s1", lease.entry_id))
    assert plane.end(lease, "cancelled", at, delivered) == ["OK", "cancelled"]
    assert plane.types("s1") == ["begin", "audio", "audio", "cancelled"]


def test_complete_is_not_written_when_a_cancel_or_an_unseen_entry_came_after_the_writers_last(
    plane: Plane,
) -> None:
    lease = a_lease()
    epoch, delivered, at = speak(plane, lease)
    assert plane.end(lease, "complete", f"{epoch}-2", delivered)[0] == "STALE"
    assert plane.end(lease, "complete", f"{epoch}-4", delivered)[0] == "STALE"
    plane.cancel("s1", "1-0", int(epoch) + 1)
    assert plane.end(lease, "complete", at, delivered)[0] == "STALE"
    assert plane.begin(lease, delivered)[0] == "OK"
    assert plane.client.hget(plane.keys.job("s1", lease.entry_id), "end") is None


@pytest.mark.parametrize("kind", ["cancelled", "error"])
def test_another_end_opens_an_epoch_when_the_writers_last_entry_is_not_the_tail(plane: Plane, kind: str) -> None:
    lease = a_lease()
    epoch, delivered, at = speak(plane, lease)
    plane.cancel("s1", lease.entry_id, int(epoch) + 1)
    assert plane.end(lease, kind, at, delivered) == ["OK", kind]
    entry_id, fields = plane.heard("s1")[-1]
    assert numbers(entry_id) >= (int(epoch) + 2, 0)
    assert entry_id.endswith("-0")
    assert fields["type"] == kind


@pytest.mark.parametrize("kind", ["cancelled", "error"])
def test_a_job_that_never_began_ends_on_a_stream_made_for_it(plane: Plane, kind: str) -> None:
    assert plane.end(a_lease(), kind) == ["OK", kind]
    assert plane.types("s1") == [kind]


def test_end_makes_every_key_expire(plane: Plane) -> None:
    lease = a_lease()
    plane.end(lease, "error")
    for key in (plane.keys.audio("s1"), plane.keys.job("s1", lease.entry_id)):
        assert TTL_MS - 5000 < plane.client.pttl(key) <= TTL_MS


@pytest.mark.parametrize("kind", KINDS)
def test_a_job_ends_once_and_whoever_asks_again_hears_how(plane: Plane, kind: str) -> None:
    lease = a_lease()
    _, delivered, at = speak(plane, lease)
    assert plane.end(lease, kind, at, delivered) == ["OK", kind]
    for asked in KINDS:
        assert plane.end(lease, asked, at, delivered) == ["DONE", kind]
        assert plane.end(taken_over(lease), asked) == ["DONE", kind]
    assert plane.types("s1").count(kind) == 1


def test_an_error_of_a_worker_that_could_not_begin_again_tells_what_was_delivered(plane: Plane) -> None:
    old = a_lease()
    _, delivered, _ = speak(plane, old)
    assert plane.end(taken_over(old), "error", code="unknown_voice", message="gone") == ["OK", "error"]
    _, fields = plane.heard("s1")[-1]
    assert (fields["type"], fields["delivered"]) == ("error", str(delivered))


@pytest.mark.parametrize("kind", KINDS)
def test_an_end_by_a_lower_fence_is_stale(plane: Plane, kind: str) -> None:
    old = a_lease()
    _, delivered, at = speak(plane, old)
    begin(plane, taken_over(old), delivered)
    assert plane.end(old, kind, at, delivered) == ["FENCED"]
    assert plane.types("s1")[-1] == "begin"


def test_a_job_completed_before_its_new_worker_began_is_done_for_that_worker(plane: Plane) -> None:
    old = a_lease()
    _, delivered, at = speak(plane, old)
    new = taken_over(old)
    assert plane.end(old, "complete", at, delivered) == ["OK", "complete"]
    assert plane.begin(new) == ["DONE", "complete"]
    assert plane.end(new, "error") == ["DONE", "complete"]


@pytest.mark.parametrize("kind", KINDS)
def test_after_a_listener_left_the_end_is_marked_and_nothing_is_written(plane: Plane, kind: str) -> None:
    lease = a_lease()
    _, delivered, at = speak(plane, lease)
    forget_stream(plane)
    assert plane.write(lease, at, delivered + 10) == ["GONE"]
    assert plane.end(lease, kind, at, delivered) == ["GONE", kind]
    assert not plane.client.exists(plane.keys.audio("s1"))
    assert plane.end(lease, kind, at, delivered) == ["DONE", kind]
    assert plane.begin(taken_over(lease)) == ["DONE", kind]


def test_every_key_a_cancel_writes_expires(plane: Plane) -> None:
    begin(plane, a_lease())
    plane.cancel("s1", "1000-0")
    assert TTL_MS - 5000 < plane.client.pttl(plane.keys.cut("s1")) <= TTL_MS


def test_a_cancel_of_a_session_without_a_stream_makes_none_and_still_cuts(plane: Plane) -> None:
    assert plane.cancel("s1", "1000-0")[2] is None
    assert plane.begin(a_lease()) == ["CANCELLED", "0"]
    assert plane.end(a_lease(), "cancelled") == ["OK", "cancelled"]


SCHEDULES = st.lists(
    st.tuples(
        st.sampled_from(["begin", "write", "end complete", "end error", "end cancelled", "cancel"]),
        st.integers(1, 3),
    ),
    max_size=25,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(SCHEDULES)
def test_any_attempts_at_a_job_in_any_order_leave_one_end_at_most_and_samples_without_a_gap(
    plane: Plane, schedule: list[tuple[str, int]]
) -> None:
    """Writers that continue after any answer: only stream IDs and scripts protect the stream."""
    plane.client.delete(*plane.session_keys("s1", "1000-0"))
    at: dict[int, tuple[int, int, int]] = {}  # epoch, n and delivered of the attempt with this fence
    for what, fence in schedule:
        lease = a_lease(fence=fence)
        epoch, n, delivered = at.get(fence, (0, 0, 0))
        if what == "begin":
            answer = plane.begin(lease, delivered)
            if answer[0] == "MOVED":
                delivered = int(answer[1])
                answer = plane.begin(lease, delivered, attempt=answer[2])
            if answer[0] == "OK":
                at[fence] = int(answer[1]), 1, delivered
        elif what == "cancel":
            plane.cancel("s1", "1000-0" if fence == 3 else "999-0")
        elif what == "write" and n:
            if plane.write(lease, f"{epoch}-{n}", delivered + 10)[0] in ("OK", "LANDED"):
                at[fence] = epoch, n + 1, delivered + 10
        elif what.startswith("end"):
            plane.end(lease, what.split()[1], f"{epoch}-{n}" if n else "", delivered)
    heard = plane.heard("s1")
    kinds = [fields["type"] for _, fields in heard]
    assert sum(kind in KINDS for kind in kinds) <= 1
    assert all(kind == "cancel" for kind in kinds[_first_end(kinds) + 1 :])
    delivered = 0
    for _, fields in heard:
        if fields["type"] == "audio":
            delivered += 10
        if fields["type"] in ("begin", "audio"):
            assert int(fields["delivered"]) == delivered


def _first_end(kinds: list[str]) -> int:
    return next((n for n, kind in enumerate(kinds) if kind in KINDS), len(kinds))
