"""A text with nothing to speak: begin, one final chunk without samples, complete; the engine is left alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis

from schemas.jobs import derived_seed
from schemas.messages import Audio, Complete
from schemas.wire import pack_codes, read_entry
from tests.conftest import Server, eventually, make_settings, running, sample
from tests.flow.listening import KEYS, Heard, check_complete, read_session, settled, until_ended
from tests.tone import ToneEngine
from worker.settings import Settings
from worker.stream.begin_request import BeginRequest
from worker.stream.client import Client
from worker.stream.lease import Lease
from worker.stream.queue import JobQueue
from worker.stream.session_writer import SessionPlane, SessionWriter
from worker.stream.transport.address import Address
from worker.stream.transport.open import open_link
from worker.stream.transport.retry import RetryPolicy

SILENT = ("🎉", ":)", "…", "---", "\u200b", "<br>")


def _check_silent(job: Heard) -> None:
    check_complete(job)
    complete = job.complete
    assert (complete.finish, complete.samples, complete.chunks, complete.text_spoken) == ("silent", 0, 1, "")
    assert (complete.audio_ms, complete.first_audio_ms, complete.leading_silence_ms, complete.rtf) == (0, 0, 0, 0.0)


async def test_it_completes_in_its_place_without_the_engine(
    valkey: redis.Redis, settings: Settings, client: Client
) -> None:
    engine = ToneEngine(4, frame_s=0.002)
    async with running(settings, engine) as worker:
        ids = [await client.publish({"session_id": "s", "text": text}) for text in ("One.", *SILENT, "Two.")]
        await until_ended(client, "s", len(ids))
        await settled(valkey)
    jobs = read_session(valkey, "s")
    assert list(jobs) == ids
    first, *silent, last = jobs.values()
    for job in silent:
        _check_silent(job)
        assert len(job.begins) == 1
    for job in (first, last):
        check_complete(job)
        assert job.complete.finish == "stop"
    assert [segment.text for segment in engine.opened] == ["One.", "Two."]
    assert valkey.xlen(KEYS.dead) == 0
    labels = {"finish": "silent", "voice": "placeholder", "model": "tone"}
    assert sample(worker, "finished_total", **labels) == len(SILENT)
    assert sample(worker, "first_audio_seconds_count") == 2, "no silence is measured as speech"


async def test_it_needs_no_voice_and_no_free_slot(valkey: redis.Redis, settings: Settings, client: Client) -> None:
    engine = ToneEngine(1, frame_s=0.02)
    engine.refused = {"makima"}
    async with running(settings, engine) as worker:
        worker._n_slots = 2  # more jobs than the engine has slots
        await client.publish({"session_id": "a", "text": "A story that takes the one slot of the engine. " * 9})
        await eventually(lambda: bool(engine.opened))
        entry_id = await client.publish({"session_id": "b", "text": ":)", "voice": "makima"})
        unknown = await client.publish({"session_id": "c", "text": ":)", "voice": "nobody"})
        await until_ended(client, "b")
        await until_ended(client, "c")
        assert not next(iter(read_session(valkey, "a").values())).ends
        await client.cancel("a")
        await settled(valkey)
    _check_silent(read_session(valkey, "b")[entry_id])
    assert read_session(valkey, "c")[unknown].error.code == "unknown_voice"


async def test_a_repeat_is_answered_by_a_copy_of_its_end(
    valkey: redis.Redis, settings: Settings, client: Client
) -> None:
    fields = {"session_id": "s", "text": ":)", "job_id": "j"}
    async with running(settings):
        ids = []
        for n in (1, 2):
            ids.append(await client.publish(fields))
            await until_ended(client, "s", n)
        await settled(valkey)
    entries: Any = valkey.xrange(KEYS.audio("s"))
    read = [read_entry(raw) for _, raw in entries]
    assert [(one.type, one.entry) for one in read] == [
        ("begin", ids[0]), ("audio", ids[0]), ("complete", ids[0]), ("complete", ids[1])
    ]  # fmt: skip
    assert read[2].message == read[3].message


async def test_a_cancel_before_it_begins_ends_it_as_cancelled(
    valkey: redis.Redis, settings: Settings, client: Client
) -> None:
    entry_id = await client.publish({"session_id": "s", "text": ":)"})
    await client.cancel("s", entry_id)
    async with running(settings):
        await until_ended(client, "s")
        await settled(valkey)
    job = read_session(valkey, "s")[entry_id]
    assert (job.begins, job.cancelled.samples) == ([], 0)


@pytest.fixture
async def dead_workers(valkey_server: Server) -> AsyncIterator[tuple[JobQueue, SessionPlane]]:
    """The queue and the session plane of a worker that takes a step and is never there again."""
    link = open_link(Address(valkey_server.url))
    yield JobQueue(link, KEYS, "dead"), SessionPlane(link, KEYS, RetryPolicy("session"))
    await link.close()


@pytest.mark.parametrize("last_step", ["claim", "begin", "chunk", "end"])
@pytest.mark.parametrize("is_released", [False, True], ids=["died", "drained"])
async def test_another_worker_completes_it_whichever_step_was_the_last(
    is_released: bool,
    last_step: str,
    valkey: redis.Redis,
    valkey_server: Server,
    client: Client,
    dead_workers: tuple[JobQueue, SessionPlane],
) -> None:
    entry_id = await client.publish({"session_id": "s", "text": ":)"})
    lease = await _stop_after(last_step, entry_id, *dead_workers)
    if is_released:
        await dead_workers[0].settle(lease, "release")
    async with running(make_settings(valkey_server.url, lease_ms=400)):
        await until_ended(client, "s")
        await settled(valkey)
    job = read_session(valkey, "s")[entry_id]
    _check_silent(job)
    assert len(job.begins) == {"claim": 1, "begin": 2, "chunk": 2, "end": 1}[last_step]


async def test_a_cancel_between_two_attempts_is_heeded(
    valkey: redis.Redis, valkey_server: Server, client: Client, dead_workers: tuple[JobQueue, SessionPlane]
) -> None:
    entry_id = await client.publish({"session_id": "s", "text": ":)"})
    await _stop_after("begin", entry_id, *dead_workers)
    await client.cancel("s", entry_id)
    async with running(make_settings(valkey_server.url, lease_ms=400)):
        await until_ended(client, "s")
        await settled(valkey)
    job = read_session(valkey, "s")[entry_id]
    assert (len(job.begins), job.chunks, job.cancelled.samples) == (1, [], 0)


async def _stop_after(last_step: str, entry_id: str, queue: JobQueue, plane: SessionPlane) -> Lease:
    """Take the first steps of a silent job as a worker does, the last of them included."""
    await queue.sweep()  # makes the group
    [lease] = (await queue.claim(1)).leases
    writer = SessionWriter(plane, lease, entry_id)
    of_job: dict[str, Any] = {"job_id": entry_id, "session_id": "s"}
    if last_step == "claim":
        return lease
    await writer.begin(BeginRequest("placeholder", "tone", 24_000, "pcm_s16le", 2**52, 3, language="English"))
    if last_step == "begin":
        return lease
    await writer.write(Audio(**of_job, seq=0, pos=0, data=b"", is_final=True), 0, pack_codes(0, 0, b""))
    if last_step == "end":
        await writer.end(
            Complete(
                **of_job, finish="silent", samples=0, chunks=1, audio_ms=0, queue_ms=0, first_audio_ms=0,
                leading_silence_ms=0, rtf=0.0, seed=derived_seed("s", entry_id), voice="placeholder", model="tone",
                text_spoken="",
            )
        )  # fmt: skip
    return lease


async def test_the_script_chooses_the_language_that_begin_reports(
    valkey: redis.Redis, settings: Settings, client: Client
) -> None:
    engine = ToneEngine(4)
    jobs = [
        ({"text": "こんにちは、マキマです。"}, "Japanese"),
        ({"text": "[안녕하세요](https://example.com/a/page/in/English)"}, "Korean"),
        ({"text": "東京", "voice": "placeholder"}, "Japanese"),
        ({"text": "Hello."}, "English"),
        ({"text": "Hello.", "language": "german"}, "German"),
        ({"text": "Hello.", "language": "Auto"}, "Auto"),
    ]
    async with running(settings, engine):
        for fields, _ in jobs:
            await client.publish({"session_id": "s", **fields})
        await until_ended(client, "s", len(jobs))
    heard = read_session(valkey, "s").values()
    assert [job.begins[0][1].language for job in heard] == [language for _, language in jobs]
    assert [segment.language for segment in engine.opened] == [language for _, language in jobs]
