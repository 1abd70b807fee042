"""A session writer after a fail-over: the new master may lack its last entries."""

from __future__ import annotations

import time

import pytest
import redis

from tests.flow.listening import KEYS, read_session
from tests.stream.session_writers import REQUEST, LossyLink, begin, end, write, writer_of
from worker.stream import session_writer as stream
from worker.stream.scripts import APPEND


class Snapshot:
    """Truncate the session to what a replica has when it becomes master before the rest has arrived."""

    def __init__(self, valkey: redis.Redis) -> None:
        self._valkey = valkey
        self._keys = {key: valkey.dump(key) or b"" for key in valkey.keys("*")}

    def make_master(self, link: LossyLink) -> None:
        self._valkey.flushall()
        for key, content in self._keys.items():
            self._valkey.restore(key, 600_000, content)
        link.scripts.clear()


async def test_over_a_new_connection_the_next_entry_follows_the_last_one(link: LossyLink, valkey: redis.Redis) -> None:
    writer = writer_of(link)
    await begin(writer)
    await write(writer)
    for _ in range(2):
        link.scripts.clear()
        await write(writer)
        await write(writer)
    await end(writer)
    [job] = read_session(valkey, "s").values()
    assert (len(job.begins), len(job.chunks)) == (1, 5)


@pytest.mark.parametrize("n_left", [0, 1, 2])
async def test_nothing_follows_a_gap_that_a_fail_over_tore(link: LossyLink, valkey: redis.Redis, n_left: int) -> None:
    writer = writer_of(link)
    await begin(writer)
    for _ in range(n_left):
        await write(writer)
    replica = Snapshot(valkey)
    for _ in range(3 - n_left):
        await write(writer)
    replica.make_master(link)
    with pytest.raises(stream.Rewound):
        await write(writer)
    after = writer_of(link, fence=2)
    await begin(after)
    assert (after.delivered, after.next_seq) == (10 * n_left, n_left)
    await write(after)
    await end(after)
    [job] = read_session(valkey, "s").values()
    assert len(job.chunks) == n_left + 1


async def test_chunks_are_numbered_by_what_is_left_when_a_fail_over_comes_before_the_begin(
    link: LossyLink, valkey: redis.Redis
) -> None:
    first, second = writer_of(link), writer_of(link, fence=2, attempt=2)
    await begin(first)
    replica = Snapshot(valkey)
    await write(first)
    await write(first)
    await second.peek(REQUEST)
    assert (second.delivered, second.next_seq) == (20, 2)
    replica.make_master(link)
    await begin(second)
    assert (second.delivered, second.next_seq) == (0, 0)
    await write(second)
    await end(second)
    [job] = read_session(valkey, "s").values()
    assert job.complete.samples == 10


@pytest.mark.parametrize("n_left", [0, 1])
async def test_a_lost_entry_without_samples_is_missed_too(link: LossyLink, valkey: redis.Redis, n_left: int) -> None:
    writer = writer_of(link)
    await begin(writer)
    for _ in range(n_left):
        await write(writer)
    replica = Snapshot(valkey)
    await write(writer, n_samples=0)
    replica.make_master(link)
    with pytest.raises(stream.Rewound):
        await write(writer)


async def test_a_whole_utterance_lost_in_a_fail_over_is_given_back(link: LossyLink, valkey: redis.Redis) -> None:
    earlier, writer = writer_of(link, entry_id="1600000000000-0"), writer_of(link)
    await begin(earlier)
    await end(earlier)
    replica = Snapshot(valkey)
    await begin(writer)
    replica.make_master(link)
    with pytest.raises(stream.Rewound):
        await write(writer)


async def test_a_job_that_is_published_again_after_a_fail_over_displaces_itself_as_one_that_was_lost(
    link: LossyLink, valkey: redis.Redis
) -> None:
    earlier, writer = writer_of(link, entry_id="1600000000000-0"), writer_of(link)
    again = writer_of(
        link, fence=time.time_ns() // 1_000_000 + 1000, entry_id="1800000000000-0"
    )  # a fail-over takes time
    again._job_id = writer._job_id
    await begin(earlier)
    await end(earlier)
    replica = Snapshot(valkey)
    await begin(writer)
    replica.make_master(link)
    await begin(again)
    with pytest.raises(stream.Rewound):
        await write(writer)


async def test_a_new_connection_to_a_stream_that_is_gone_finds_no_listener(
    link: LossyLink, valkey: redis.Redis
) -> None:
    writer = writer_of(link)
    await begin(writer)
    valkey.delete(KEYS.audio("s"))
    link.scripts.clear()
    with pytest.raises(stream.RelayLeft):
        await write(writer)


async def test_an_entry_over_a_new_connection_whose_reply_was_lost_is_written_once(
    link: LossyLink, valkey: redis.Redis
) -> None:
    writer = writer_of(link)
    await begin(writer)
    await write(writer)
    link.scripts.clear()
    link.loses = APPEND.sha
    await write(writer)
    await write(writer)
    await end(writer)
    [job] = read_session(valkey, "s").values()
    assert (len(job.begins), len(job.chunks)) == (1, 3)
