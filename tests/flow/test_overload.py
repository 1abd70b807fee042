"""More jobs than slots, a Redis without memory, and listeners that leave, crash or are slow."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import redis

from schemas.messages import Audio
from schemas.wire import Entry
from tests.conftest import Server, eventually, make_settings, running
from tests.flow.listening import KEYS, Heard, check_complete, check_queue_is_empty, read_session, until_ended
from tests.tone import ToneEngine
from worker.embedded import Embedded, embedded_valkey
from worker.observe.health import HealthServer
from worker.stream.client import Client
from worker.stream.keys import Keys
from worker.stream.transport.address import addresses

TWO_SECONDS = "A sentence that takes this engine two seconds of its time, or a bit more"  # 36 frames of 60 ms
TTL_MS = 1500


async def test_what_cannot_be_spoken_in_time_expires_and_what_is_admitted_begins_in_time(
    valkey: redis.Redis, valkey_server: Server, client: Client
) -> None:
    """Two slots, 24 jobs at once: two are spoken, each of the others hears that it has expired before they end."""
    engine = ToneEngine(2, frame_s=1.0)  # half a minute for each
    async with running(make_settings(valkey_server.url, slots=2, lease_ms=500), engine):
        for n in range(24):
            await client.publish({"session_id": f"s{n}", "text": TWO_SECONDS, "ttl_ms": str(TTL_MS)})
        await eventually(lambda: valkey.xlen(KEYS.jobs) == 2, within_s=20)
        assert _n_ended(valkey) == 22, "both are still spoken: the others did not wait for a free slot"
        engine.frame_s = 0.0
        await eventually(lambda: valkey.xlen(KEYS.jobs) == 0, within_s=20)
    outcomes = [next(iter(read_session(valkey, f"s{n}").values())) for n in range(24)]
    spoken = [job for job in outcomes if job.begins]
    assert len(spoken) == 2
    for job in spoken:
        check_complete(job)
        assert job.complete.queue_ms <= TTL_MS
    assert {job.error.code for job in outcomes if not job.begins} == {"expired"}
    letters: Any = valkey.xrange(KEYS.dead)
    assert {fields[b"dead_reason"] for _, fields in letters} == {b"expired"}
    assert len(letters) == 24 - len(spoken)
    check_queue_is_empty(valkey)


def _n_ended(valkey: redis.Redis) -> int:
    return sum(any(job.ends for job in read_session(valkey, f"s{n}").values()) for n in range(24))


@pytest.fixture
def server() -> Iterator[Embedded]:
    with embedded_valkey(aof=True) as one:
        yield one


@pytest.fixture
def own(server: Embedded) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url, protocol=2) as connected:
        yield connected


@pytest.fixture
async def speaker(server: Embedded) -> AsyncIterator[Client]:
    async with Client(*addresses(make_settings(server.url)), Keys()) as connected:
        yield connected


async def test_a_worker_says_that_redis_is_out_of_memory_and_goes_on_when_there_is_room(
    server: Embedded, own: redis.Redis, speaker: Client
) -> None:
    settings = make_settings(server.url, lease_ms=400, health_port=0)
    async with running(settings, ToneEngine(4, frame_s=0.03)) as worker:
        with HealthServer(worker, worker.metrics, port=0) as health:
            entry_id = await speaker.publish({"session_id": "s", "text": TWO_SECONDS})
            await eventually(lambda: len(read_session(own, "s").get(entry_id, Heard()).chunks) > 1)
            own.config_set("maxmemory", 1)
            said = await _until_unready(health.port)
            assert "session Redis" in said
            assert "maxmemory" in said
            own.config_set("maxmemory", 0)
            await until_ended(speaker, "s", within_s=20)
            await eventually(lambda: own.xlen(KEYS.jobs) == 0)
            await eventually(lambda: not worker.problems())
    check_complete(read_session(own, "s")[entry_id])
    check_queue_is_empty(own)


async def _until_unready(port: int) -> str:
    """Ask /readyz until it says 503; its problems."""

    def ask() -> str | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                return None
        except urllib.error.HTTPError as error:
            with error:
                return " ".join(json.load(error)["problems"])

    for _ in range(200):
        if (said := await asyncio.to_thread(ask)) is not None:
            return said
        await asyncio.sleep(0.05)
    raise AssertionError("still ready")


async def test_a_relay_that_leaves_costs_the_utterance_in_hand_at_most(
    valkey: redis.Redis, valkey_server: Server, client: Client
) -> None:
    engine = ToneEngine(1, frame_s=0.03)
    async with running(make_settings(valkey_server.url), engine):
        for _ in range(4):
            await client.publish({"session_id": "s", "text": TWO_SECONDS, "ttl_ms": "300000"})
        await eventually(lambda: any(job.chunks for job in read_session(valkey, "s").values()))
        await client.leave("s")
        await eventually(lambda: valkey.xlen(KEYS.jobs) == 0, within_s=20)
    assert len(engine.opened) == 1
    assert {end.type for job in read_session(valkey, "s").values() for end in job.ends} == {"cancelled"}
    assert 0 < valkey.pttl(KEYS.cut("s")) <= 600_000
    check_queue_is_empty(valkey)


async def test_a_relay_that_crashed_costs_its_queued_jobs_until_they_expire(
    valkey: redis.Redis, valkey_server: Server, client: Client
) -> None:
    engine = ToneEngine(1, frame_s=0.03)
    async with running(make_settings(valkey_server.url), engine):
        for _ in range(6):
            await client.publish({"session_id": "s", "text": TWO_SECONDS, "ttl_ms": "1500"})
        await eventually(lambda: valkey.xlen(KEYS.jobs) == 0, within_s=30)
    ends = [job.ends[0].type for job in read_session(valkey, "s").values()]
    assert ends == ["complete"] * len(engine.opened) + ["error"] * (6 - len(engine.opened))
    assert 1 <= len(engine.opened) <= 3
    assert 0 < valkey.pttl(KEYS.audio("s")) <= 600_000
    check_queue_is_empty(valkey)


async def test_a_slow_reader_loses_nothing(valkey: redis.Redis, valkey_server: Server, client: Client) -> None:
    """It reads an entry at a time, long after all was written, and disconnects between."""
    async with running(make_settings(valkey_server.url), ToneEngine(2)):
        for _ in range(3):
            await client.publish({"session_id": "s", "text": TWO_SECONDS * 3})
        await eventually(lambda: valkey.xlen(KEYS.jobs) == 0)
    written = read_session(valkey, "s")
    heard: list[tuple[str, Entry]] = []
    async with asyncio.timeout(20):
        while len(heard) < valkey.xlen(KEYS.audio("s")):
            async with Client(*addresses(make_settings(valkey_server.url)), Keys()) as late:
                heard.append(await anext(late.listen("s", heard[-1][0] if heard else "0")))
    for entry_id, job in written.items():
        chunks = [entry.message for _, entry in heard if entry.entry == entry_id and isinstance(entry.message, Audio)]
        assert b"".join(chunk.data for chunk in chunks) == job.data
