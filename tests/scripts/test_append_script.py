"""APPEND: an entry lands after its writer's last one, or the answer gives the reason and the stream's tail."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from tests.scripts.plane import Plane, a_lease
from tests.scripts.utterances import TTL_MS, begin, forget_stream, speak, taken_over


def test_an_entry_follows_its_writers_last_one(plane: Plane) -> None:
    lease = a_lease()
    epoch = begin(plane, lease)
    assert plane.append(lease, f"{epoch}-0", f"{epoch}-1", 10) == ["OK"]
    stream_id, fields = plane.heard("s1")[-1]
    assert (stream_id, fields["type"], fields["delivered"]) == (f"{epoch}-1", "audio", "10")


def test_a_segments_entry_and_its_first_chunk_are_written_together(plane: Plane) -> None:
    lease = a_lease()
    epoch, delivered, _ = speak(plane, lease)
    assert plane.write(lease, f"{epoch}-4", delivered + 10, segment="first") == ["OK"]
    before, after = plane.heard("s1")[-2:]
    assert (before[0], before[1]["type"], before[1]["delivered"]) == (f"{epoch}-3", "segment", "20")
    assert (after[0], after[1]["type"], after[1]["delivered"]) == (f"{epoch}-4", "audio", "30")
    assert plane.write(lease, f"{epoch}-5", delivered + 20) == ["OK"]


def test_a_segments_entry_whose_reply_was_lost_has_landed_with_its_chunk(plane: Plane) -> None:
    lease = a_lease()
    epoch, delivered, _ = speak(plane, lease)
    at = f"{epoch}-4"
    assert plane.write(lease, at, delivered + 10, segment="first") == ["OK"]
    assert plane.write(lease, at, delivered + 10, segment="first") == ["LANDED"]
    plane.client.xtrim(plane.keys.audio("s1"), maxlen=0, approximate=False)
    assert plane.write(lease, at, delivered + 10, segment="first") == ["LANDED"]


def test_a_replaced_writer_writes_neither_a_segments_entry_nor_its_chunk(plane: Plane) -> None:
    old = a_lease()
    epoch, delivered, _ = speak(plane, old)
    begin(plane, taken_over(old), delivered)
    assert plane.write(old, f"{epoch}-4", delivered + 10, segment="first")[0] == "STALE"
    assert plane.types("s1") == ["begin", "audio", "audio", "begin"]


def test_every_entry_ends_with_the_servers_time(plane: Plane) -> None:
    lease, again = a_lease(), replace(a_lease(entry_id="1001-0", job_id="1000-0"), repeats="1000-0")
    before = plane.now_ms()
    epoch = begin(plane, lease)
    plane.write(lease, f"{epoch}-2", 10, segment="first")
    plane.end(lease, "complete", f"{epoch}-3", 10)
    time.sleep(0.002)  # so that the copy's time differs
    assert plane.repeat(again)[0] == "OK"
    entries = [fields for _, fields in plane.heard("s1")]
    assert [fields["type"] for fields in entries] == ["begin", "segment", "audio", "complete", "complete"]
    assert all(list(fields)[-1] == "at" for fields in entries)
    assert int(entries[-1]["at"]) > int(entries[-2]["at"]) >= before


def test_an_entry_whose_reply_was_lost_has_landed_and_is_not_written_twice(plane: Plane) -> None:
    lease = a_lease()
    _, delivered, at = speak(plane, lease)
    assert plane.write(lease, at, delivered + 10) == ["OK"]
    assert plane.write(lease, at, delivered + 10) == ["LANDED"]
    plane.client.xtrim(plane.keys.audio("s1"), maxlen=0, approximate=False)  # a relay trims what it has read
    assert plane.write(lease, at, delivered + 10) == ["LANDED"]


@pytest.mark.parametrize(
    "fields", [("type", "audio", "entry", "1001-0"), ("type", "complete", "entry", "1000-0"), ("a", "b")]
)
def test_another_entry_under_the_same_id_is_not_a_landed_chunk(plane: Plane, fields: tuple[str, ...]) -> None:
    lease = a_lease()
    _, delivered, at = speak(plane, lease)
    plane.call("XADD", plane.keys.audio("s1"), at, *fields)
    assert plane.write(lease, at, delivered + 10)[:2] == ["STALE", at]


def test_an_entry_that_landed_is_known_behind_a_cancel_of_an_older_job(plane: Plane) -> None:
    lease = a_lease()
    epoch, delivered, at = speak(plane, lease)
    plane.write(lease, at, delivered + 10)
    plane.cancel("s1", "999-0", int(epoch) + 1)
    assert plane.write(lease, at, delivered + 10) == ["LANDED"]


def test_a_cancelled_job_gets_the_number_of_samples_that_were_delivered(plane: Plane) -> None:
    lease = a_lease()
    epoch, delivered, at = speak(plane, lease)
    plane.cancel("s1", lease.entry_id, int(epoch) + 1)
    assert plane.write(lease, at, delivered + 10) == ["CANCELLED", str(delivered)]
    assert plane.types("s1") == ["begin", "audio", "audio", "cancel"]
    assert plane.end(lease, "cancelled", at, delivered) == ["OK", "cancelled"]


def test_an_entry_that_landed_before_the_cancel_counts_as_delivered(plane: Plane) -> None:
    lease = a_lease()
    epoch, delivered, at = speak(plane, lease)
    plane.write(lease, at, delivered + 10)
    plane.cancel("s1", lease.entry_id, int(epoch) + 1)
    assert plane.write(lease, at, delivered + 10) == ["CANCELLED", str(delivered + 10)]


def test_a_cancel_after_which_everything_was_trimmed_leaves_the_count_to_the_writer(plane: Plane) -> None:
    lease = a_lease()
    epoch, delivered, at = speak(plane, lease)
    plane.cancel("s1", lease.entry_id, int(epoch) + 1)
    plane.client.xtrim(plane.keys.audio("s1"), maxlen=0, approximate=False)
    assert plane.write(lease, at, delivered + 10) == ["CANCELLED", ""]


def test_a_stream_that_is_gone_is_not_made_again(plane: Plane) -> None:
    lease = a_lease()
    _, delivered, at = speak(plane, lease)
    forget_stream(plane)
    assert plane.write(lease, at, delivered + 10) == ["GONE"]
    plane.client.flushall()
    assert plane.write(lease, at, delivered + 10) == ["REWOUND"]
    assert not plane.client.exists(plane.keys.audio("s1"))


def test_a_replaced_writer_is_stale_and_learns_the_streams_tail(plane: Plane) -> None:
    old, other = a_lease(), a_lease(entry_id="1001-0", job_id="another")
    _, delivered, at = speak(plane, old)
    epoch = begin(plane, taken_over(old), delivered)
    assert plane.write(old, at, delivered + 10) == ["STALE", f"{epoch}-0", "begin", old.entry_id, old.entry_id]
    epoch = begin(plane, other)
    assert plane.write(old, at, delivered + 10) == ["STALE", f"{epoch}-0", "begin", "1001-0", "another"]


def test_a_late_cancel_of_an_older_job_makes_the_writer_stale(plane: Plane) -> None:
    lease = a_lease()
    epoch, delivered, at = speak(plane, lease)
    plane.cancel("s1", "999-0", int(epoch) + 1)
    assert plane.write(lease, at, delivered + 10) == ["STALE", f"{int(epoch) + 1}-0", "cancel", "", ""]


def test_nothing_is_appended_behind_a_gap_that_a_fail_over_left(plane: Plane) -> None:
    lease = a_lease()
    epoch, delivered, at = speak(plane, lease)
    before = plane.client.dump(plane.keys.audio("s1"))
    plane.write(lease, at, delivered + 10)
    plane.client.restore(plane.keys.audio("s1"), TTL_MS, before, replace=True)  # type: ignore[arg-type]
    answer = plane.write(lease, f"{epoch}-4", delivered + 20)
    assert answer == ["STALE", f"{epoch}-2", "audio", lease.entry_id, lease.entry_id]


def test_an_append_renews_the_stream_and_the_jobs_record(plane: Plane) -> None:
    lease = a_lease()
    _, delivered, at = speak(plane, lease)
    keys = plane.keys.audio("s1"), plane.keys.job("s1", lease.entry_id)
    for key in keys:
        plane.client.pexpire(key, 5000)
    assert plane.write(lease, at, delivered + 10) == ["OK"]
    assert all(plane.client.pttl(key) > TTL_MS - 5000 for key in keys)
