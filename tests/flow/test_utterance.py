"""One worker in this process speaks jobs with an engine of tones, on a real server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis

from schemas.errors import ErrorCode
from tests.conftest import eventually, running, sample
from tests.flow.listening import (
    KEYS,
    Heard,
    check_complete,
    check_dead_letter,
    read_session,
    replayed,
    settled,
    until_ended,
)
from tests.tone import ToneEngine
from worker.audio.chain import Chain
from worker.settings import Settings
from worker.stream.client import Client


async def test_a_job_of_two_fields_is_spoken_to_its_end(
    valkey: redis.Redis, settings: Settings, client: Client
) -> None:
    async with running(settings):
        entry_id = await client.publish({"session_id": "s1", "text": "Hello, I am Makima."})
        await until_ended(client, "s1")
        await settled(valkey)
    job = read_session(valkey, "s1")[entry_id]
    check_complete(job)
    [(_, begin)] = job.begins
    assert (begin.job_id, begin.voice, begin.model, begin.attempt) == (entry_id, "placeholder", "tone", 1)
    assert (begin.sample_rate, begin.encoding, begin.resumed_at, begin.resumed_by) == (24_000, "pcm_s16le", 0, None)
    assert job.complete.finish == "stop"
    assert job.complete.text_spoken == "Hello, I am Makima."
    assert job.complete.audio_ms == job.complete.samples * 1000 // 24_000
    assert job.complete.first_audio_ms >= job.complete.queue_ms


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 24000, 44100, 48000])
@pytest.mark.parametrize("encoding", ["pcm_s16le", "pcm_f32le", "mulaw", "alaw"])
async def test_every_rate_and_encoding_has_the_length_of_the_speech(
    rate: int, encoding: str, valkey: redis.Redis, settings: Settings, client: Client
) -> None:
    async with running(settings):
        fields = {"session_id": "s", "text": "A tone of some length.", "sample_rate": str(rate), "encoding": encoding}
        entry_id = await client.publish(fields)
        await until_ended(client, "s")
    job = read_session(valkey, "s")[entry_id]
    sample_bytes = {"pcm_s16le": 2, "pcm_f32le": 4}.get(encoding, 1)
    check_complete(job, sample_bytes)
    assert len(job.data) / sample_bytes / rate == pytest.approx(11 * 0.08, abs=0.002)
    assert max(len(chunk.data) for _, chunk, _ in job.chunks) <= 256 * 1024


async def test_a_session_hears_its_jobs_in_order_and_two_sessions_are_spoken_together(
    valkey: redis.Redis, settings: Settings, client: Client
) -> None:
    async with running(settings, ToneEngine(4, frame_s=0.01)):
        ids = [await client.publish({"session_id": "a", "text": f"Sentence number {n}."}) for n in range(5)]
        other = await client.publish({"session_id": "b", "text": "Meanwhile, somebody else."})
        await until_ended(client, "b")
        assert len(read_session(valkey, "a")) < 5
        await until_ended(client, "a", 5)
    jobs = read_session(valkey, "a")
    assert list(jobs) == ids
    for job in [*jobs.values(), read_session(valkey, "b")[other]]:
        check_complete(job)


async def test_a_cancel_stops_speech_and_queued_jobs_and_spares_what_is_published_after(
    valkey: redis.Redis, settings: Settings, client: Client
) -> None:
    async with running(settings, ToneEngine(4, frame_s=0.02)):
        first = await client.publish({"session_id": "s", "text": "A long story. " * 40})
        second = await client.publish({"session_id": "s", "text": "Never to be heard."})
        await eventually(lambda: len(read_session(valkey, "s").get(first, Heard()).chunks) > 2)
        await client.cancel("s", second)
        third = await client.publish({"session_id": "s", "text": "But this is."})
        await client.cancel("s", second)
        await until_ended(client, "s", 3)
        await settled(valkey)
    jobs = read_session(valkey, "s")
    assert jobs[first].cancelled.samples * 2 == len(jobs[first].data)
    assert not jobs[second].begins
    assert jobs[second].cancelled.samples == 0
    check_complete(jobs[third])


async def test_a_late_cancel_of_an_older_job_harms_no_newer_one(
    valkey: redis.Redis, settings: Settings, client: Client
) -> None:
    async with running(settings, ToneEngine(4, frame_s=0.02)):
        old = await client.publish({"session_id": "s", "text": "Old."})
        await until_ended(client, "s")
        new = await client.publish({"session_id": "s", "text": "A new and rather long sentence follows here."})
        await eventually(lambda: len(read_session(valkey, "s").get(new, Heard()).chunks) > 2)
        await client.cancel("s", old)
        await until_ended(client, "s", 2)
    job = read_session(valkey, "s")[new]
    check_complete(job)
    assert len(job.begins) == 2
    undisturbed = Chain(24_000, "pcm_s16le")
    assert len(job.data) == len(replayed(undisturbed, "A new and rather long sentence follows here."))


async def test_a_relay_that_left_ends_the_utterance_without_an_entry(
    valkey: redis.Redis, settings: Settings, client: Client
) -> None:
    async with running(settings, ToneEngine(4, frame_s=0.02)):
        entry_id = await client.publish({"session_id": "s", "text": "Nobody listens to this any more. " * 10})
        await eventually(lambda: len(read_session(valkey, "s").get(entry_id, Heard()).chunks) > 1)
        valkey.delete(KEYS.audio("s"))
        await settled(valkey)
    assert not valkey.exists(KEYS.audio("s"))
    assert valkey.hget(KEYS.job("s", entry_id), "end") == b"cancelled"


async def test_a_job_that_waited_longer_than_its_ttl_is_refused_as_expired(
    valkey: redis.Redis, settings: Settings, client: Client
) -> None:
    entry_id = await client.publish({"session_id": "s", "text": "Too late.", "ttl_ms": "1"})
    await asyncio.sleep(0.05)
    async with running(settings):
        await until_ended(client, "s")
    job = read_session(valkey, "s")[entry_id]
    assert job.error.code == ErrorCode.EXPIRED
    assert not job.begins
    check_dead_letter(valkey, entry_id, "expired")


async def test_a_voice_the_engine_cannot_speak_is_answered_and_others_go_on(
    valkey: redis.Redis, settings: Settings, client: Client
) -> None:
    engine = ToneEngine(4)
    engine.refused = {"makima"}
    async with running(settings, engine):
        bad = await client.publish({"session_id": "s", "text": "Hello.", "voice": "makima"})
        worse = await client.publish({"session_id": "s", "text": "Hello.", "voice": "nobody"})
        good = await client.publish({"session_id": "s", "text": "Hello."})
        await until_ended(client, "s", 3)
    jobs = read_session(valkey, "s")
    assert (jobs[bad].error.code, jobs[bad].error.field) == ("voice_unavailable", "voice")
    assert (jobs[worse].error.code, jobs[worse].error.field) == ("unknown_voice", "voice")
    assert "placeholder" in jobs[worse].error.message
    check_complete(jobs[good])


async def test_a_text_without_sound_is_an_error_and_not_an_empty_utterance(
    valkey: redis.Redis, settings: Settings, client: Client
) -> None:
    async with running(settings):
        entry_id = await client.publish({"session_id": "s", "text": "silent"})
        await until_ended(client, "s")
    assert read_session(valkey, "s")[entry_id].error.code == "no_audio"


async def test_a_job_whose_stream_another_job_took_is_given_back_and_spoken_after_it(
    valkey: redis.Redis, settings: Settings, client: Client
) -> None:
    """Two utterances at once on one stream: only an accident with the gates can do that."""
    async with running(settings, ToneEngine(4, frame_s=0.03)):
        first = await client.publish({"session_id": "s", "text": "A first sentence of some length."})
        await eventually(lambda: len(read_session(valkey, "s").get(first, Heard()).chunks) > 2)
        tail: Any = valkey.xrevrange(KEYS.audio("s"), count=1)
        epoch = int(tail[0][0].split(b"-")[0])
        foreign = {"type": "audio", "job_id": "x", "entry": "1-0", "delivered": 0, "data": b"x"}
        valkey.xadd(KEYS.audio("s"), foreign, id=f"{epoch + 1}-0")  # type: ignore[arg-type]
        await eventually(lambda: valkey.xlen(KEYS.jobs) == 0, within_s=10)
    end: Any = valkey.xrevrange(KEYS.audio("s"), count=1)
    assert (end[0][1][b"type"], end[0][1][b"entry"]) == (b"complete", first.encode())


async def test_a_job_published_twice_under_one_job_id_is_spoken_once(
    valkey: redis.Redis, settings: Settings, client: Client
) -> None:
    async with running(settings) as worker:
        fields = {"session_id": "s", "text": "Only once.", "job_id": "j1"}
        first = await client.publish(fields)
        await client.publish(fields)
        other = await client.publish(fields | {"session_id": "t"})
        await until_ended(client, "s")
        await until_ended(client, "t")
        await settled(valkey)
    assert list(read_session(valkey, "s")) == [first]
    assert list(read_session(valkey, "t")) == [other]
    assert sample(worker, "duplicates_deleted_total") == 1


async def test_frames_that_redis_cannot_take_do_not_pile_up(
    valkey: redis.Redis, settings: Settings, client: Client
) -> None:
    engine, text = ToneEngine(2, frame_s=0.002), "A long story without an end. " * 75
    async with running(settings.model_copy(update={"lease_ms": 10_000}), engine):
        entry_id = await client.publish({"session_id": "s", "text": text})
        await eventually(lambda: len(read_session(valkey, "s").get(entry_id, Heard()).chunks) > 2)
        valkey.client_pause(4000, all=False)
        await _until_still(engine)
        assert engine.n_frames < len(text) / 2 / 2, "half of what the whole text has"
        valkey.client_unpause()
        await until_ended(client, "s", within_s=60)
    check_complete(read_session(valkey, "s")[entry_id])


async def _until_still(engine: ToneEngine) -> None:
    """Wait until the engine has made no frame for the time of 100 frames."""
    async with asyncio.timeout(4):
        n_frames = -1
        while n_frames != engine.n_frames:
            n_frames = engine.n_frames
            await asyncio.sleep(100 * engine.frame_s)
