"""Redis fails while a worker speaks, and the listener receives the whole utterance."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Iterator

import pytest
import redis

from tests.conftest import eventually, http_status, make_settings, running, sample
from tests.flow.listening import KEYS, Heard, check_complete, check_queue_is_empty, read_session, until_ended
from tests.tone import ToneEngine
from worker.embedded import Embedded, embedded_valkey
from worker.observe.health import HealthServer
from worker.stream.client import Client
from worker.stream.keys import Keys
from worker.stream.transport.address import addresses

TEXT = "A sentence of some length, spoken while its Redis misbehaves in one way or another."


@pytest.fixture
def server() -> Iterator[Embedded]:
    with embedded_valkey(aof=True) as one:
        yield one


@pytest.fixture
def own(server: Embedded) -> redis.Redis:
    return redis.Redis.from_url(server.url, protocol=2)


@pytest.fixture
async def speaker(server: Embedded) -> AsyncIterator[Client]:
    async with Client(*addresses(make_settings(server.url)), Keys()) as connected:
        yield connected


async def _publish_and_hear_some(own: redis.Redis, speaker: Client) -> str:
    entry_id = await speaker.publish({"session_id": "s", "text": TEXT})
    await eventually(lambda: len(read_session(own, "s").get(entry_id, Heard()).chunks) > 3)
    return entry_id


async def _check_heard_whole(own: redis.Redis, server: Embedded, entry_id: str) -> Heard:
    async with Client(*addresses(make_settings(server.url)), Keys()) as listener:
        await until_ended(listener, "s", within_s=20)
    await eventually(lambda: own.xlen(KEYS.jobs) == 0, within_s=10)
    job = read_session(own, "s")[entry_id]
    check_complete(job)
    check_queue_is_empty(own)
    return job


@pytest.mark.parametrize("hard", [False, True], ids=["shut down", "killed"])
async def test_a_redis_that_restarts_is_waited_for(
    hard: bool, server: Embedded, own: redis.Redis, speaker: Client
) -> None:
    async with running(make_settings(server.url), ToneEngine(4, frame_s=0.03)) as worker:
        entry_id = await _publish_and_hear_some(own, speaker)
        await asyncio.to_thread(server.restart, hard)
        await _check_heard_whole(own, server, entry_id)
        second = await _spoken_after(own, server)
    assert sum(sample(worker, "reconnects_total", connection=plane) for plane in ("jobs", "sessions")) > 0
    check_complete(second)


async def test_an_outage_longer_than_the_lease_takes_no_utterance_from_a_living_worker(
    server: Embedded, own: redis.Redis, speaker: Client
) -> None:
    settings = make_settings(server.url, lease_ms=800)
    async with running(settings, ToneEngine(4, frame_s=0.05)), running(settings, ToneEngine(4, frame_s=0.05)):
        entry_id = await _publish_and_hear_some(own, speaker)
        await asyncio.to_thread(server.stop, True)
        await asyncio.sleep(1.2)
        await asyncio.to_thread(server.start)
        job = await _check_heard_whole(own, server, entry_id)
    assert len(job.begins) == 1


async def test_a_redis_that_stood_still_for_longer_than_the_lease_takes_no_utterance_from_a_living_worker(
    server: Embedded, own: redis.Redis, speaker: Client
) -> None:
    settings = make_settings(server.url, lease_ms=800)
    async with running(settings, ToneEngine(4, frame_s=0.05)), running(settings, ToneEngine(4, frame_s=0.05)):
        entry_id = await _publish_and_hear_some(own, speaker)
        os.kill(server.pid, signal.SIGSTOP)
        await asyncio.sleep(1.2)
        os.kill(server.pid, signal.SIGCONT)
        job = await _check_heard_whole(own, server, entry_id)
    assert len(job.begins) == 1


async def _spoken_after(own: redis.Redis, server: Embedded) -> Heard:
    async with Client(*addresses(make_settings(server.url)), Keys()) as client:
        entry_id = await client.publish({"session_id": "after", "text": "And on it goes."})
        await until_ended(client, "after", within_s=20)
    return read_session(own, "after")[entry_id]


async def test_a_late_cancel_of_an_older_job_lets_a_newer_one_go_on_from_its_codes(
    server: Embedded, own: redis.Redis, speaker: Client
) -> None:
    async with running(make_settings(server.url), ToneEngine(4, frame_s=0.03, has_codes=True)):
        entry_id = await _publish_and_hear_some(own, speaker)
        await speaker.cancel("s", "1600000000000-0")
        job = await _check_heard_whole(own, server, entry_id)
    assert [begin.resumed_by for _, begin in job.begins] == [None, "codes"]


async def test_a_flushed_script_cache_is_filled_again(server: Embedded, own: redis.Redis, speaker: Client) -> None:
    async with running(make_settings(server.url), ToneEngine(4, frame_s=0.03)):
        entry_id = await _publish_and_hear_some(own, speaker)
        own.script_flush()
        await _check_heard_whole(own, server, entry_id)


async def test_connections_that_are_cut_are_made_again(server: Embedded, own: redis.Redis, speaker: Client) -> None:
    async with running(make_settings(server.url), ToneEngine(4, frame_s=0.03)):
        entry_id = await _publish_and_hear_some(own, speaker)
        own.client_kill_filter(_type="normal", skipme=True)
        await _check_heard_whole(own, server, entry_id)
        check_complete(await _spoken_after(own, server))


async def test_a_destroyed_group_is_made_again_and_its_running_job_goes_on(
    server: Embedded, own: redis.Redis, speaker: Client
) -> None:
    async with running(make_settings(server.url), ToneEngine(4, frame_s=0.03)):
        entry_id = await _publish_and_hear_some(own, speaker)
        own.xgroup_destroy(KEYS.jobs, "workers")
        await _check_heard_whole(own, server, entry_id)


async def test_an_emptied_redis_is_served_again(server: Embedded, own: redis.Redis, speaker: Client) -> None:
    async with running(make_settings(server.url), ToneEngine(4, frame_s=0.03)):
        await _publish_and_hear_some(own, speaker)
        own.flushall()
        check_complete(await _spoken_after(own, server))


async def test_a_redis_out_of_memory_is_waited_for(server: Embedded, own: redis.Redis, speaker: Client) -> None:
    async with running(make_settings(server.url), ToneEngine(4, frame_s=0.03)):
        entry_id = await _publish_and_hear_some(own, speaker)
        own.config_set("maxmemory", 1)
        await eventually(lambda: "errorstat_OOM" in own.info("errorstats"))
        own.config_set("maxmemory", 0)
        await _check_heard_whole(own, server, entry_id)


async def test_the_health_pages_tell_a_lost_redis_from_a_worker_that_is_well(server: Embedded) -> None:
    settings = make_settings(server.url, lease_ms=400, health_port=0)
    async with running(settings) as worker:
        with HealthServer(worker, worker.metrics, port=0) as health:
            assert await http_status(health.port, "/healthz") == 200
            assert await http_status(health.port, "/readyz") == 200
            server.stop(hard=True)
            await _until_status(health.port, "/healthz", 503)
            server.start()
            await _until_status(health.port, "/healthz", 200)
            worker.stop()
            assert await http_status(health.port, "/readyz") == 503


async def test_a_hung_engine_shows_in_the_health_pages_and_loses_its_lease(
    server: Embedded, own: redis.Redis, speaker: Client
) -> None:
    class Hanging(ToneEngine):
        hangs = False

        def step(self, held: object = ()) -> list:  # type: ignore[type-arg]
            while self.hangs:
                import time

                time.sleep(0.01)
            return super().step(held)  # type: ignore[arg-type]

    engine = Hanging(4, frame_s=0.03)
    settings = make_settings(server.url, lease_ms=400)
    async with running(settings, engine) as hung:
        entry_id = await _publish_and_hear_some(own, speaker)
        engine.hangs = True
        await eventually(lambda: bool(hung.problems()))
        assert "engine" in hung.problems()[0]
        async with running(settings, ToneEngine(4)):
            job = await _check_heard_whole(own, server, entry_id)
        engine.hangs = False
    assert len(job.begins) == 2


async def test_no_text_reaches_the_log_above_debug(
    server: Embedded, speaker: Client, own: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with running(make_settings(server.url), ToneEngine(4)) as worker:
        await speaker.publish({"session_id": "s", "text": "Confidential words."})
        await speaker.publish({"session_id": "s", "text": "Confidential words.", "voice": "nobody"})
        await until_ended(speaker, "s", 2)
        _ = worker
    assert "ready" in caplog.text
    assert "onfidential" not in caplog.text


async def _until_status(port: int, path: str, status: int) -> None:
    async with asyncio.timeout(10):
        while await http_status(port, path) != status:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
