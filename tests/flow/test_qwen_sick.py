"""A Qwen engine that breaks for good, at any of its stages, ends its worker, and another speaks all of its jobs."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest
import redis

from tests.conftest import Server, eventually, running
from tests.flow.conftest import QWEN_SLOTS
from tests.flow.listening import KEYS, check_complete, check_queue_is_empty, read_session, until_ended
from worker.engine.base import EngineSick
from worker.service import Worker
from worker.settings import Settings
from worker.stream.client import Client

if TYPE_CHECKING:
    from worker.engine.qwen.engine import QwenEngine
    from worker.voices.prompt_cache import PromptCache

pytestmark = pytest.mark.skipif(find_spec("qwen_tts") is None, reason="qwen-tts is not installed: makima-tts[qwen]")

CUDA_ERROR = "CUDA error: an illegal memory access was encountered"
SESSIONS = [f"s{n}" for n in range(QWEN_SLOTS + 1)]


@pytest.fixture
def valkey_server(servers: dict[str, Server]) -> Server:
    """One server will do: the scripts are tried on both kinds by tests of their own."""
    return servers["valkey"]


def break_for_good(patch: pytest.MonkeyPatch, stage: str, error: str, engine: QwenEngine) -> None:
    from worker.engine.qwen.cuda import HostCopy

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError(error)

    owner, method = {
        "frame": (engine._runner, "frame"),
        "codec": (engine._runner.codec, "decode"),
        "copy to the host": (HostCopy, "wait"),
        "prefill": (engine._runner, "begin"),
        "prompt": (engine, "prepare"),
    }[stage]
    patch.setattr(owner, method, broken)


@pytest.mark.parametrize(
    ("stage", "error"),
    [
        ("frame", CUDA_ERROR),
        ("frame", "shapes do not match"),
        ("codec", CUDA_ERROR),
        ("copy to the host", CUDA_ERROR),
        ("prefill", CUDA_ERROR),
        ("prompt", CUDA_ERROR),
    ],
)
async def test_an_engine_that_breaks_at_a_stage_loses_no_job_and_no_attempt(
    stage: str,
    error: str,
    valkey: redis.Redis,
    settings: Settings,
    client: Client,
    ending: QwenEngine,
    prompts: PromptCache,
) -> None:
    from worker.engine.qwen.adapter import QwenSpeaker

    serving = asyncio.create_task(Worker(settings, QwenSpeaker(ending, prompts)).run())
    ids = {session: await client.publish({"session_id": session, "text": "Hello there."}) for session in SESSIONS}
    await eventually(lambda: any(job.chunks for s in SESSIONS for job in read_session(valkey, s).values()), 60)
    with pytest.MonkeyPatch.context() as patch:
        break_for_good(patch, stage, error, ending)
        with pytest.raises(EngineSick, match=error):
            await asyncio.wait_for(serving, 60)
    async with running(settings, QwenSpeaker(ending, prompts)):
        for session in SESSIONS:
            await until_ended(client, session, within_s=60)
    for session, entry_id in ids.items():
        job = read_session(valkey, session)[entry_id]
        check_complete(job)
        assert {begin.attempt for _, begin in job.begins} == {1}
    check_queue_is_empty(valkey)
    assert not valkey.exists(KEYS.dead)
