"""A voice whose text is read while it is spoken: rows that begin before their text is complete."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import redis

from tests.conftest import REPOSITORY, eventually, running
from tests.flow.dictating import cut, dictate, publish_open, write
from tests.flow.listening import Heard, check_complete, read_session, settled, until_ended
from tests.tone import ToneEngine
from worker.settings import Settings
from worker.stream.client import Client

TEXT = "Once upon a time there was a road. Nobody knew where it went, and nobody asked. So it went on."
LONG = " ".join(f"Sentence number {n} of a long story has some words in it." for n in range(24))


@pytest.fixture
def streaming(settings: Settings, tmp_path: Path) -> Settings:
    """Settings with a voice whose text is read while it is spoken."""
    shutil.copytree(REPOSITORY / "voices" / "placeholder", tmp_path / "placeholder")
    card = tmp_path / "placeholder" / "voice.toml"
    card.write_text(f'text = "streaming"\n{card.read_text()}')
    return settings.model_copy(update={"voices_dir": tmp_path})


def heard(valkey: redis.Redis, session_id: str, entry_id: str) -> Heard:
    return read_session(valkey, session_id).get(entry_id, Heard())


async def test_words_sound_before_their_sentence_ends(valkey: redis.Redis, streaming: Settings, client: Client) -> None:
    async with running(streaming, ToneEngine(has_codes=True)):
        entry_id = await publish_open(client, "s", language="English")
        write(valkey, "s", {"text": TEXT[:30]})
        await eventually(lambda: len(heard(valkey, "s", entry_id).chunks) > 0)
        assert not heard(valkey, "s", entry_id).ends
        write(valkey, "s", {"text": TEXT[30:], "end": "1"})
        await until_ended(client, "s")
        await settled(valkey)
    job = heard(valkey, "s", entry_id)
    check_complete(job)
    assert [it.text for it in job.segments] == [TEXT]
    assert job.complete.text_spoken == TEXT


@pytest.mark.parametrize("text", [TEXT, LONG])
@pytest.mark.parametrize("seed", [1, 2])
async def test_the_samples_do_not_depend_on_when_the_text_came(
    text: str, seed: int, valkey: redis.Redis, streaming: Settings, client: Client
) -> None:
    async with running(streaming, ToneEngine(has_codes=True)):
        whole = await client.publish({"session_id": "w", "text": text, "seed": "1", "ahead_ms": "0"})
        await until_ended(client, "w")
        entry_id = await publish_open(client, "s", seed="1", ahead_ms="0", language="English")
        await dictate(valkey, "s", cut(text, seed, 60), every_s=0.003)
        await until_ended(client, "s")
        await settled(valkey)
    job, expected = heard(valkey, "s", entry_id), heard(valkey, "w", whole)
    check_complete(job)
    assert job.data == expected.data
    assert [(it.index, it.pos, it.text) for it in job.segments] == [
        (it.index, it.pos, it.text) for it in expected.segments
    ]
    assert job.complete.text_spoken == expected.complete.text_spoken == text


async def test_a_cancel_is_seen_while_a_row_waits_for_text(
    valkey: redis.Redis, streaming: Settings, client: Client
) -> None:
    async with running(streaming, ToneEngine(has_codes=True)):
        entry_id = await publish_open(client, "s", language="English")
        write(valkey, "s", {"text": TEXT[:30]})
        await eventually(lambda: len(heard(valkey, "s", entry_id).chunks) > 3)
        await client.cancel("s", entry_id)
        await until_ended(client, "s")
        await settled(valkey)
    job = heard(valkey, "s", entry_id)
    assert job.cancelled.samples * 2 == len(job.data)


async def test_a_row_that_waits_for_text_is_taken_over_exactly(
    valkey: redis.Redis, streaming: Settings, client: Client
) -> None:
    brief = streaming.model_copy(update={"grace_s": 0.0})
    async with running(streaming, ToneEngine(has_codes=True)):
        whole = await client.publish({"session_id": "w", "text": TEXT, "seed": "1"})
        await until_ended(client, "w")
    entry_id = await publish_open(client, "s", seed="1", language="English")
    write(valkey, "s", {"text": TEXT[:30]})
    async with running(brief, ToneEngine(has_codes=True)):
        await eventually(lambda: len(heard(valkey, "s", entry_id).chunks) > 3)
    async with running(brief, ToneEngine(has_codes=True)):
        await eventually(lambda: len(heard(valkey, "s", entry_id).begins) == 2)
        write(valkey, "s", {"text": TEXT[30:60]})
        n_chunks = len(heard(valkey, "s", entry_id).chunks)
        await eventually(lambda: len(heard(valkey, "s", entry_id).chunks) > n_chunks)
    async with running(streaming, ToneEngine(has_codes=True)):
        write(valkey, "s", {"text": TEXT[60:], "end": "1"})
        await until_ended(client, "s")
        await settled(valkey)
    job = heard(valkey, "s", entry_id)
    check_complete(job)
    assert len(job.begins) == 3
    assert job.data == heard(valkey, "w", whole).data
    assert [it.text for it in job.segments] == [TEXT]


async def test_a_text_that_stalls_within_a_row_ends_the_job(
    valkey: redis.Redis, streaming: Settings, client: Client
) -> None:
    async with running(streaming.model_copy(update={"text_wait_s": 0.3}), ToneEngine(has_codes=True)):
        entry_id = await publish_open(client, "s", language="English")
        write(valkey, "s", {"text": TEXT[:30]})
        await until_ended(client, "s")
        await settled(valkey)
    job = heard(valkey, "s", entry_id)
    assert job.error.code == "text_stalled"
    assert len(job.chunks) > 0
