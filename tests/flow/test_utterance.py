"""A job goes in, its session hears it: one worker in this process, a real Valkey, an engine of tones."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
import redis

from schemas.errors import ErrorCode
from tests.conftest import Server, eventually, make_settings, running, sample
from tests.flow.listening import KEYS, check_complete, check_queue_is_empty, read_session, until_ended
from tests.tone import ToneEngine
from worker.audio.chain import Chain
from worker.settings import Settings
from worker.stream.client import Client


async def settled(valkey: redis.Redis) -> None:
    await eventually(lambda: valkey.xlen(KEYS.jobs) == 0)
    check_queue_is_empty(valkey)


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
        await eventually(lambda: len(read_session(valkey, "s").get(first, _nothing()).chunks) > 2)
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
        await eventually(lambda: len(read_session(valkey, "s").get(new, _nothing()).chunks) > 2)
        await client.cancel("s", old)
        await until_ended(client, "s", 2)
    job = read_session(valkey, "s")[new]
    check_complete(job)
    assert len(job.begins) == 2
    undisturbed = Chain(24_000, "pcm_s16le")
    assert len(job.data) == len(_replayed(undisturbed, "A new and rather long sentence follows here."))


async def test_a_relay_that_left_ends_the_utterance_without_an_entry(
    valkey: redis.Redis, settings: Settings, client: Client
) -> None:
    async with running(settings, ToneEngine(4, frame_s=0.02)):
        entry_id = await client.publish({"session_id": "s", "text": "Nobody listens to this any more. " * 10})
        await eventually(lambda: len(read_session(valkey, "s").get(entry_id, _nothing()).chunks) > 1)
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
    _check_dead_letter(valkey, entry_id, "expired")


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


async def test_an_engine_that_fails_once_is_tried_again_and_the_listener_hears_one_utterance(
    valkey: redis.Redis, settings: Settings, client: Client
) -> None:
    engine = ToneEngine(4, frame_s=0.01)
    async with running(settings, engine):
        entry_id = await client.publish({"session_id": "s", "text": "This sentence is interrupted by a failure."})
        await eventually(lambda: len(read_session(valkey, "s").get(entry_id, _nothing()).chunks) > 3)
        engine.fail = 1
        await until_ended(client, "s")
        await settled(valkey)
    job = read_session(valkey, "s")[entry_id]
    check_complete(job)
    assert [begin.attempt for _, begin in job.begins] == [1, 2]
    assert job.begins[1][1].resumed_by == "regenerated"
    assert job.data == _replayed(Chain(24_000, "pcm_s16le"), "This sentence is interrupted by a failure.", entry_id)


async def test_an_engine_with_codes_resumes_from_them(valkey: redis.Redis, settings: Settings, client: Client) -> None:
    engine = ToneEngine(4, frame_s=0.01, has_codes=True)
    text = "This sentence is interrupted by a failure, but what was said is known."
    async with running(settings, engine):
        entry_id = await client.publish({"session_id": "s", "text": text})
        await eventually(lambda: len(read_session(valkey, "s").get(entry_id, _nothing()).chunks) > 3)
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
    _check_dead_letter(valkey, entry_id, "engine_failed")


async def test_attempts_that_got_on_do_not_count(valkey: redis.Redis, settings: Settings, client: Client) -> None:
    engine = ToneEngine(4, frame_s=0.01)
    text = "A sentence so long that there is time enough to fail four times before it has come to its end, at last."
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
    assert job.data == _replayed(Chain(24_000, "pcm_s16le"), text, entry_id)


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
        await eventually(lambda: len(read_session(valkey, "s").get(entry_id, _nothing()).chunks) > 2)
        worker.stop()
    assert valkey.llen(KEYS.job_plane[1]) == 1
    async with running(settings, ToneEngine(4)):
        await until_ended(client, "s")
    job = read_session(valkey, "s")[entry_id]
    check_complete(job)
    assert [begin.attempt for _, begin in job.begins] == [1, 1], "a release is no attempt"
    assert job.data == _replayed(Chain(24_000, "pcm_s16le"), text, entry_id)


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
    _check_dead_letter(valkey, entry_id, "internal")


async def test_a_job_whose_stream_another_job_took_is_given_back_and_spoken_after_it(
    valkey: redis.Redis, settings: Settings, client: Client
) -> None:
    """Two utterances at once on one stream: only an accident with the gates can do that."""
    async with running(settings, ToneEngine(4, frame_s=0.03)):
        first = await client.publish({"session_id": "s", "text": "A first sentence of some length."})
        await eventually(lambda: len(read_session(valkey, "s").get(first, _nothing()).chunks) > 2)
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


async def test_frames_that_a_slow_redis_cannot_take_do_not_pile_up(
    valkey: redis.Redis, settings: Settings, client: Client
) -> None:
    async with running(settings, ToneEngine(2)):
        entry_id = await client.publish({"session_id": "s", "text": "A long story without an end. " * 150})
        await until_ended(client, "s", within_s=60)
    check_complete(read_session(valkey, "s")[entry_id])


def _nothing() -> Any:
    from tests.flow.listening import Heard

    return Heard()


def _replayed(chain: Chain, text: str, entry_id: str | None = None) -> bytes:
    """What an undisturbed worker would have sent."""
    from schemas.jobs import derived_seed
    from tests.tone import tone
    from worker.engine.base import Segment
    from worker.text import Lexicon, plan

    data = b""
    for index, piece in enumerate(plan(text, "English", Lexicon({}))):
        seed = derived_seed("s", entry_id or "") + index
        segment = Segment(piece.spoken, "English", None, seed, 10_000)  # type: ignore[arg-type]
        chain.begin_segment()
        for frame in range((len(piece.spoken) + 1) // 2):
            data += chain.feed(np.asarray(tone(segment, frame)))
        data += chain.end_segment()
    return data + chain.flush()


def _check_dead_letter(valkey: redis.Redis, entry_id: str, reason: str) -> None:
    letters: Any = valkey.xrange(KEYS.dead)
    [fields] = [fields for _, fields in letters if fields[b"dead_id"] == entry_id.encode()]
    assert fields[b"dead_reason"] == reason.encode()
