"""A Qwen3-TTS utterance whose worker dies is resumed from its codes at the very next sample."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import redis

from schemas.messages import Audio, Begin
from schemas.wire import Entry, read_entry, unpack_codes
from tests.conftest import REPOSITORY, Process, Server, eventually, make_settings, running
from tests.flow.listening import KEYS, Heard, check_complete, check_queue_is_empty, read_session, until_ended
from tests.recordings import babble, make_voice, replace_recording
from worker.stream.client import Client

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from worker.engine.qwen.engine import QwenEngine
    from worker.voices.prompt_cache import PromptCache

pytestmark = pytest.mark.skipif(find_spec("qwen_tts") is None, reason="qwen-tts is not installed: makima-tts[qwen]")

TWO_SEGMENTS = "This is the first one. And here is another."


@pytest.fixture
def valkey_server(servers: dict[str, Server]) -> Server:
    """One server will do: what a worker sends is tried on both kinds by the other flows."""
    return servers["valkey"]


def _so_far(valkey: redis.Redis, session_id: str) -> Heard:
    return next(iter(read_session(valkey, session_id).values()), Heard())


def _codes(job: Heard) -> dict[int, NDArray[np.uint16]]:
    """The codes on the stream by segment, [frames, 16]; fails where a frame is missing or written twice."""
    written: dict[int, list[bytes]] = {}
    for _, _, entry in job.chunks:
        assert entry.codes is not None
        segment, first_frame, codes = unpack_codes(entry.codes)
        parts = written.setdefault(segment, [])
        if codes:
            assert first_frame * 32 == sum(map(len, parts))
        parts.append(codes)
    return {segment: np.frombuffer(b"".join(parts), "<u2").reshape(-1, 16) for segment, parts in written.items()}


def _check_same(job: Heard, undisturbed: Heard) -> None:
    """To the last sample and code what it is when nobody disturbs it."""
    check_complete(job)
    assert job.data == undisturbed.data
    codes, expected = _codes(job), _codes(undisturbed)
    assert codes.keys() == expected.keys()
    for segment, frames in expected.items():
        np.testing.assert_array_equal(codes[segment], frames)
    assert job.complete.finish == undisturbed.complete.finish
    assert job.complete.text_spoken == undisturbed.complete.text_spoken


@pytest.mark.parametrize(("encoding", "rate", "n_chunks"), [("pcm_s16le", "44100", 1), ("mulaw", "8000", 5)])
async def test_an_utterance_given_back_goes_on_with_another_worker(
    encoding: str,
    rate: str,
    n_chunks: int,
    valkey: redis.Redis,
    valkey_server: Server,
    client: Client,
    endless: QwenEngine,
    prompts: PromptCache,
) -> None:
    from worker.engine.qwen.adapter import QwenSpeaker

    settings = make_settings(valkey_server.url, grace_s=0)
    job = {"text": "Hello there.", "encoding": encoding, "sample_rate": rate, "seed": "21"}
    async with running(settings, QwenSpeaker(endless, prompts)) as leaving:
        await client.publish({"session_id": "s", **job})
        await eventually(lambda: len(_so_far(valkey, "s").chunks) >= n_chunks)
        leaving.stop()
    given_back = _so_far(valkey, "s")
    assert not given_back.ends
    async with running(settings, QwenSpeaker(endless, prompts)):
        await until_ended(client, "s", within_s=30)
        await client.publish({"session_id": "undisturbed", **job})
        await until_ended(client, "undisturbed", within_s=30)
    heard = _so_far(valkey, "s")
    assert heard.begins[1][1].resumed_by == "codes"
    assert heard.begins[1][1].resumed_at > 0
    sample_bytes = 1 if encoding == "mulaw" else 2
    check_complete(heard, sample_bytes)
    undisturbed = _so_far(valkey, "undisturbed")
    assert heard.data == undisturbed.data
    np.testing.assert_array_equal(_codes(heard)[0], _codes(undisturbed)[0])


@pytest.mark.timeout(240)
async def test_a_worker_killed_in_the_second_segment_is_gone_on_from_there(
    valkey: redis.Redis,
    valkey_server: Server,
    client: Client,
    start_worker: Callable[..., Process],
    tiny: Path,
    endless: QwenEngine,
    prompts: PromptCache,
    tmp_path: Path,
) -> None:
    from worker.engine.qwen.adapter import QwenSpeaker

    shutil.copytree(REPOSITORY / "voices" / "placeholder", tmp_path / "placeholder")
    doomed = start_worker(
        "--engine", "qwen", "--model", str(tiny), "--device", "cpu",
        "--dtype", "float64", "--slots", "2", "--cache-dir", str(prompts.folder.parent),
        "--voices-dir", str(tmp_path), "--lease-ms", "1500", env={"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    replace_recording(make_voice(tmp_path), babble(4.0))
    doomed.send(signal.SIGHUP)
    await asyncio.to_thread(doomed.wait_for, "prompt of alice built")
    job = {"text": TWO_SEGMENTS, "voice": "alice", "seed": "5"}
    await client.publish({"session_id": "s", **job})
    await eventually(lambda: len(_codes(_so_far(valkey, "s")).get(1, ())) > 5, within_s=60)
    doomed.send(signal.SIGKILL)
    settings = make_settings(valkey_server.url, lease_ms=1500, voices_dir=tmp_path)
    async with running(settings, QwenSpeaker(endless, prompts)):
        await until_ended(client, "s", within_s=60)
        await client.publish({"session_id": "undisturbed", **job})
        await until_ended(client, "undisturbed", within_s=60)
        await eventually(lambda: valkey.xlen(KEYS.jobs) == 0)
    heard = _so_far(valkey, "s")
    assert [begin.attempt for _, begin in heard.begins] == [1, 2]
    assert heard.begins[1][1].resumed_by == "codes"
    assert heard.begins[1][1].resumed_at > 75 * 1920, "it was in the second segment"
    _check_same(heard, _so_far(valkey, "undisturbed"))
    check_queue_is_empty(valkey)


@pytest.mark.parametrize("n_kept", [1, 4])
async def test_where_codes_were_trimmed_away_it_is_spoken_again_with_the_same_seed(
    n_kept: int,
    valkey: redis.Redis,
    valkey_server: Server,
    client: Client,
    endless: QwenEngine,
    prompts: PromptCache,
) -> None:
    """What a reader had heard before the stream was trimmed, and what it hears afterwards, are one utterance."""
    from worker.engine.qwen.adapter import QwenSpeaker

    settings = make_settings(valkey_server.url, grace_s=0)
    job = {"text": TWO_SEGMENTS, "seed": "9", "sample_rate": "16000"}
    entries: dict[str, Entry] = {}
    async with running(settings, QwenSpeaker(endless, prompts)) as leaving:
        await client.publish({"session_id": "s", **job})
        await eventually(lambda: valkey.xlen(KEYS.audio("s")) >= 7, within_s=30)
        leaving.stop()
    entries |= _entries(valkey)
    valkey.xtrim(KEYS.audio("s"), maxlen=n_kept, approximate=False)
    async with running(settings, QwenSpeaker(endless, prompts)):
        await until_ended(client, "s", within_s=60)
        await client.publish({"session_id": "undisturbed", **job})
        await until_ended(client, "undisturbed", within_s=60)
    entries |= _entries(valkey)
    heard = [entry.message for entry in entries.values()]
    begins = [message for message in heard if isinstance(message, Begin)]
    chunks = [message for message in heard if isinstance(message, Audio)]
    assert [begin.resumed_by for begin in begins] == [None, "regenerated"]
    assert begins[1].resumed_at > 0
    assert [chunk.seq for chunk in chunks] == list(range(len(chunks)))
    assert b"".join(chunk.data for chunk in chunks) == _so_far(valkey, "undisturbed").data


def _entries(valkey: redis.Redis) -> dict[str, Entry]:
    """The session's entries by stream id."""
    found: Any = valkey.xrange(KEYS.audio("s"))
    return {stream_id.decode(): read_entry(fields) for stream_id, fields in found}
