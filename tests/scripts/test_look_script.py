"""LOOK: what a writer finds while it waits. The life of a text that is being written. Hints."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from tests.scripts.plane import Lease, Plane, a_lease
from tests.scripts.utterances import TTL_MS, begin, forget_stream, speak, taken_over

OPEN = Lease("1000-0", 1, "1", "s1", ("job_id", "j1", "text_from", "stream"), "w1")
ALMOST_MS = TTL_MS - 5000


def last(at: str) -> str:
    """The ID before the writer's next."""
    epoch, _, n = at.partition("-")
    return f"{epoch}-{int(n) - 1}"


def test_a_writer_that_waits_finds_its_own_entry_last(plane: Plane) -> None:
    lease = a_lease()
    _, _, at = speak(plane, lease)
    before = plane.heard("s1")
    assert plane.look(lease, last(at)) == ["OK"]
    assert plane.heard("s1") == before


def test_a_writer_that_waits_finds_what_others_wrote(plane: Plane) -> None:
    lease = a_lease()
    epoch, delivered, at = speak(plane, lease)
    plane.cancel("s1", "999-0", int(epoch) + 1)
    assert plane.look(lease, last(at)) == ["STALE", f"{int(epoch) + 1}-0", "cancel", "", ""]
    epoch = begin(plane, taken_over(lease), delivered)
    assert plane.look(lease, last(at)) == ["STALE", f"{epoch}-0", "begin", "1000-0", "1000-0"]
    plane.cancel("s1", lease.entry_id, int(epoch) + 1)
    assert plane.look(lease, last(at)) == ["CANCELLED", str(delivered)]
    forget_stream(plane)
    assert plane.look(lease, last(at)) == ["GONE"]
    plane.client.flushall()
    assert plane.look(lease, last(at)) == ["REWOUND"]


def test_a_cancel_of_which_only_the_cut_was_written_counts(plane: Plane) -> None:
    lease = a_lease()
    _, delivered, at = speak(plane, lease)
    plane.call("XADD", plane.keys.cut("s1"), lease.entry_id, "type", "cancel")
    plane.call("PEXPIRE", plane.keys.cut("s1"), TTL_MS)
    assert plane.look(lease, last(at)) == ["CANCELLED", str(delivered)]


def test_a_job_that_waits_keeps_its_keys_alive(plane: Plane) -> None:
    write_text(plane)
    _, _, at = speak(plane, OPEN)
    keys = plane.keys.audio("s1"), plane.keys.job("s1", OPEN.entry_id), plane.keys.text("s1", "j1")
    for key in keys:
        plane.client.pexpire(key, 5000)
    assert plane.look(OPEN, last(at)) == ["OK"]
    assert all(plane.client.pttl(key) > ALMOST_MS for key in keys)


# The text's key.


def write_text(plane: Plane, ttl_ms: int | None = None) -> str:
    key = plane.keys.text("s1", "j1")
    plane.call("XADD", key, "*", "text", "Good mor")
    if ttl_ms is not None:
        plane.client.pexpire(key, ttl_ms)
    return key


@pytest.mark.parametrize("ttl_ms", [None, 5000])
def test_begin_makes_a_text_expire_with_its_session(plane: Plane, ttl_ms: int | None) -> None:
    key = write_text(plane, ttl_ms)
    begin(plane, OPEN)
    assert ALMOST_MS < plane.client.pttl(key) <= TTL_MS


def test_a_text_with_a_longer_life_keeps_it(plane: Plane) -> None:
    key = write_text(plane, 2 * TTL_MS)
    begin(plane, OPEN)
    assert plane.client.pttl(key) > TTL_MS


def test_a_chunk_renews_the_text_with_the_stream(plane: Plane) -> None:
    key = write_text(plane)
    epoch, delivered, _ = speak(plane, OPEN)
    plane.client.pexpire(key, 5000)
    assert plane.write(OPEN, f"{epoch}-3", delivered + 10) == ["OK"]
    assert plane.client.pttl(key) <= 5000
    plane.client.pexpire(plane.keys.audio("s1"), 5000)
    assert plane.write(OPEN, f"{epoch}-4", delivered + 20) == ["OK"]
    assert plane.client.pttl(key) > ALMOST_MS


def test_a_text_that_came_after_its_begin_expires_after_the_end(plane: Plane) -> None:
    _, delivered, at = speak(plane, OPEN)
    key = write_text(plane)
    plane.end(OPEN, "complete", at, delivered)
    assert ALMOST_MS < plane.client.pttl(key) <= TTL_MS


def test_a_text_key_of_another_type_is_left_alone(plane: Plane) -> None:
    key = plane.keys.text("s1", "j1")
    plane.client.set(key, "mine", px=5000)
    _, delivered, at = speak(plane, OPEN)
    plane.client.pexpire(plane.keys.audio("s1"), 5000)
    assert plane.look(OPEN, last(at)) == ["OK"]
    assert plane.write(OPEN, at, delivered + 10) == ["OK"]
    assert plane.client.get(key) == "mine"
    assert plane.client.pttl(key) <= 5000


# Hints.


def test_every_write_publishes_the_id_of_its_newest_entry(plane: Plane) -> None:
    assert spoken_with(plane, "PUBLISH") == ["0", "2", "3", "4"]


def test_without_hints_nothing_is_published(plane: Plane) -> None:
    assert spoken_with(plane, "") == []


def test_a_hint_that_cannot_be_published_is_left_out(plane: Plane) -> None:
    assert spoken_with(plane, "NOT-A-COMMAND") == []
    assert plane.types("s1") == ["begin", "segment", "audio", "audio", "complete"]


def spoken_with(plane: Plane, hint: str) -> list[str]:
    """The numbers in the epoch of the entries that hints named while a job was spoken."""
    plane.hint = hint
    with plane.client.pubsub() as reader:  # type: ignore[no-untyped-call]
        reader.subscribe(plane.keys.audio("s1"))
        epoch = begin(plane, OPEN)
        assert plane.write(OPEN, f"{epoch}-2", 10, segment="first") == ["OK"]
        assert plane.write(OPEN, f"{epoch}-3", 20) == ["OK"]
        assert plane.end(OPEN, "complete", f"{epoch}-4", 20) == ["OK", "complete"]
        return [_number(message, epoch) for message in _messages(reader)]


def _messages(reader: redis.client.PubSub) -> list[Any]:
    """All messages that the server has sent: its answer to a PING comes behind them."""
    reader.ping()
    found = []
    while (message := reader.get_message(timeout=5)) is not None and message["type"] != "pong":
        found += [message] if message["type"] == "message" else []
    return found


def _number(message: Any, epoch: str) -> str:
    ms, _, n = message["data"].partition("-")
    assert ms == epoch
    return str(n)
