"""The heartbeat over a slow, hung, restarted or broken way to Redis."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest
import redis

from tests import conftest
from tests.chaos.proxy import Proxy
from tests.conftest import eventually
from tests.stream.beating import (
    KEYS,
    ME,
    QUARTER_S,
    Losses,
    beating,
    beats_of,
    n_beats,
    take_jobs,
)
from tests.stream.clocks import HandClock
from worker.embedded import embedded_valkey
from worker.stream.clock import Clock
from worker.stream.heartbeat import MAX_TURNS, BeatingWorker, Heartbeat
from worker.stream.transport.address import Address


@pytest.fixture
def valkey_server(servers: dict[str, conftest.Server]) -> conftest.Server:
    """One kind of server is enough: tests/scripts runs BEAT on the others."""
    return servers["valkey"]


async def test_beats_go_out_by_the_clock_whatever_is_unanswered(clock: HandClock) -> None:
    with embedded_valkey() as server, redis.Redis(port=server.port) as client:
        [lease] = await take_jobs(server.url)
        with beating(server.url, clock) as heart:
            heart.add(lease)
            await clock.forward(QUARTER_S)
            await beats_of(lease, clock)
            n_before = n_beats(client)
            os.kill(server.pid, signal.SIGSTOP)
            for _ in range(3):
                await clock.forward(QUARTER_S)
            os.kill(server.pid, signal.SIGCONT)
            await beats_of(lease, clock)
            assert n_beats(client) == n_before + 3


async def test_the_answer_to_a_beat_that_is_on_its_way_can_be_waited_for(clock: HandClock) -> None:
    with embedded_valkey() as server:
        [lease] = await take_jobs(server.url)
        with beating(server.url, clock) as heart:
            heart.add(lease)
            await lease._answered()  # nothing is on its way
            await clock.forward(QUARTER_S)
            await beats_of(lease, clock)
            os.kill(server.pid, signal.SIGSTOP)
            await clock.forward(QUARTER_S)
            await eventually(lambda: lease._n_beats_sent == 1)
            waiting = [asyncio.create_task(lease._answered()) for _ in range(3)]
            await asyncio.sleep(0.05)
            assert not any(one.done() for one in waiting)
            waiting[0].cancel()
            os.kill(server.pid, signal.SIGCONT)
            await asyncio.gather(*waiting, return_exceptions=True)
            assert lease.last_beat == clock.now()
            assert lease._n_beats_sent == 0
            os.kill(server.pid, signal.SIGSTOP)
            await clock.forward(QUARTER_S)
            await eventually(lambda: lease._n_beats_sent == 1)
            waiting = [asyncio.create_task(lease._answered())]
            os.kill(server.pid, signal.SIGKILL)
            await asyncio.gather(*waiting)  # it failed
            assert not lease.is_lost
            server.stop(hard=True)


async def test_no_more_beats_than_a_leases_worth_wait_for_a_dead_server(clock: HandClock) -> None:
    with embedded_valkey() as server, redis.Redis(port=server.port) as client:
        [lease] = await take_jobs(server.url)
        with beating(server.url, clock) as heart:
            heart.add(lease)
            await clock.forward(QUARTER_S)
            await beats_of(lease, clock)
            n_before, before = n_beats(client), lease.last_beat
            os.kill(server.pid, signal.SIGSTOP)
            for _ in range(3 * MAX_TURNS):
                await clock.forward(QUARTER_S)
            os.kill(server.pid, signal.SIGCONT)
            await eventually(lambda: lease.last_beat == before + MAX_TURNS * QUARTER_S)
            assert n_beats(client) == n_before + MAX_TURNS
            await clock.forward(QUARTER_S)
            await beats_of(lease, clock)


async def test_over_a_new_connection_it_beats_at_once(url: str, valkey: redis.Redis, clock: HandClock) -> None:
    [lease] = await take_jobs(url)
    with beating(url, clock) as heart:
        heart.add(lease)
        await clock.forward(QUARTER_S)
        await beats_of(lease, clock)
        valkey.client_kill_filter(_type="normal", skipme=True)
        await clock.forward(QUARTER_S)
        await beats_of(lease, clock)


async def test_a_round_trip_too_long_for_the_lease_is_said_with_the_remedy(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    port = int(url.rpartition(":")[2].partition("/")[0])
    with Proxy(port) as proxy:
        proxy.delay_s = 0.03
        far = f"redis://127.0.0.1:{proxy.port}/0"
        with beating(far, Clock(), lease_s=0.15) as heart:
            await eventually(lambda: heart.round_trips.problem() is not None, within_s=20)
            assert (heart.round_trips.median_s or 0) >= 0.06
            assert "MAKIMA_TTS_LEASE_MS" in str(heart.round_trips.problem())
            await eventually(lambda: caplog.text.count("MAKIMA_TTS_LEASE_MS") == 1)
        with beating(far, Clock(), lease_s=2) as heart:
            await eventually(lambda: heart.round_trips.median_s is not None, within_s=40)
            assert heart.round_trips.problem() is None


async def test_a_redis_that_restarts_or_hangs_is_survived() -> None:
    failures: list[None] = []
    losses = Losses()

    worker = BeatingWorker(on_lost=losses, on_failure=lambda: failures.append(None))
    with embedded_valkey(aof=True) as server:
        client = redis.Redis(port=server.port)
        [lease] = await take_jobs(server.url)
        with beating(server.url, Clock(), worker, 0.4) as heart:
            heart.add(lease)

            async def beats_again() -> None:
                now = time.monotonic()
                await eventually(lambda: lease.last_beat > now, within_s=20)

            await beats_again()
            client.close()
            await asyncio.to_thread(server.restart, True)
            await beats_again()
            os.kill(server.pid, signal.SIGSTOP)
            n_failures = len(failures)
            await eventually(lambda: len(failures) > n_failures, within_s=20)
            os.kill(server.pid, signal.SIGCONT)
            await beats_again()
            assert losses.leases == []
            server.stop(hard=True)
            n_failures = len(failures)
            await eventually(lambda: len(failures) > n_failures, within_s=20)
            start = time.monotonic()
        assert time.monotonic() - start < 10
        client.close()


async def test_a_hung_redis_is_noticed_and_does_not_hold_up_the_stop() -> None:
    failures: list[None] = []
    with embedded_valkey() as server:
        [lease] = await take_jobs(server.url)
        worker = BeatingWorker(on_failure=lambda: failures.append(None))
        heart = Heartbeat(Address(server.url), KEYS, ME, 0.4, worker)
        heart.add(lease)
        os.kill(server.pid, signal.SIGSTOP)
        start = time.monotonic()
        heart.start()
        await eventually(lambda: bool(failures))
        assert time.monotonic() - start < 4  # not redis-py's time to connect, but the lease's
        start = time.monotonic()
        heart.stop()
        assert time.monotonic() - start < 4
        os.kill(server.pid, signal.SIGCONT)


async def test_a_job_that_ends_while_its_beat_is_unanswered_is_not_told_lost(clock: HandClock) -> None:
    with embedded_valkey() as server:
        ended, kept = await take_jobs(server.url, 2)
        losses = Losses()
        with beating(server.url, clock, losses.worker) as heart:
            heart.add(ended)
            heart.add(kept)
            await clock.forward(QUARTER_S)
            await beats_of(ended, clock)
            last_beat = ended.last_beat
            os.kill(server.pid, signal.SIGSTOP)
            await clock.forward(QUARTER_S)
            heart.remove(ended)
            os.kill(server.pid, signal.SIGCONT)
            await beats_of(kept, clock)
            assert ended.last_beat == last_beat
        assert losses.leases == []
