"""Qwen3-TTS as the engine of a worker on a real Valkey."""

from __future__ import annotations

import asyncio
import logging
import shutil
import threading
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import redis

from schemas.messages import Audio
from tests.conftest import REPOSITORY, Server, eventually, http_status, make_settings, running, sample
from tests.flow.conftest import QWEN_SLOTS
from tests.flow.listening import KEYS, Heard, check_complete, check_queue_is_empty, read_session, until_ended
from tests.recordings import babble, make_voice, replace_recording, set_digest
from worker.observe.health import HealthServer
from worker.settings import Settings
from worker.stream.client import TERMINAL, Client
from worker.voices.card import Card

if TYPE_CHECKING:
    from worker.engine.qwen.adapter import QwenSpeaker
    from worker.engine.qwen.engine import QwenEngine
    from worker.voices.prompt_cache import PromptCache

pytestmark = pytest.mark.skipif(find_spec("qwen_tts") is None, reason="qwen-tts is not installed: makima-tts[qwen]")


@pytest.fixture
def valkey_server(servers: dict[str, Server]) -> Server:
    """One server will do: what a worker sends is tried on both kinds by the other flows."""
    return servers["valkey"]


@pytest.fixture
def speaker(endless: QwenEngine, prompts: PromptCache) -> QwenSpeaker:
    from worker.engine.qwen.adapter import QwenSpeaker

    return QwenSpeaker(endless, prompts)


@pytest.fixture
def stopping(ending: QwenEngine, prompts: PromptCache) -> QwenSpeaker:
    from worker.engine.qwen.adapter import QwenSpeaker

    return QwenSpeaker(ending, prompts)


async def _heard(valkey: redis.Redis, client: Client, session_id: str, **fields: str) -> Heard:
    """What a session hears of a job, once that has ended."""
    entry_id = await client.publish({"session_id": session_id, "text": "Hello there.", **fields})
    await until_ended(client, session_id, within_s=120)
    return read_session(valkey, session_id)[entry_id]


async def test_jobs_are_spoken_by_the_models_name_and_the_same_seed_sounds_the_same(
    valkey: redis.Redis, settings: Settings, client: Client, stopping: QwenSpeaker
) -> None:
    async with running(settings, stopping) as worker:
        jobs = [
            await _heard(valkey, client, "one", seed="4"),
            await _heard(valkey, client, "two", seed="4"),
            await _heard(valkey, client, "three", seed="5"),
            await _heard(valkey, client, "four", seed="5", temperature="0"),
            await _heard(valkey, client, "five", seed="6", temperature="0"),
        ]
        shown = worker.metrics.render().decode()
    for job in jobs:
        check_complete(job)
        assert job.begins[0][1].model == job.complete.model == "ending"
        assert job.complete.finish in ("stop", "length")
        assert all(len(str(entry.codes)) > 0 for _, _, entry in job.chunks)
    assert jobs[3].complete.finish == "stop"
    assert jobs[0].data == jobs[1].data != jobs[2].data
    assert jobs[3].data == jobs[4].data != jobs[2].data
    [memory] = [line for line in shown.splitlines() if line.startswith("makima_tts_engine_memory_bytes ")]
    assert float(memory.split()[1]) > 50e6
    check_queue_is_empty(valkey)


async def test_two_sessions_are_spoken_together(
    valkey: redis.Redis, settings: Settings, client: Client, speaker: QwenSpeaker
) -> None:
    arrived: list[str] = []

    async def listen(session_id: str) -> None:
        async with Client(*_addresses(settings)) as listener:
            async for _, entry in listener.listen(session_id):
                if isinstance(entry.message, Audio):
                    arrived.append(session_id)
                if entry.type in TERMINAL:
                    return

    async with running(settings, speaker), asyncio.timeout(120):
        for session_id in ("a", "b"):
            await client.publish({"session_id": session_id, "text": "Hello there."})
        await asyncio.gather(listen("a"), listen("b"))
    n_turns = sum(one != other for one, other in pairwise(arrived))
    assert n_turns >= 6, arrived
    for session_id in ("a", "b"):
        [job] = read_session(valkey, session_id).values()
        assert job.complete.finish == "length", "these weights know no end: the budget is one"
        assert job.complete.audio_ms == 6000


def _addresses(settings: Settings) -> Any:
    from worker.stream.keys import Keys
    from worker.stream.transport.address import addresses

    return *addresses(settings), Keys(settings.prefix)


async def test_a_cancelled_job_frees_its_slot_for_the_next(
    valkey: redis.Redis, settings: Settings, client: Client, speaker: QwenSpeaker
) -> None:
    async with running(settings, speaker):
        sessions = [f"s{n}" for n in range(QWEN_SLOTS)]
        ids = [await client.publish({"session_id": s, "text": "A long story. " * 20}) for s in sessions]
        await eventually(lambda: len(read_session(valkey, "s1").get(ids[1], Heard()).chunks) > 1)
        waits = await client.publish({"session_id": "next", "text": "Hello there."})
        for session_id in sessions:
            await client.cancel(session_id)
        for session_id in sessions:
            await until_ended(client, session_id)
        await until_ended(client, "next", within_s=120)
        await eventually(lambda: valkey.xlen(KEYS.jobs) == 0)
    cancelled = read_session(valkey, "s1")[ids[1]]
    assert cancelled.cancelled.samples * 2 == len(cancelled.data) > 0
    check_complete(read_session(valkey, "next")[waits])
    check_queue_is_empty(valkey)


async def test_a_model_that_goes_on_without_speaking_is_reported(
    valkey: redis.Redis, settings: Settings, client: Client, speaker: QwenSpeaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from worker.engine.qwen import runaway

    async with running(settings, speaker) as worker:
        monkeypatch.setattr(runaway, "QUIET_RMS", 2.0)  # all that this random model says counts as silence
        job = await _heard(valkey, client, "s")
        labels = {"finish": "runaway", "voice": "placeholder", "model": "tiny"}
        await eventually(lambda: sample(worker, "finished_total", **labels) == 1)
    check_complete(job)
    assert job.complete.finish == "runaway"
    assert job.complete.audio_ms <= runaway.MAX_QUIET_FRAMES_AT_START * 80


async def test_a_step_that_fails_has_its_jobs_tried_again_and_they_go_on_where_they_were(
    valkey: redis.Redis, settings: Settings, client: Client, speaker: QwenSpeaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from worker.engine.qwen.runner import ModelRunner

    frame, n_frames = ModelRunner.frame, 0

    def fails_once(forward: ModelRunner, *arguments: Any) -> Any:
        nonlocal n_frames
        n_frames += 1
        if n_frames == 25:
            raise RuntimeError("a step that fails by chance")
        return frame(forward, *arguments)

    async with running(settings, speaker) as worker:
        undisturbed = await _heard(valkey, client, "undisturbed", seed="3")
        monkeypatch.setattr(ModelRunner, "frame", fails_once)
        ids = {s: await client.publish({"session_id": s, "text": "Hello there.", "seed": "3"}) for s in ("a", "b")}
        for session_id in ids:
            await until_ended(client, session_id, within_s=120)
        assert worker.problems() == []
    for session_id, entry_id in ids.items():
        job = read_session(valkey, session_id)[entry_id]
        check_complete(job)
        assert [begin.attempt for _, begin in job.begins] == [1, 2]
        assert job.begins[1][1].resumed_by == "codes"
        assert job.data == undisturbed.data


async def test_each_recording_gets_speech_or_an_error_that_says_what_to_do(
    valkey: redis.Redis, valkey_server: Server, client: Client, endless: QwenEngine, tmp_path: Path
) -> None:
    from worker.engine.qwen.adapter import QwenSpeaker

    for name in ("makima", "placeholder"):
        shutil.copytree(REPOSITORY / "voices" / name, tmp_path / name)
    replace_recording(make_voice(tmp_path, "brief"), babble(1.0))
    replace_recording(make_voice(tmp_path, "silent"), np.zeros(24_000 * 6, np.float32))
    sound = babble(4.0, rate=44_100)
    replace_recording(make_voice(tmp_path, "stereo"), np.stack([sound, 0.7 * sound], axis=1), 44_100)
    text = make_voice(tmp_path, "text") / "reference.wav"
    text.write_text("This is no recording. " * 500, "utf-8")
    set_digest(text.parent, _digest(text))
    settings = make_settings(valkey_server.url, voices_dir=tmp_path)
    async with running(settings, QwenSpeaker(endless, None)) as worker:
        jobs = {
            name: await _heard(valkey, client, name, voice=name)
            for name in ("brief", "silent", "text", "makima", "stereo")
        }
        check_complete(await _heard(valkey, client, "after"))
        assert worker.problems() == []
    check_complete(jobs.pop("stereo"))
    says = {
        "brief": "brief: reference.wav lasts 1.0 s; use 5 to 15 s (at least 3)",
        "silent": "silent: reference.wav is silent; record it again",
        "text": "text: reference.wav holds text and cannot be decoded as a recording; ",
        "makima": "makima: reference.wav is missing; put 5 to 15 s of clean speech there and run "
        "`makima-tts voices check`",
    }
    for name, job in jobs.items():
        assert job.error.message.startswith(says[name])
    for job in jobs.values():
        assert (job.error.code, job.error.field, job.error.retryable) == ("voice_unavailable", "voice", False)
        assert job.chunks == []


def _digest(file: Path) -> str:
    from hashlib import sha256

    return sha256(file.read_bytes()).hexdigest()


async def test_the_ready_page_says_so_only_after_the_warm_up(
    settings: Settings, valkey: redis.Redis, endless: QwenEngine, prompts: PromptCache
) -> None:
    from worker.engine.qwen.adapter import QwenSpeaker
    from worker.service import Worker

    class Watched(QwenSpeaker):
        began, may_end = threading.Event(), threading.Event()

        def warm_up(self, voices: Sequence[Card]) -> None:
            self.began.set()
            super().warm_up(voices)
            self.may_end.wait(10)

    engine = Watched(endless, prompts)
    worker = Worker(settings, engine)
    with HealthServer(worker, worker.metrics, port=0) as health:
        running_task = asyncio.create_task(worker.run())
        await eventually(engine.began.is_set)
        assert await http_status(health.port, "/readyz") == 503
        assert await http_status(health.port, "/healthz") == 200
        engine.may_end.set()
        await eventually(worker.is_ready)
        assert await http_status(health.port, "/readyz") == 200
        worker.stop()
        await running_task


async def test_a_voice_that_comes_with_a_reload_has_its_prompt_made_and_is_spoken(
    valkey: redis.Redis,
    valkey_server: Server,
    client: Client,
    ending: QwenEngine,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from worker.engine.qwen.adapter import QwenSpeaker

    caplog.set_level(logging.INFO)
    shutil.copytree(REPOSITORY / "voices" / "placeholder", tmp_path / "placeholder")
    settings = make_settings(valkey_server.url, voices_dir=tmp_path)
    async with running(settings, QwenSpeaker(ending, None)) as worker:
        assert (await _heard(valkey, client, "s1", voice="alice")).error.code == "unknown_voice"
        voice = make_voice(tmp_path)
        replace_recording(voice, babble(1.0))
        worker.reload_voices()
        await eventually(lambda: "voices reloaded" in caplog.text)
        assert (await _heard(valkey, client, "s2", voice="alice")).error.code == "voice_unavailable"
        replace_recording(voice, babble(4.0))
        worker.reload_voices()
        await eventually(lambda: "prompt of alice built" in caplog.text)
        check_complete(await _heard(valkey, client, "s3", voice="alice"))
