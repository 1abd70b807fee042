"""How far a speech is ahead of a listener whose clock the test sets."""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import redis

from tests.conftest import Server, eventually, make_settings, running
from tests.flow.listening import KEYS, Heard, check_complete, check_queue_is_empty, read_session, settled, until_ended
from tests.tone import ToneEngine
from worker.engine.playback import Playback
from worker.stream.client import Client
from worker.stream.heartbeat import BEATS_A_LEASE
from worker.utterance import hold

LIMIT_MS = 3000
LIMIT_S = LIMIT_MS / 1000
STEP_S = 0.5
TEXT = "A sentence of some length for the listener. " * 8  # about 14 s of the tone


class Listener:
    """Reads the clock of every playback in this process."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def valkey_server(servers: dict[str, Server]) -> Server:
    """One server will do: nothing here depends on its kind."""
    return servers["valkey"]


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Listener:
    clock = Listener()
    monkeypatch.setattr(hold, "Playback", partial(Playback, clock=clock))
    return clock


def job_of(valkey: redis.Redis, entry_id: str) -> Heard:
    return read_session(valkey, "s").get(entry_id, Heard())


def delivered_s(valkey: redis.Redis, entry_id: str, rate: int = 24_000) -> float:
    job = job_of(valkey, entry_id)
    return job.chunks[-1][2].delivered / rate if job.chunks else 0.0


async def play_to_the_end(valkey: redis.Redis, entry_id: str, listener: Listener, lead_s: float, rate: int) -> None:
    """Set the clock on in steps; after each, the speech follows up to the lead and never further."""
    began = listener.now
    while not job_of(valkey, entry_id).ends:
        played_s = listener.now - began

        def follows(played_s: float = played_s) -> bool:
            now_s = delivered_s(valkey, entry_id, rate)
            assert now_s <= lead_s + played_s + 1e-6
            return bool(job_of(valkey, entry_id).ends) or now_s > lead_s + played_s - 2 * hold.CHUNK_S

        await eventually(follows, within_s=20)
        listener.now += STEP_S


@pytest.mark.parametrize("rate", [8000, 24_000, 48_000])
async def test_a_speech_is_never_further_ahead_than_its_limit_and_follows_its_listener(
    valkey: redis.Redis, valkey_server: Server, client: Client, listener: Listener, rate: int
) -> None:
    async with running(make_settings(valkey_server.url, ahead_ms=LIMIT_MS)):
        entry_id = await client.publish({"session_id": "s", "text": TEXT, "sample_rate": str(rate)})
        await play_to_the_end(valkey, entry_id, listener, LIMIT_S, rate)
        await settled(valkey)
    job = job_of(valkey, entry_id)
    check_complete(job)
    assert job.complete.audio_ms > 10_000
    assert listener.now > job.complete.audio_ms / 1000 - LIMIT_S - 2 * STEP_S, "it was held"


async def test_a_jobs_own_limit_holds_and_zero_is_none(
    valkey: redis.Redis, valkey_server: Server, client: Client, listener: Listener
) -> None:
    """The clock stands still: what is held stays held."""
    async with running(make_settings(valkey_server.url, ahead_ms=LIMIT_MS)):
        free = await client.publish({"session_id": "s", "text": TEXT, "ahead_ms": "0"})
        await until_ended(client, "s")
        check_complete(job_of(valkey, free))
        further = await client.publish({"session_id": "s", "text": TEXT, "ahead_ms": "6000"})
        await eventually(lambda: delivered_s(valkey, further) > 6 - hold.CHUNK_S)
        assert delivered_s(valkey, further) <= 6
        await client.cancel("s")
        await settled(valkey)
    assert job_of(valkey, further).ends[0].type == "cancelled"


async def test_a_cancel_ends_a_held_speech_and_frees_its_slot(
    valkey: redis.Redis, valkey_server: Server, client: Client, listener: Listener
) -> None:
    async with running(make_settings(valkey_server.url, ahead_ms=LIMIT_MS, slots=1), ToneEngine(1)):
        held = await client.publish({"session_id": "s", "text": TEXT})
        await eventually(lambda: delivered_s(valkey, held) > LIMIT_S - hold.CHUNK_S)
        await client.cancel("s")
        await until_ended(client, "s")
        cancelled = job_of(valkey, held).cancelled
        assert cancelled.samples == job_of(valkey, held).chunks[-1][2].delivered
        word = await client.publish({"session_id": "s", "text": "Yes."})
        await until_ended(client, "s", n_jobs=2)
        check_complete(job_of(valkey, word))
        await settled(valkey)


async def test_a_relay_that_leaves_ends_a_held_speech(
    valkey: redis.Redis, valkey_server: Server, client: Client, listener: Listener
) -> None:
    async with running(make_settings(valkey_server.url, ahead_ms=LIMIT_MS)):
        held = await client.publish({"session_id": "s", "text": TEXT})
        await eventually(lambda: delivered_s(valkey, held) > LIMIT_S - hold.CHUNK_S)
        await client.leave("s")
        while valkey.xlen(KEYS.jobs):
            listener.now += STEP_S
            await asyncio.sleep(0.01)
        await settled(valkey)


async def test_a_held_speech_keeps_its_lease(
    valkey: redis.Redis, valkey_server: Server, client: Client, listener: Listener
) -> None:
    settings = make_settings(valkey_server.url, ahead_ms=LIMIT_MS, lease_ms=1000)
    async with running(settings), running(settings):
        held = await client.publish({"session_id": "s", "text": TEXT})
        await eventually(lambda: delivered_s(valkey, held) > LIMIT_S - hold.CHUNK_S)
        silences = [_silent_ms(valkey)]

        def is_renewed_often() -> bool:
            silences.append(_silent_ms(valkey))
            return sum(after < before for before, after in pairwise(silences)) > 3 * BEATS_A_LEASE

        await eventually(is_renewed_often, within_s=20)
        await client.cancel("s")
        await settled(valkey)
    assert len(job_of(valkey, held).begins) == 1


def _silent_ms(valkey: redis.Redis) -> int:
    """Time since the only running job's lease was renewed."""
    pending: Any = valkey.xpending_range(KEYS.jobs, "workers", "-", "+", 9)
    return int(pending[0]["time_since_delivered"])


@pytest.mark.parametrize("has_codes", [False, True])
async def test_a_held_speech_that_is_given_back_goes_on_at_once_and_exactly(
    valkey: redis.Redis, valkey_server: Server, client: Client, listener: Listener, has_codes: bool
) -> None:
    undisturbed = make_settings(valkey_server.url)
    async with running(undisturbed, ToneEngine(2, has_codes=has_codes)):
        whole = await client.publish({"session_id": "s", "text": TEXT, "seed": "5"})
        await until_ended(client, "s")
    settings = make_settings(valkey_server.url, ahead_ms=LIMIT_MS, grace_s=0.05)
    async with running(settings, ToneEngine(2, has_codes=has_codes)):
        entry_id = await client.publish({"session_id": "s", "text": TEXT, "seed": "5"})
        await eventually(lambda: delivered_s(valkey, entry_id) > LIMIT_S - hold.CHUNK_S)
    n_chunks = len(job_of(valkey, entry_id).chunks)
    async with running(settings, ToneEngine(2, has_codes=has_codes)):
        await eventually(lambda: len(job_of(valkey, entry_id).chunks) > n_chunks)
        while not job_of(valkey, entry_id).ends:
            listener.now += STEP_S
            await asyncio.sleep(0.01)
        await settled(valkey)
    job = job_of(valkey, entry_id)
    check_complete(job)
    assert len(job.begins) == 2
    assert job.data == job_of(valkey, whole).data
    check_queue_is_empty(valkey)
