"""An utterance of several attempts: the engine fails, or its worker is drained."""

from __future__ import annotations

from hashlib import sha1

import pytest
import redis

from tests.conftest import Server, eventually, make_settings, running
from tests.flow.listening import (
    KEYS,
    Heard,
    check_complete,
    check_dead_letter,
    check_queue_is_empty,
    read_session,
    replayed,
    settled,
    until_ended,
)
from tests.tone import ToneEngine
from worker.audio.chain import Chain
from worker.settings import Settings
from worker.stream.client import Client


async def test_an_engine_that_fails_once_is_tried_again_and_the_listener_hears_one_utterance(
    valkey: redis.Redis, settings: Settings, client: Client
) -> None:
    engine, text = ToneEngine(4, frame_s=0.01), "This sentence is interrupted by a failure." * 5
    async with running(settings, engine):
        entry_id = await client.publish({"session_id": "s", "text": text})
        await eventually(lambda: len(read_session(valkey, "s").get(entry_id, Heard()).chunks) > 3)
        engine.fail = 1
        await until_ended(client, "s")
        await settled(valkey)
    job = read_session(valkey, "s")[entry_id]
    check_complete(job)
    assert [begin.attempt for _, begin in job.begins] == [1, 2]
    assert job.begins[1][1].resumed_by == "regenerated"
    assert job.data == replayed(Chain(24_000, "pcm_s16le"), text, entry_id)


async def test_an_engine_with_codes_resumes_from_them(valkey: redis.Redis, settings: Settings, client: Client) -> None:
    engine = ToneEngine(4, frame_s=0.01, has_codes=True)
    text = "This sentence is interrupted by a failure, but what was said is known." * 4
    async with running(settings, engine):
        entry_id = await client.publish({"session_id": "s", "text": text})
        await eventually(lambda: len(read_session(valkey, "s").get(entry_id, Heard()).chunks) > 3)
        engine.fail = 1
        await until_ended(client, "s")
    job = read_session(valkey, "s")[entry_id]
    check_complete(job)
    assert job.begins[1][1].resumed_by == "codes"
    resumed = next(segment.resume for segment in engine.opened if segment.resume is not None)
    assert resumed.codes is not None
    assert len(resumed.codes) == resumed.n_frames > 0


async def test_a_text_that_the_engine_always_fails_on_ends_its_job_after_three_attempts(
    valkey: redis.Redis, settings: Settings, client: Client
) -> None:
    async with running(settings):
        entry_id = await client.publish({"session_id": "s", "text": "unspeakable"})
        await until_ended(client, "s")
        good = await client.publish({"session_id": "s", "text": "The engine itself is well."})
        await until_ended(client, "s", n_jobs=2)
        await settled(valkey)
    jobs = read_session(valkey, "s")
    assert (jobs[entry_id].error.code, jobs[entry_id].error.retryable) == ("engine_failed", True)
    assert [begin.attempt for _, begin in jobs[entry_id].begins] == [1, 2, 3]
    check_complete(jobs[good])
    check_dead_letter(valkey, entry_id, "engine_failed")


async def test_attempts_that_got_on_do_not_count(valkey: redis.Redis, settings: Settings, client: Client) -> None:
    engine = ToneEngine(4, frame_s=0.01)
    text = "A sentence so long that there is time enough to fail four times before it has come to its end, at last." * 4
    async with running(settings, engine):
        entry_id = await client.publish({"session_id": "s", "text": text})
        for n in range(1, 5):
            await eventually(lambda n=n: _chunks_of_attempt(valkey, entry_id, n) > 1, within_s=15)  # type: ignore[misc]
            engine.fail = 1
        await until_ended(client, "s", within_s=20)
    job = read_session(valkey, "s")[entry_id]
    check_complete(job)
    assert len(job.begins) == 5
    assert max(begin.attempt for _, begin in job.begins) <= 3
    assert job.data == replayed(Chain(24_000, "pcm_s16le"), text, entry_id)


def _chunks_of_attempt(valkey: redis.Redis, entry_id: str, attempt: int) -> int:
    """Chunks of the n-th begin; 0 before it."""
    job = read_session(valkey, "s").get(entry_id)
    if job is None or len(job.begins) < attempt:
        return 0
    epoch = job.begins[attempt - 1][0].partition("-")[0]
    return sum(stream_id.startswith(epoch) for stream_id, _, _ in job.chunks)


async def test_a_drain_finishes_what_fits_in_the_grace_period(
    valkey: redis.Redis, settings: Settings, client: Client
) -> None:
    async with running(settings, ToneEngine(4, frame_s=0.01)) as worker:
        entry_id = await client.publish({"session_id": "s", "text": "Let me finish this sentence first."})
        await eventually(lambda: bool(read_session(valkey, "s")))
        worker.stop()
    check_complete(read_session(valkey, "s")[entry_id])
    check_queue_is_empty(valkey)


async def test_a_drain_gives_back_what_does_not_and_another_worker_goes_on_at_the_same_sample(
    valkey: redis.Redis, valkey_server: Server, client: Client
) -> None:
    settings = make_settings(valkey_server.url, grace_s=0.05)
    text = "A sentence that takes much longer than the grace period."
    async with running(settings, ToneEngine(4, frame_s=0.05)) as worker:
        entry_id = await client.publish({"session_id": "s", "text": text})
        await eventually(lambda: len(read_session(valkey, "s").get(entry_id, Heard()).chunks) > 2)
        worker.stop()
    assert valkey.llen(KEYS.job_plane[1]) == 1
    async with running(settings, ToneEngine(4)):
        await until_ended(client, "s")
    job = read_session(valkey, "s")[entry_id]
    check_complete(job)
    assert [begin.attempt for _, begin in job.begins] == [1, 1], "a release is no attempt"
    assert job.data == replayed(Chain(24_000, "pcm_s16le"), text, entry_id)


async def test_a_failure_nobody_foresaw_is_answered_as_internal_and_logged(
    valkey: redis.Redis,
    valkey_server: Server,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def stumble(_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("worker.utterance.utterance.Delivery.run", stumble)
    async with running(make_settings(valkey_server.url, max_attempts=1)):
        entry_id = await client.publish({"session_id": "s", "text": "Hello."})
        await until_ended(client, "s")
        await settled(valkey)
    assert read_session(valkey, "s")[entry_id].error.code == "internal"
    assert "a bug" in caplog.text
    check_dead_letter(valkey, entry_id, "internal")


@pytest.mark.parametrize(("code", "is_spoken"), [("expired", True), ("no_such_code", False), ("text_empty", False)])
async def test_a_job_whose_worker_died_between_its_end_and_its_settlement_may_come_again_where_the_end_is_retryable(
    code: str, is_spoken: bool, valkey: redis.Redis, settings: Settings, client: Client
) -> None:
    fields = {"session_id": "s", "job_id": "j1", "text": "Once more."}
    first = await client.publish(fields)
    ended = KEYS.job("s", first)
    valkey.hset(ended, mapping={"fence": "1", "end": "error", "at": "", "code": code})
    valkey.pexpire(ended, 600_000)
    async with running(settings, ToneEngine(4)):
        await settled(valkey)
        check_dead_letter(valkey, first, "error")
        again = await client.publish(fields)
        await settled(valkey)
        assert valkey.get(KEYS.seen_prefix + sha1(b"s j1").hexdigest()) == (again if is_spoken else first).encode()
    check_complete(read_session(valkey, "s")[again])
