"""Writing an utterance through lost replies, cancels, other writers and lost streams."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis

from schemas.messages import Audio, Begin, Complete, Error
from schemas.wire import pack_codes
from tests.conftest import Server
from tests.flow.listening import KEYS, Heard, read_session
from worker.stream import outbox as stream
from worker.stream.client import Client
from worker.stream.connect import Address
from worker.stream.jobs import Lease
from worker.stream.link import Link, Word, open_link
from worker.stream.outbox import Outbox, Plane
from worker.stream.patience import Patience
from worker.stream.script import BEGIN, END

ENTRY = "1700000000000-0"
FAR_FUTURE_MS = 2**52


class LossyLink:
    """A link that now and then carries a command out and loses the answer; `between` runs before it is sent again."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.loses = ""  # a word of the command
        self.between: Any = None

    async def call(self, *command: Word) -> Any:
        answer = await self._link.call(*command)
        if self.loses and any(self.loses in str(word) for word in command):
            self.loses = ""
            if self.between is not None:
                await self.between()
            raise redis.ConnectionError("the reply was lost")
        return answer

    async def transaction(self, *commands: tuple[Word, ...]) -> list[Any]:
        return await self._link.transaction(*commands)

    async def close(self) -> None:
        await self._link.close()


@pytest.fixture
async def link(valkey: redis.Redis, valkey_server: Server) -> AsyncIterator[LossyLink]:
    del valkey  # empties the server
    one = LossyLink(open_link(Address(valkey_server.url)))
    yield one
    await one.close()


class Holding:
    """The lease, as the outbox asks for it."""

    is_lost = False

    async def __call__(self, now: bool) -> None:
        if self.is_lost:
            raise stream.Fenced


def outbox_of(link: LossyLink, fence: int = 1, entry_id: str = ENTRY, hold: Holding | None = None) -> Outbox:
    lease = Lease(entry_id, 1, fence, "s", [], 0.0)
    return Outbox(Plane(link, KEYS, Patience("session")), lease, entry_id, hold or Holding())


def begin_of(outbox: Outbox) -> Begin:
    return Begin(
        job_id=outbox._job_id,
        session_id="s",
        voice="v",
        model="m",
        sample_rate=24_000,
        encoding="pcm_s16le",
        attempt=1,
        resumed_at=outbox.delivered,
        resumed_by="regenerated" if outbox.delivered else None,
    )


async def begin(outbox: Outbox) -> None:
    await outbox.begin(begin_of, FAR_FUTURE_MS, spent=False)


async def write(outbox: Outbox, n_samples: int = 10, is_final: bool = False) -> None:
    chunk = Audio(
        job_id=outbox._job_id,
        session_id="s",
        seq=outbox.next_seq,
        pos=outbox.delivered,
        data=b"ab" * n_samples,
        is_final=is_final,
    )
    await outbox.write(chunk, n_samples, pack_codes(0, outbox.next_seq, b""))


async def end(outbox: Outbox) -> None:
    await outbox.end(
        Complete(
            job_id=outbox._job_id,
            session_id="s",
            finish="stop",
            samples=outbox.delivered,
            chunks=outbox.next_seq,
            audio_ms=1,
            queue_ms=0,
            first_audio_ms=0,
            leading_silence_ms=0,
            rtf=0.1,
            seed=0,
            voice="v",
            model="m",
            text_spoken="",
        )
    )


def heard(valkey: redis.Redis, entry_id: str = ENTRY) -> Heard:
    return read_session(valkey, "s")[entry_id]


@pytest.mark.parametrize("lost", ["-1", "-2", "-3"])
async def test_a_chunk_whose_reply_was_lost_is_written_once(lost: str, link: LossyLink, valkey: redis.Redis) -> None:
    outbox = outbox_of(link)
    await begin(outbox)
    link.loses = f"{outbox._epoch.decode()}{lost}"
    for n in range(3):
        await write(outbox, is_final=n == 2)
    await end(outbox)
    assert link.loses == ""
    job = heard(valkey)
    assert (len(job.chunks), job.complete.samples) == (3, 30)


async def test_a_begin_whose_reply_was_lost_is_written_again_above_the_first(
    link: LossyLink, valkey: redis.Redis
) -> None:
    outbox = outbox_of(link)
    await link.call("SCRIPT", "LOAD", BEGIN.source)
    link.loses = BEGIN.sha
    await begin(outbox)
    await write(outbox, is_final=True)
    await end(outbox)
    assert len(heard(valkey).begins) == 2


async def test_an_end_whose_reply_was_lost_is_known_to_be_there(link: LossyLink, valkey: redis.Redis) -> None:
    outbox = outbox_of(link)
    await begin(outbox)
    await write(outbox, is_final=True)
    await link.call("SCRIPT", "LOAD", END.source)
    link.loses = END.sha
    with pytest.raises(stream.Ended) as ended:
        await end(outbox)
    assert ended.value.kind == "complete"
    assert len(heard(valkey).ends) == 1


@pytest.mark.parametrize("n_samples", [10, 0])
async def test_a_late_cancel_after_a_lost_reply_repeats_no_chunk(
    n_samples: int, link: LossyLink, valkey: redis.Redis, valkey_server: Server
) -> None:
    address = Address(valkey_server.url)
    outbox = outbox_of(link)
    await begin(outbox)
    await write(outbox)
    async with Client(address, address, KEYS) as client:

        async def cancel_an_older_job() -> None:
            await client.cancel("s", "1600000000000-0")

        link.loses, link.between = f"{outbox._epoch.decode()}-2", cancel_an_older_job
        await write(outbox, n_samples)
    await write(outbox, is_final=True)
    await end(outbox)
    job = heard(valkey)
    assert len(job.begins) == 2
    assert job.complete.samples == 20 + n_samples


async def test_a_late_cancel_before_the_end_lets_the_end_follow_a_new_begin(
    link: LossyLink, valkey: redis.Redis, valkey_server: Server
) -> None:
    address = Address(valkey_server.url)
    outbox = outbox_of(link)
    await begin(outbox)
    await write(outbox, is_final=True)
    async with Client(address, address, KEYS) as client:
        await client.cancel("s", "1600000000000-0")
    await end(outbox)
    job = heard(valkey)
    assert (len(job.begins), len(job.ends)) == (2, 1)


async def test_a_cancel_of_this_job_stops_its_writer(
    link: LossyLink, valkey: redis.Redis, valkey_server: Server
) -> None:
    address = Address(valkey_server.url)
    outbox = outbox_of(link)
    await begin(outbox)
    await write(outbox)
    async with Client(address, address, KEYS) as client:
        await client.cancel("s")
    with pytest.raises(stream.Cut):
        await write(outbox)
    assert outbox.delivered == 10
    assert len(heard(valkey).chunks) == 1


async def test_a_writer_whose_lease_is_lost_writes_nothing_after_its_successor(
    link: LossyLink, valkey: redis.Redis
) -> None:
    hold = Holding()
    old, new = outbox_of(link, fence=1, hold=hold), outbox_of(link, fence=2)
    await begin(old)
    await write(old)
    await begin(new)
    hold.is_lost = True
    with pytest.raises(stream.Fenced):
        await write(old)
    with pytest.raises(stream.Fenced):
        await end(old)
    hold.is_lost = False  # the lease was not known to be lost: the fence says so
    with pytest.raises(stream.Fenced):
        await begin(old)
    with pytest.raises(stream.Fenced):
        await old.end(
            Error(job_id=ENTRY, session_id="s", code="internal", message="x", retryable=True), "internal", "x"
        )
    await write(new, is_final=True)
    await end(new)
    job = heard(valkey)
    assert (job.complete.samples, new.has_progressed, new.resumed_at) == (20, True, 10)


async def test_a_writer_gives_way_to_another_jobs_entries(link: LossyLink) -> None:
    ours, other = outbox_of(link), outbox_of(link, entry_id="1700000000001-0")
    await begin(ours)
    await begin(other)
    with pytest.raises(stream.Displaced):
        await write(ours)


async def test_a_stream_that_is_gone_stops_its_writer(link: LossyLink, valkey: redis.Redis) -> None:
    outbox = outbox_of(link)
    await begin(outbox)
    valkey.delete(KEYS.audio("s"))
    with pytest.raises(stream.RelayLeft):
        await write(outbox)
    with pytest.raises(stream.RelayLeft):
        await begin(outbox_of(link, fence=2))
    assert not valkey.exists(KEYS.audio("s"))


async def test_a_checkpoint_that_was_trimmed_away_is_not_guessed(link: LossyLink, valkey: redis.Redis) -> None:
    outbox = outbox_of(link)
    await begin(outbox)
    await write(outbox)
    valkey.xtrim(KEYS.audio("s"), maxlen=0, approximate=False)
    with pytest.raises(stream.TrailLost):
        await begin(outbox_of(link, fence=2))


async def test_samples_that_vanished_are_not_papered_over(
    link: LossyLink, valkey: redis.Redis, valkey_server: Server
) -> None:
    address = Address(valkey_server.url)
    outbox = outbox_of(link)
    await begin(outbox)
    await write(outbox)
    await write(outbox)
    valkey.xdel(KEYS.audio("s"), outbox._epoch + b"-2")
    async with Client(address, address, KEYS) as client:
        await client.cancel("s", "1600000000000-0")
    with pytest.raises(stream.TrailLost):
        await write(outbox)


async def test_what_is_spoken_for_long_is_kept_for_as_long(
    link: LossyLink, valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = outbox_of(link)
    await begin(outbox)
    for key in (KEYS.audio("s"), KEYS.job("s", ENTRY)):
        valkey.pexpire(key, 5000)
    await write(outbox)
    assert valkey.pttl(KEYS.audio("s")) <= 5000
    monkeypatch.setattr(stream, "RENEW_EVERY_S", 0.0)
    await write(outbox)
    assert valkey.pttl(KEYS.audio("s")) > 500_000
    assert valkey.pttl(KEYS.job("s", ENTRY)) > 500_000


async def test_a_key_of_another_type_is_no_refusal(link: LossyLink, valkey: redis.Redis) -> None:
    outbox = outbox_of(link)
    await begin(outbox)
    valkey.delete(KEYS.audio("s"))
    valkey.set(KEYS.audio("s"), "what?", ex=60)
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        await write(outbox)
