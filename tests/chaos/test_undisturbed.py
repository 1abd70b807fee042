"""What real workers send, disturbed or not, is what the check expects of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest
import redis

from schemas.errors import JobError
from tests.chaos.check import Findings, Raw, check, check_left_behind
from tests.chaos.ledger import Ledger, Published
from tests.chaos.undisturbed import Expected, Preview, Qwen
from tests.conftest import REPOSITORY, Server, eventually, make_settings, running
from tests.flow.conftest import endless, prompts
from tests.flow.listening import until_ended
from worker.engine.base import Engine
from worker.engine.preview.engine import PreviewEngine
from worker.engine.preview.espeak import Espeak
from worker.settings import Settings
from worker.stream.client import Client
from worker.stream.keys import Keys
from worker.voices.registry import Registry

if TYPE_CHECKING:
    from worker.engine.qwen.engine import QwenEngine
    from worker.voices.prompt_cache import PromptCache

__all__ = ["endless", "prompts"]  # fixtures

KEYS = Keys()
VOICES = Registry.load(REPOSITORY / "voices")
TWO_SEGMENTS = "This is the first one. And here is another."
needs_qwen = pytest.mark.skipif(find_spec("qwen_tts") is None, reason="qwen-tts is not installed: makima-tts[qwen]")


@pytest.fixture
def valkey_server(servers: dict[str, Server]) -> Server:
    """One server will do: what a worker sends is tried on both kinds by the flows."""
    return servers["valkey"]


@pytest.fixture(scope="module")
def preview() -> Iterator[Preview]:
    with Preview() as undisturbed:
        yield undisturbed


class Stage:
    """Publishes to a server and keeps the ledger."""

    def __init__(self, valkey: redis.Redis, client: Client) -> None:
        self.ledger = Ledger()
        self._valkey = valkey
        self._client = client

    async def publish(self, session_id: str, job_id: str, **fields: str) -> None:
        its = {"session_id": session_id, "job_id": job_id, "text": "Hello there.", "ttl_ms": "300000"} | fields
        self.ledger.jobs.append(Published(session_id, job_id, await self._client.publish(its), its, 0.0))

    async def cancel(self, session_id: str) -> None:
        self.ledger.cancels.setdefault(session_id, []).append(await self._client.cancel(session_id))

    def entries(self, session_id: str) -> list[Raw]:
        read: Any = self._valkey.xrange(KEYS.audio(session_id))
        return list(read)

    def n_chunks(self, session_id: str) -> int:
        return sum(raw[b"type"] == b"audio" for _, raw in self.entries(session_id))

    async def until_chunks(self, session_id: str, n: int) -> None:
        await eventually(lambda: self.n_chunks(session_id) >= n, within_s=30)

    async def until_all_ended(self) -> None:
        for session_id, jobs in self.ledger.by_session().items():
            await until_ended(self._client, session_id, len(jobs), within_s=60)
        await eventually(lambda: check_left_behind(self._valkey, KEYS) == [])

    async def check(self, expected: Expected) -> Findings:
        return await asyncio.to_thread(check, self.ledger, self.entries, expected)


@pytest.fixture
def stage(valkey: redis.Redis, client: Client) -> Stage:
    return Stage(valkey, client)


async def _hand_over_in_mid_utterance(stage: Stage, settings: Settings, engines: list[Engine]) -> None:
    """Jobs of every kind: given back by its worker, cancelled while spoken, after another, refused, without speech."""
    leaving, staying = engines
    async with running(settings, leaving) as worker:
        await stage.publish("moved", "a", text=TWO_SEGMENTS, encoding="mulaw", sample_rate="8000", seed="5")
        await stage.publish("moved", "b", sample_rate="44100", encoding="pcm_f32le", seed="6")
        await stage.publish("cut", "a", text=TWO_SEGMENTS)
        await stage.until_chunks("moved", 4)
        await stage.until_chunks("cut", 2)
        worker.stop()
    async with running(settings, staying):
        await stage.until_chunks("cut", stage.n_chunks("cut") + 1)
        await stage.cancel("cut")
        await stage.publish("refused", "a", voice="nobody")
        await stage.publish("refused", "b", text=" ")
        await stage.publish("silent", "a", text="…")
        await stage.publish("refused", "c", sample_rate="1")
        await stage.until_all_ended()


async def test_nothing_is_wrong_with_what_real_workers_say(
    stage: Stage, valkey_server: Server, preview: Preview
) -> None:
    settings = make_settings(valkey_server.url, grace_s=0)
    await _hand_over_in_mid_utterance(stage, settings, [PreviewEngine(3, 1.5, Espeak()) for _ in range(2)])
    found = await stage.check(preview)
    assert found.violations == []
    assert (found.n_jobs, found.n_complete, found.n_cancelled, found.n_refused) == (7, 3, 1, 3)
    assert found.takeovers >= 2


async def test_a_wrong_sample_of_a_real_worker_is_found(stage: Stage, valkey_server: Server, preview: Preview) -> None:
    async with running(make_settings(valkey_server.url), PreviewEngine(1, None, Espeak())):
        await stage.publish("s", "a", text="Hello there.")
        await stage.until_all_ended()
    [job] = stage.ledger.jobs
    stage.ledger.jobs = [replace(job, fields={**job.fields, "text": "Hello dear."})]
    found = await stage.check(preview)
    assert len(found.violations) == len(found.wrong) == 2, "its samples and its segment"


def test_what_cannot_be_spoken_is_refused_each_time(preview: Preview) -> None:
    job = Published("s", "a", "1-0", {"session_id": "s", "job_id": "a", "text": "Hello.", "v": "9"}, 0.0)
    for _ in range(2):
        with pytest.raises(JobError, match="9"):
            preview.speech(job)


@pytest.mark.slow
@needs_qwen
async def test_nothing_is_wrong_with_what_qwen_says(
    stage: Stage, valkey_server: Server, endless: QwenEngine, prompts: PromptCache
) -> None:
    from worker.engine.qwen.adapter import QwenSpeaker

    settings = make_settings(valkey_server.url, grace_s=0)
    engines: list[Engine] = [QwenSpeaker(endless, prompts), QwenSpeaker(endless, prompts)]
    await _hand_over_in_mid_utterance(stage, settings, engines)
    undisturbed = Qwen(endless, prompts, VOICES, "placeholder")
    found = await stage.check(undisturbed)
    assert found.violations == []
    assert (found.n_jobs, found.n_complete, found.n_cancelled, found.n_refused) == (7, 3, 1, 3)
    assert found.takeovers >= 2

    def read_with_another_code(session_id: str) -> Sequence[Raw]:
        """In the first frame of the session."""
        entries = [(stream_id, dict(raw)) for stream_id, raw in stage.entries(session_id)]
        for raw in [raw for _, raw in entries if len(raw.get(b"codes", b"")) > 6][:1]:
            header, code, rest = raw[b"codes"][:6], raw[b"codes"][6], raw[b"codes"][7:]
            raw[b"codes"] = header + bytes([code ^ 1]) + rest
        return entries

    found = await asyncio.to_thread(check, stage.ledger, read_with_another_code, undisturbed)
    assert [sentence.split(":")[0] for sentence in found.wrong] == ["moved a", "cut a"]
    assert found.violations == [f"wrong: {sentence}" for sentence in found.wrong]
