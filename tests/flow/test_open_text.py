"""Texts that are spoken while they are being written, on a real server, with an engine of tones."""

from __future__ import annotations

import asyncio

import pytest
import redis

from schemas.errors import ErrorCode
from tests.conftest import eventually, running, sample
from tests.flow.dictating import STORY, cut, dictate, publish_open, write
from tests.flow.listening import (
    KEYS,
    Heard,
    check_complete,
    check_dead_letter,
    read_session,
    settled,
    until_ended,
)
from tests.tone import ToneEngine
from worker.settings import Settings
from worker.stream.client import Client


def heard(valkey: redis.Redis, session_id: str, entry_id: str) -> Heard:
    return read_session(valkey, session_id).get(entry_id, Heard())


async def whole(valkey: redis.Redis, client: Client, text: str, **fields: str) -> Heard:
    """The job as it is spoken when its text is published whole; a worker must run."""
    entry_id = await client.publish({"session_id": "whole", "text": text, **fields})
    await eventually(lambda: bool(heard(valkey, "whole", entry_id).ends))
    return heard(valkey, "whole", entry_id)


@pytest.mark.parametrize("seed", range(3))
async def test_pieces_cut_anywhere_are_spoken_as_the_whole_text(
    seed: int, valkey: redis.Redis, settings: Settings, client: Client
) -> None:
    text = STORY + " Voilà, 今日は。 Bye."
    async with running(settings):
        expected = await whole(valkey, client, text, seed="1", language="English")
        entry_id = await publish_open(client, "s", seed="1", language="English")
        await dictate(valkey, "s", cut(text, seed), every_s=0.002)
        await until_ended(client, "s")
        await settled(valkey)
    job = heard(valkey, "s", entry_id)
    check_complete(job)
    assert job.data == expected.data
    assert job.complete.text_spoken == expected.complete.text_spoken == text
    assert [(it.index, it.pos, it.text) for it in job.segments] == [
        (it.index, it.pos, it.text) for it in expected.segments
    ]
    assert len(job.segments) > 2


async def test_the_first_sentence_sounds_while_the_second_is_being_written(
    valkey: redis.Redis, settings: Settings, client: Client
) -> None:
    async with running(settings):
        entry_id = await publish_open(client, "s")
        write(valkey, "s", {"text": "The first sentence is short. The second, which is"})
        await eventually(lambda: len(heard(valkey, "s", entry_id).chunks) > 0)
        assert not heard(valkey, "s", entry_id).ends
        write(valkey, "s", {"text": " long, is not.", "end": "1"})
        await until_ended(client, "s")
    check_complete(heard(valkey, "s", entry_id))


async def test_the_text_may_come_before_the_job(valkey: redis.Redis, settings: Settings, client: Client) -> None:
    write(valkey, "s", {"text": "All of it."}, {"end": "1"}, {"text": "Ignored."})
    async with running(settings):
        entry_id = await publish_open(client, "s")
        await until_ended(client, "s")
        await settled(valkey)
    assert heard(valkey, "s", entry_id).complete.text_spoken == "All of it."


async def test_a_flush_speaks_what_is_there_and_the_rest_follows_in_its_own_time(
    valkey: redis.Redis, settings: Settings, client: Client
) -> None:
    async with running(settings):
        entry_id = await publish_open(client, "s")
        write(valkey, "s", {"text": "Let me look", "flush": "1"})
        await eventually(lambda: len(heard(valkey, "s", entry_id).chunks) > 0)
        write(valkey, "s", {"text": " that up for you."}, {"end": "1"})
        await until_ended(client, "s")
    job = heard(valkey, "s", entry_id)
    check_complete(job)
    assert [it.text for it in job.segments] == ["Let me look", "that up for you."]
    assert job.segments[1].pos > 0


async def test_a_flush_as_the_last_word_of_a_text_ends_it_as_any_other(
    valkey: redis.Redis, settings: Settings, client: Client
) -> None:
    async with running(settings):
        expected = await whole(valkey, client, "Only this.", seed="1")
        entry_id = await publish_open(client, "s", seed="1")
        write(valkey, "s", {"text": "Only this.", "flush": "1"})
        await eventually(lambda: len(heard(valkey, "s", entry_id).chunks) > 0)
        write(valkey, "s", {"end": "1"})
        await until_ended(client, "s")
    job = heard(valkey, "s", entry_id)
    check_complete(job)
    assert job.data == expected.data


async def test_a_cancel_is_seen_while_the_worker_waits_for_text(
    valkey: redis.Redis, settings: Settings, client: Client
) -> None:
    async with running(settings.model_copy(update={"slots": 1})) as worker:
        entry_id = await publish_open(client, "s")
        await eventually(lambda: len(heard(valkey, "s", entry_id).begins) == 1)
        other = await client.publish({"session_id": "other", "text": "It has the only slot meanwhile."})
        await until_ended(client, "other")
        assert other in read_session(valkey, "other")
        await client.cancel("s", entry_id)
        await until_ended(client, "s")
        assert heard(valkey, "s", entry_id).cancelled.samples == 0
        await settled(valkey)
        await eventually(lambda: sample(worker, "slots_busy") == 0)


async def test_a_late_cancel_of_an_older_job_does_not_end_the_wait(
    valkey: redis.Redis, settings: Settings, client: Client
) -> None:
    async with running(settings):
        old = await client.publish({"session_id": "s", "text": "Old."})
        await until_ended(client, "s")
        entry_id = await publish_open(client, "s")
        await eventually(lambda: len(heard(valkey, "s", entry_id).begins) == 1)
        await client.cancel("s", old)
        await eventually(lambda: len(heard(valkey, "s", entry_id).begins) == 2)
        write(valkey, "s", {"text": "It goes on.", "end": "1"})
        await until_ended(client, "s", 2)
    check_complete(heard(valkey, "s", entry_id))


async def test_a_text_without_a_further_piece_is_stalled_and_what_was_spoken_stays(
    valkey: redis.Redis, settings: Settings, client: Client
) -> None:
    async with running(settings.model_copy(update={"text_wait_s": 0.3})):
        entry_id = await publish_open(client, "s")
        write(valkey, "s", {"text": "The first sentence is spoken. The second one, which is"})
        await until_ended(client, "s")
        await settled(valkey)
    job = heard(valkey, "s", entry_id)
    assert (job.error.code, job.error.retryable) == (ErrorCode.TEXT_STALLED, True)
    assert len(job.chunks) > 0
    check_dead_letter(valkey, entry_id, ErrorCode.TEXT_STALLED)


BAD_TEXTS: dict[str, tuple[list[dict[str, str | bytes]], ErrorCode, str]] = {
    "not UTF-8": ([{"text": b"Hi \xff"}], ErrorCode.INVALID_FIELD, "text"),
    "a character cut in two at the end": ([{"text": b"caf\xc3"}, {"end": "1"}], ErrorCode.INVALID_FIELD, "text"),
    "ten megabytes": ([{"text": b"a" * 10_000_000}], ErrorCode.TEXT_TOO_LONG, "text"),
    "too many letters": ([{"text": "a" * 100}] * 51, ErrorCode.TEXT_TOO_LONG, "text"),
    "an end before any text": ([{"end": "1"}], ErrorCode.TEXT_EMPTY, "text"),
    "blanks alone": ([{"text": " \n"}, {"flush": "1"}, {"end": "1"}], ErrorCode.TEXT_EMPTY, "text"),
    "an end that is no end": ([{"text": "Hi."}, {"end": "yes"}], ErrorCode.INVALID_FIELD, "end"),
}


@pytest.mark.parametrize("name", BAD_TEXTS)
async def test_a_bad_text_ends_its_job_alone(
    name: str, valkey: redis.Redis, settings: Settings, client: Client
) -> None:
    entries, code, field = BAD_TEXTS[name]
    async with running(settings):
        entry_id = await publish_open(client, "s")
        after = await client.publish({"session_id": "s", "text": "The next one."})
        write(valkey, "s", *entries)
        await until_ended(client, "s", 2)
        await settled(valkey)
    jobs = read_session(valkey, "s")
    assert (jobs[entry_id].error.code, jobs[entry_id].error.field) == (code, field)
    check_complete(jobs[after])


async def test_a_text_key_of_another_type_is_reported_and_left_alone(
    valkey: redis.Redis, settings: Settings, client: Client
) -> None:
    key = KEYS.text("s", "u1")
    valkey.set(key, "a stranger's", px=60_000)
    async with running(settings):
        entry_id = await publish_open(client, "s")
        await until_ended(client, "s")
        await settled(valkey)
    error = heard(valkey, "s", entry_id).error
    assert (error.code, error.field) == (ErrorCode.INVALID_FIELD, "text_from")
    assert key in error.message
    assert valkey.get(key) == b"a stranger's"
    assert valkey.pttl(key) <= 60_000


async def test_a_text_with_nothing_to_speak_is_silent(valkey: redis.Redis, settings: Settings, client: Client) -> None:
    async with running(settings):
        entry_id = await publish_open(client, "s")
        write(valkey, "s", {"text": ":"}, {"text": ")", "end": "1"})
        await until_ended(client, "s")
        await settled(valkey)
    job = heard(valkey, "s", entry_id)
    check_complete(job)
    assert (job.complete.finish, job.segments) == ("silent", [])


async def test_two_jobs_that_name_one_text_are_one_job(valkey: redis.Redis, settings: Settings, client: Client) -> None:
    async with running(settings):
        first = await publish_open(client, "s")
        await publish_open(client, "s")
        write(valkey, "s", {"text": "Once.", "end": "1"})
        await until_ended(client, "s")
        await settled(valkey)
    assert list(read_session(valkey, "s")) == [first]


async def test_a_session_keeps_its_order_while_a_text_is_being_written(
    valkey: redis.Redis, settings: Settings, client: Client
) -> None:
    async with running(settings):
        first = await publish_open(client, "s")
        second = await client.publish({"session_id": "s", "text": "After it."})
        await dictate(valkey, "s", cut(STORY, 5), every_s=0.002)
        await until_ended(client, "s", 2)
        await settled(valkey)
    jobs = read_session(valkey, "s")
    assert list(jobs) == [first, second]
    for job in jobs.values():
        check_complete(job)


@pytest.mark.parametrize("has_codes", [False, True])
async def test_another_worker_goes_on_with_the_exact_next_sample(
    has_codes: bool, valkey: redis.Redis, settings: Settings, client: Client
) -> None:
    """The first worker ends in each of: the wait for text, a sentence, the wait between a flush and the next piece."""
    async with running(settings, ToneEngine(has_codes=has_codes)):
        await publish_open(client, "whole", seed="1")
        write(valkey, "whole", {"text": STORY[:60], "flush": "1"}, {"text": STORY[60:], "end": "1"})
        await until_ended(client, "whole")
    [expected] = read_session(valkey, "whole").values()
    brief = settings.model_copy(update={"grace_s": 0.0})
    entry_id = await publish_open(client, "s", seed="1")
    async with running(brief, ToneEngine(has_codes=has_codes, frame_s=0.02)):
        await eventually(lambda: len(heard(valkey, "s", entry_id).begins) == 1)
    write(valkey, "s", {"text": STORY[:60]})
    async with running(brief, ToneEngine(has_codes=has_codes, frame_s=0.02)):
        await eventually(lambda: len(heard(valkey, "s", entry_id).chunks) > 1)
    write(valkey, "s", {"flush": "1"})
    async with running(brief, ToneEngine(has_codes=has_codes)):
        await eventually(lambda: len(heard(valkey, "s", entry_id).segments) == 2)
        await asyncio.sleep(0.2)
    write(valkey, "s", {"text": STORY[60:], "end": "1"})
    async with running(settings, ToneEngine(has_codes=has_codes)):
        await until_ended(client, "s")
        await settled(valkey)
    job = heard(valkey, "s", entry_id)
    check_complete(job)
    assert len(job.begins) == 4
    assert job.data == expected.data
    assert [it.text for it in job.segments] == [it.text for it in expected.segments]


async def test_a_text_that_is_taken_over_is_read_before_it_counts_as_stalled(
    valkey: redis.Redis, settings: Settings, client: Client
) -> None:
    """What began takes longer than the wait for a piece."""
    brief = settings.model_copy(update={"grace_s": 0.0})
    async with running(brief, ToneEngine(frame_s=0.02)):
        entry_id = await publish_open(client, "s")
        write(valkey, "s", {"text": "A sentence of some length, which began. And another that is long"})
        await eventually(lambda: len(heard(valkey, "s", entry_id).chunks) > 1)
    write(valkey, "s", {"text": " enough.", "end": "1"})
    async with running(settings.model_copy(update={"text_wait_s": 0.1}), ToneEngine(frame_s=0.02)):
        await until_ended(client, "s")
        await settled(valkey)
    check_complete(heard(valkey, "s", entry_id))


async def test_segments_that_began_are_finished_where_the_text_is_gone(
    valkey: redis.Redis, settings: Settings, client: Client
) -> None:
    brief = settings.model_copy(update={"grace_s": 0.0})
    async with running(brief, ToneEngine(frame_s=0.02)):
        entry_id = await publish_open(client, "s")
        write(valkey, "s", {"text": "A sentence of some length, which began. And another that is long"})
        await eventually(lambda: len(heard(valkey, "s", entry_id).chunks) > 1)
    valkey.delete(KEYS.text("s", "u1"))
    async with running(settings.model_copy(update={"text_wait_s": 0.5})):
        await until_ended(client, "s")
    job = heard(valkey, "s", entry_id)
    assert job.error.code == ErrorCode.TEXT_STALLED
    assert job.chunks[-1][2].delivered >= 19 * 1920


async def test_the_keys_of_a_job_that_waits_expire_together(
    valkey: redis.Redis, settings: Settings, client: Client
) -> None:
    valkey.xadd(KEYS.text("s", "u1"), {"text": "No TTL was set here. And more of it is to come"})
    async with running(settings):
        entry_id = await publish_open(client, "s")
        await eventually(lambda: len(heard(valkey, "s", entry_id).chunks) > 0)
        assert 0 < valkey.pttl(KEYS.text("s", "u1")) <= 600_000
        write(valkey, "s", {"end": "1"})
        await until_ended(client, "s")


async def test_a_worker_that_dies_while_it_waits_long_for_text_spends_no_attempt(
    valkey: redis.Redis, settings: Settings, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.utterance.text_wait.SPARED_AFTER_S", 0.1)
    counts = KEYS.job_plane_key("attempts")

    def count(entry_id: str) -> bytes:
        return bytes(valkey.hget(counts, entry_id) or b"").partition(b" ")[0]  # type: ignore[arg-type]

    async with running(settings, ToneEngine(frame_s=0.02)):
        entry_id = await publish_open(client, "s")
        await eventually(lambda: count(entry_id) == b"0")
        write(valkey, "s", {"text": "A sentence of some length, which is spoken. And another one"})
        await eventually(lambda: count(entry_id) == b"1")
        write(valkey, "s", {"end": "1"})
        await until_ended(client, "s")
        await settled(valkey)
