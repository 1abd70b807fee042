"""Entries of segments on the session's stream: written, lost, taken over, read by old workers. Writers that wait."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from schemas.messages import MESSAGE_OF
from tests.conftest import Server
from tests.flow.listening import KEYS
from tests.stream.session_writers import ENTRY, REQUEST, LossyLink, Renewals, begin, end, heard, write, writer_of
from worker.stream import session_writer as stream
from worker.stream.begin_request import BeginRequest
from worker.stream.client import Client
from worker.stream.lease import LeaseLost
from worker.stream.progress import read_progress
from worker.stream.transport.address import Address

AUDIO, TEXT = KEYS.audio("s"), KEYS.text("s", ENTRY)
OLDER = "1600000000000-0"


async def cancel(server: Server, upto: str | None = None) -> None:
    address = Address(server.url)
    async with Client(address, address, KEYS) as client:
        await client.cancel("s", upto)


def types(valkey: redis.Redis) -> list[str]:
    raw: Any = valkey.xrange(AUDIO)
    return [fields[b"type"].decode() for _, fields in raw]


async def test_a_successor_reads_the_latest_text_of_each_segment_and_the_newest_trace(
    link: LossyLink, valkey: redis.Redis
) -> None:
    first = writer_of(link)
    await first.begin(traced("1"))
    await write(first, segment=(0, "Hello."))
    await write(first)
    await write(first, segment=(1, "It began too ear"))
    second = writer_of(link, fence=2)
    await second.begin(traced("2"))
    assert (second.progress.segments, second.progress.traceparent) == (
        {0: "Hello.", 1: "It began too ear"},
        traced("1").traceparent,
    )
    assert (second.delivered, second.next_seq) == (30, 3)
    await write(second, segment=(1, "It began too early."), is_final=True)
    await end(second)
    progress = await read_progress(link, AUDIO, ENTRY)
    assert (progress.segments, progress.traceparent) == (
        {0: "Hello.", 1: "It began too early."},
        traced("2").traceparent,
    )
    assert types(valkey) == [
        "begin", "segment", "audio", "audio", "segment", "audio", "begin", "segment", "audio", "complete",
    ]  # fmt: skip


def traced(span: str) -> BeginRequest:
    return BeginRequest("v", "m", 24_000, "pcm_s16le", 2**52, 3, traceparent=f"00-{'a' * 32}-{span * 16}-01")


@pytest.mark.parametrize("lost", ["-1", "-2", "-3"])
async def test_a_segment_whose_reply_was_lost_is_written_once(lost: str, link: LossyLink, valkey: redis.Redis) -> None:
    writer = writer_of(link)
    await begin(writer)
    link.loses = f"{writer.epoch.decode()}{lost}"
    await write(writer, segment=(0, "Hello."))
    await write(writer, is_final=True)
    await end(writer)
    assert link.loses == ""
    assert types(valkey) == ["begin", "segment", "audio", "audio", "complete"]


async def test_a_segment_that_a_late_cancel_refused_is_written_in_the_next_epoch(
    link: LossyLink, valkey: redis.Redis, valkey_server: Server
) -> None:
    writer = writer_of(link)
    await begin(writer)
    await cancel(valkey_server, OLDER)
    await write(writer, segment=(0, "Hello."), is_final=True)
    await end(writer)
    assert types(valkey) == ["begin", "cancel", "begin", "segment", "audio", "complete"]


async def test_a_worker_that_does_not_know_segments_continues_behind_them(
    link: LossyLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = writer_of(link)
    await begin(new)
    await write(new, segment=(0, "Hello."))
    await write(new)
    older = {kind: message for kind, message in MESSAGE_OF.items() if kind != "segment"}
    monkeypatch.setattr("schemas.wire.MESSAGE_OF", older)
    old = writer_of(link, fence=2)
    await begin(old)
    assert (old.delivered, old.next_seq, old.progress.segments) == (20, 2, {})


async def test_a_stream_of_a_worker_without_segments_is_read(link: LossyLink, valkey: redis.Redis) -> None:
    old = writer_of(link)
    await begin(old)
    await write(old)
    entries: Any = valkey.xrange(AUDIO)
    valkey.delete(AUDIO)
    for entry_id, fields in entries:
        fields.pop(b"at")
        valkey.xadd(AUDIO, fields, id=entry_id)
    new = writer_of(link, fence=2)
    await begin(new)
    assert (new.delivered, new.next_seq, new.progress.segments, new.progress.traceparent) == (10, 1, {}, None)


# A writer that waits.


async def test_a_late_cancel_of_an_older_job_lets_a_waiting_writer_begin_again(
    link: LossyLink, valkey: redis.Redis, valkey_server: Server
) -> None:
    writer = writer_of(link)
    await begin(writer)
    await write(writer)
    await writer.look()
    before = writer.epoch
    await cancel(valkey_server, OLDER)
    await writer.look()
    assert int(writer.epoch) > int(before)
    assert types(valkey) == ["begin", "audio", "cancel", "begin"]
    await write(writer, is_final=True)
    await end(writer)
    assert heard(valkey).complete.samples == 20


async def test_a_cancel_of_its_job_stops_a_waiting_writer(link: LossyLink, valkey_server: Server) -> None:
    writer = writer_of(link)
    await begin(writer)
    await write(writer)
    await cancel(valkey_server)
    with pytest.raises(stream.CancelRequested):
        await writer.look()
    assert writer.delivered == 10


async def test_a_waiting_writer_gives_way_to_its_successor_and_to_another_job(link: LossyLink) -> None:
    renewals = Renewals()
    ours = writer_of(link, renewals=renewals)
    await begin(ours)
    await begin(writer_of(link, fence=2))
    renewals.is_taken = True
    with pytest.raises(LeaseLost):
        await ours.look()
    renewals.is_taken = False
    ours = writer_of(link, fence=3, renewals=renewals)
    await begin(ours)
    await begin(writer_of(link, entry_id="1700000000001-0"))
    with pytest.raises(stream.Displaced):
        await ours.look()


async def test_a_stream_that_is_gone_stops_a_waiting_writer(link: LossyLink, valkey: redis.Redis) -> None:
    writer = writer_of(link)
    await begin(writer)
    valkey.delete(AUDIO)
    with pytest.raises(stream.RelayLeft):
        await writer.look()


async def test_entries_that_a_fail_over_took_stop_a_waiting_writer(
    link: LossyLink, valkey: redis.Redis, valkey_server: Server
) -> None:
    writer = writer_of(link)
    await begin(writer)
    await write(writer)
    valkey.xdel(AUDIO, writer.epoch + b"-1")
    await cancel(valkey_server, OLDER)
    with pytest.raises(stream.Rewound):
        await writer.look()
    before = types(valkey)
    with pytest.raises(stream.Rewound):  # of samples that were made before the look
        await write(writer)
    assert types(valkey) == before


async def test_a_text_that_is_being_written_lives_as_long_as_its_session(link: LossyLink, valkey: redis.Redis) -> None:
    valkey.xadd(TEXT, {"text": "Hello."})
    writer = writer_of(link, text_key=TEXT)
    await writer.begin(REQUEST)
    assert 590_000 < valkey.pttl(TEXT) <= 600_000
    for key in (AUDIO, TEXT):
        valkey.pexpire(key, 5000)
    await writer.look()
    assert valkey.pttl(TEXT) > 590_000
