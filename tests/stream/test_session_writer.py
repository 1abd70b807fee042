"""The session writer beside lost replies, cancels, other writers and lost streams."""

from __future__ import annotations

import pytest
import redis

from schemas.messages import Audio, Error
from schemas.wire import pack_codes
from tests.conftest import Server
from tests.flow.listening import KEYS
from tests.stream.session_writers import (
    ENTRY,
    REQUEST,
    LossyLink,
    Renewals,
    begin,
    end,
    heard,
    write,
    writer_of,
)
from worker.stream import session_writer as stream
from worker.stream.client import Client
from worker.stream.lease import LeaseLost
from worker.stream.scripts import BEGIN, END
from worker.stream.transport.address import Address


@pytest.mark.parametrize("lost", ["-1", "-2", "-3"])
async def test_a_chunk_whose_reply_was_lost_is_written_once(lost: str, link: LossyLink, valkey: redis.Redis) -> None:
    writer = writer_of(link)
    await begin(writer)
    link.loses = f"{writer._epoch.decode()}{lost}"
    for n in range(3):
        await write(writer, is_final=n == 2)
    await end(writer)
    assert link.loses == ""
    job = heard(valkey)
    assert (len(job.chunks), job.complete.samples) == (3, 30)


async def test_a_begin_whose_reply_was_lost_is_written_again_above_the_first(
    link: LossyLink, valkey: redis.Redis
) -> None:
    writer = writer_of(link)
    await link.call("SCRIPT", "LOAD", BEGIN.source)
    link.loses = BEGIN.sha
    await begin(writer)
    await write(writer, is_final=True)
    await end(writer)
    assert len(heard(valkey).begins) == 2


async def test_an_end_whose_reply_was_lost_is_known_to_be_there(link: LossyLink, valkey: redis.Redis) -> None:
    writer = writer_of(link)
    await begin(writer)
    await write(writer, is_final=True)
    await link.call("SCRIPT", "LOAD", END.source)
    link.loses = END.sha
    with pytest.raises(stream.AlreadyEnded) as ended:
        await end(writer)
    assert ended.value.kind == "complete"
    assert len(heard(valkey).ends) == 1


@pytest.mark.parametrize("n_samples", [10, 0])
async def test_a_late_cancel_after_a_lost_reply_repeats_no_chunk(
    n_samples: int, link: LossyLink, valkey: redis.Redis, valkey_server: Server
) -> None:
    address = Address(valkey_server.url)
    writer = writer_of(link)
    await begin(writer)
    await write(writer)
    async with Client(address, address, KEYS) as client:

        async def cancel_an_older_job() -> None:
            await client.cancel("s", "1600000000000-0")

        link.loses, link.between = f"{writer._epoch.decode()}-2", cancel_an_older_job
        await write(writer, n_samples)
    await write(writer, is_final=True)
    await end(writer)
    job = heard(valkey)
    assert len(job.begins) == 2
    assert job.complete.samples == 20 + n_samples


async def test_a_late_cancel_before_the_end_lets_the_end_follow_a_new_begin(
    link: LossyLink, valkey: redis.Redis, valkey_server: Server
) -> None:
    address = Address(valkey_server.url)
    writer = writer_of(link)
    await begin(writer)
    await write(writer, is_final=True)
    async with Client(address, address, KEYS) as client:
        await client.cancel("s", "1600000000000-0")
    await end(writer)
    job = heard(valkey)
    assert (len(job.begins), len(job.ends)) == (2, 1)


async def test_a_cancel_of_this_job_stops_its_writer(
    link: LossyLink, valkey: redis.Redis, valkey_server: Server
) -> None:
    address = Address(valkey_server.url)
    writer = writer_of(link)
    await begin(writer)
    await write(writer)
    async with Client(address, address, KEYS) as client:
        await client.cancel("s")
    with pytest.raises(stream.CancelRequested):
        await write(writer)
    assert writer.delivered == 10
    assert len(heard(valkey).chunks) == 1


async def test_a_writer_whose_lease_is_lost_writes_nothing_after_its_successor(
    link: LossyLink, valkey: redis.Redis
) -> None:
    renewals = Renewals()
    old, new = writer_of(link, fence=1, renewals=renewals), writer_of(link, fence=2)
    await begin(old)
    await write(old)
    await begin(new)
    old._lease.is_lost = True
    with pytest.raises(LeaseLost):
        await write(old)
    with pytest.raises(LeaseLost):
        await end(old)
    old._lease.is_lost, renewals.is_taken = False, True  # only Redis knows: the fence leads to a query
    with pytest.raises(LeaseLost):
        await begin(old)
    with pytest.raises(LeaseLost):
        await old.end(
            Error(job_id=ENTRY, session_id="s", code="internal", message="x", retryable=True), "internal", "x"
        )
    await write(new, is_final=True)
    await end(new)
    job = heard(valkey)
    assert (job.complete.samples, new.has_progressed, new.resumed_at) == (20, True, 10)


async def test_a_writer_gives_way_to_another_jobs_entries(link: LossyLink) -> None:
    ours, other = writer_of(link), writer_of(link, entry_id="1700000000001-0")
    await begin(ours)
    await begin(other)
    with pytest.raises(stream.Displaced):
        await write(ours)


async def test_a_stream_that_is_gone_stops_its_writer(link: LossyLink, valkey: redis.Redis) -> None:
    writer = writer_of(link)
    await begin(writer)
    valkey.delete(KEYS.audio("s"))
    with pytest.raises(stream.RelayLeft):
        await write(writer)
    with pytest.raises(stream.RelayLeft):
        await begin(writer_of(link, fence=2))
    assert not valkey.exists(KEYS.audio("s"))


async def test_a_checkpoint_that_was_trimmed_away_is_not_guessed(link: LossyLink, valkey: redis.Redis) -> None:
    writer = writer_of(link)
    await begin(writer)
    await write(writer)
    valkey.xtrim(KEYS.audio("s"), maxlen=0, approximate=False)
    with pytest.raises(stream.ProgressLost):
        await begin(writer_of(link, fence=2))


@pytest.mark.parametrize(("code", "is_read"), [(2047, True), (2048, False), (65_535, False)])
async def test_codes_that_no_engine_gives_are_not_resumed_from(
    code: int, is_read: bool, link: LossyLink, valkey: redis.Redis
) -> None:
    writer = writer_of(link)
    await begin(writer)
    chunk = Audio(job_id=ENTRY, session_id="s", seq=0, pos=0, data=b"ab" * 10)
    await writer.write(chunk, 10, pack_codes(0, 0, (code.to_bytes(2, "little") * 16)))
    if is_read:
        await begin(writer_of(link, fence=2))
        return
    with pytest.raises(stream.ProgressLost):
        await begin(writer_of(link, fence=2))


async def test_samples_that_vanished_are_not_papered_over(
    link: LossyLink, valkey: redis.Redis, valkey_server: Server
) -> None:
    address = Address(valkey_server.url)
    writer = writer_of(link)
    await begin(writer)
    await write(writer)
    await write(writer)
    valkey.xdel(KEYS.audio("s"), writer._epoch + b"-2")
    async with Client(address, address, KEYS) as client:
        await client.cancel("s", "1600000000000-0")
    with pytest.raises(stream.Rewound):
        await write(writer)


async def test_a_key_of_another_type_is_refused(link: LossyLink, valkey: redis.Redis) -> None:
    writer = writer_of(link)
    await begin(writer)
    valkey.delete(KEYS.audio("s"))
    valkey.set(KEYS.audio("s"), "what?", ex=60)
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        await write(writer)


async def test_a_job_given_back_goes_on_behind_chunks_without_samples(link: LossyLink, valkey: redis.Redis) -> None:
    first = writer_of(link)
    await begin(first)
    await write(first, n_samples=0)
    second = writer_of(link, fence=2)  # a release is no attempt: this one is the first again
    await begin(second)
    assert (second.attempt, second.next_seq, len(second.progress.chunks)) == (1, 1, 1)
    await write(second, is_final=True)
    await end(second)
    assert [chunk.seq for _, chunk, _ in heard(valkey).chunks] == [0, 1]


async def test_a_peek_learns_what_a_begin_would_find_and_writes_nothing(link: LossyLink, valkey: redis.Redis) -> None:
    old = writer_of(link)
    await begin(old)
    await write(old)
    before = valkey.xrange(KEYS.audio("s"))
    new = writer_of(link, fence=2, attempt=2)
    await new.peek(REQUEST)
    assert valkey.xrange(KEYS.audio("s")) == before
    assert (new.delivered, new.attempt, new.n_fruitless, new.resumed_at) == (10, 2, 1, None)
    await new.begin(REQUEST)
    assert (new.resumed_at, new.attempt, new.n_fruitless) == (10, 2, 1)
    third = writer_of(link, fence=3, attempt=3)
    await third.peek(REQUEST)
    assert (third.attempt, third.n_fruitless) == (2, 2)
