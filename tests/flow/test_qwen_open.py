"""Qwen3-TTS speaks texts that are still being written: sentence by sentence, and word by word."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import redis

from schemas.wire import unpack_codes
from tests.conftest import REPOSITORY, Server, eventually, running
from tests.flow.dictating import cut, dictate, publish_open, write
from tests.flow.listening import Heard, check_complete, read_session, settled, until_ended
from worker.settings import Settings
from worker.stream.client import Client
from worker.text import plan
from worker.voices.registry import Registry

if TYPE_CHECKING:
    from worker.engine.qwen.adapter import QwenSpeaker
    from worker.engine.qwen.engine import QwenEngine
    from worker.voices.prompt_cache import PromptCache

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("qwen_tts") is None, reason="qwen-tts is not installed: makima-tts[qwen]"),
]
TEXT = "The rain has stopped. Nobody saw the sun, though, and nobody asked for it. So we stayed in."
BRIEF = "The rain has stopped. Nobody saw the sun."
GREEDY = {"seed": "1", "temperature": "0", "language": "English", "ahead_ms": "0"}


@pytest.fixture
def valkey_server(servers: dict[str, Server]) -> Server:
    return servers["valkey"]


@pytest.fixture
def speaker(ending: QwenEngine, prompts: PromptCache) -> Iterator[QwenSpeaker]:
    from worker.engine.qwen.adapter import QwenSpeaker

    return QwenSpeaker(ending, prompts)  # type: ignore[return-value]


@pytest.fixture
def streaming(settings: Settings, tmp_path: Path) -> Settings:
    """Settings with a voice whose text is read while it is spoken; of its speaker alone, so that words begin early."""
    shutil.copytree(REPOSITORY / "voices" / "placeholder", tmp_path / "placeholder")
    card = tmp_path / "placeholder" / "voice.toml"
    card.write_text('text = "streaming"\n' + card.read_text().replace('mode = "icl"', 'mode = "x_vector"'))
    return settings.model_copy(update={"voices_dir": tmp_path})


def codes_of(job: Heard) -> np.ndarray:
    """All codes of a job, [n, 16]."""
    raw = b"".join(unpack_codes(entry.codes)[2] for _, _, entry in job.chunks if entry.codes)
    return np.frombuffer(raw, "<u2").reshape(-1, 16)


def heard(valkey: redis.Redis, session_id: str, entry_id: str) -> Heard:
    return read_session(valkey, session_id).get(entry_id, Heard())


async def test_sentences_are_spoken_as_those_of_the_whole_text(
    valkey: redis.Redis, settings: Settings, client: Client, speaker: QwenSpeaker
) -> None:
    async with running(settings, speaker):
        whole = await client.publish({"session_id": "w", "text": TEXT, **GREEDY})
        await until_ended(client, "w", within_s=120)
        entry_id = await publish_open(client, "s", **GREEDY)
        pieces = cut(TEXT, 3)
        for piece in pieces[: len(pieces) // 2]:
            write(valkey, "s", {"text": piece})
        await eventually(lambda: len(heard(valkey, "s", entry_id).chunks) > 0, within_s=120)
        await dictate(valkey, "s", pieces[len(pieces) // 2 :])
        await until_ended(client, "s", within_s=120)
        await settled(valkey)
    job, expected = heard(valkey, "s", entry_id), heard(valkey, "w", whole)
    check_complete(job)
    assert [(it.index, it.pos, it.text) for it in job.segments] == [
        (it.index, it.pos, it.text) for it in expected.segments
    ]
    assert [it.text for it in job.segments] == [piece.written for piece in plan(TEXT, "English", {})]
    assert np.array_equal(codes_of(job), codes_of(expected))
    assert job.data == expected.data
    assert job.complete.text_spoken == TEXT


async def test_words_are_spoken_as_upstream_speaks_them_in_its_streaming_mode(
    valkey: redis.Redis, streaming: Settings, client: Client, endless: QwenEngine, prompts: PromptCache
) -> None:
    """Upstream's codes are those of a request with whole_text=False (tests/qwen holds that)."""
    from worker.engine.qwen import Sampling, SpeechRequest
    from worker.engine.qwen.adapter import QwenSpeaker

    speaker = QwenSpeaker(endless, prompts)
    voice = speaker._voices.get(Registry.load(streaming.voices_dir).get("placeholder"))
    request = SpeechRequest(BRIEF, voice, "English", Sampling(greedy=True), seed=1, whole_text=False)
    [expected] = endless.synthesize([request])
    async with running(streaming, speaker):
        entry_id = await publish_open(client, "s", **GREEDY)
        write(valkey, "s", {"text": BRIEF[:26]})
        await eventually(lambda: len(heard(valkey, "s", entry_id).chunks) > 0, within_s=120)
        assert not heard(valkey, "s", entry_id).ends
        await dictate(valkey, "s", cut(BRIEF[26:], 5), every_s=0.005)
        await until_ended(client, "s", within_s=120)
        await settled(valkey)
    job = heard(valkey, "s", entry_id)
    check_complete(job)
    found = codes_of(job)
    assert len(found) == len(expected.codes)
    assert np.array_equal(found, expected.codes)
    assert [it.text for it in job.segments] == [BRIEF]
