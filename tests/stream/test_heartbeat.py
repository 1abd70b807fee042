"""The heartbeat keeps the leases that are to be kept, and no others."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import redis

from tests import conftest
from tests.conftest import eventually
from tests.stream.servers import Server, needs_cli
from worker.embedded import embedded_valkey
from worker.stream.connect import Address
from worker.stream.heartbeat import Heartbeat, Pulse
from worker.stream.jobs import JobQueue, Lease
from worker.stream.keys import GROUP, Keys
from worker.stream.link import open_link

KEYS = Keys()
LEASE_S = 0.4
NUMBERS = itertools.count()
ME = "me:1:00000000"


@contextmanager
def beating(url: str, set_up: Callable[[Heartbeat], None] = lambda heart: None) -> Iterator[Heartbeat]:
    heart = Heartbeat(Address(url), KEYS, ME, LEASE_S)
    set_up(heart)
    heart.start()
    try:
        yield heart
    finally:
        heart.stop()
    assert "heartbeat" not in {thread.name for thread in threading.enumerate()}


@pytest.fixture
def valkey_server(servers: dict[str, conftest.Server]) -> conftest.Server:
    """One kind of server will do: tests/scripts tries BEAT on the others."""
    return servers["valkey"]


@pytest.fixture
def url(valkey: redis.Redis, valkey_server: conftest.Server) -> str:
    return valkey_server.url


async def take_jobs(url: str, count: int = 1, worker: str = ME) -> list[Lease]:
    link = open_link(Address(url))
    for _ in range(count):
        await link.call("XADD", KEYS.jobs, "*", "session_id", f"s{next(NUMBERS)}", "text", "hello")
    claim = await JobQueue(link, KEYS, worker, 20_000).claim(count)
    await link.close()
    assert len(claim.leases) == count
    return claim.leases


async def take_over(url: str) -> list[Lease]:
    """What another worker would take now, leases being 10 ms to it."""
    link = open_link(Address(url))
    found = (await JobQueue(link, KEYS, "other:2:00000000", 20_000).reclaim(10, 10, 0.0)).leases
    await link.close()
    return found


def idle_ms(client: redis.Redis) -> list[int]:
    """Of every running job, in order."""
    return [int(one["time_since_delivered"]) for one in client.xpending_range(KEYS.jobs, GROUP, "-", "+", 100)]


async def worst_idle_ms(client: redis.Redis, during_s: float) -> int:
    worst, end_s = 0, time.monotonic() + during_s
    while time.monotonic() < end_s:
        worst = max([worst, *idle_ms(client)])
        await asyncio.sleep(0.01)
    return worst


async def test_a_beaten_job_never_becomes_idle_for_half_a_lease(url: str, valkey: redis.Redis) -> None:
    leases = await take_jobs(url, 20)
    with beating(url) as heart:
        pulses = [heart.add(lease) for lease in leases]
        assert await worst_idle_ms(valkey, 3 * LEASE_S) < LEASE_S * 500
        assert all(time.monotonic() - pulse.last_beat < LEASE_S / 2 for pulse in pulses)
        assert not any(pulse.is_lost for pulse in pulses)


async def test_a_busy_event_loop_does_not_keep_the_heart_from_beating(url: str, valkey: redis.Redis) -> None:
    [lease] = await take_jobs(url)
    with beating(url) as heart:
        heart.add(lease)
        time.sleep(2 * LEASE_S)  # noqa: ASYNC251
        assert idle_ms(valkey)[0] < LEASE_S * 500


async def test_a_removed_job_is_beaten_no_more(url: str, valkey: redis.Redis) -> None:
    [lease] = await take_jobs(url)
    with beating(url) as heart:
        heart.remove(heart.add(lease))
        await asyncio.sleep(1.5 * LEASE_S)
        assert idle_ms(valkey)[0] > LEASE_S * 1000


class Losses:
    """Who was told lost, on which thread."""

    def __init__(self) -> None:
        self.pulses: list[Pulse] = []
        self.threads: set[str] = set()

    def listen(self, heart: Heartbeat) -> None:
        heart.on_lost = self

    def __call__(self, pulse: Pulse) -> None:
        self.pulses.append(pulse)
        self.threads.add(threading.current_thread().name)


async def test_another_workers_claim_is_told_once_and_the_others_go_on(url: str, valkey: redis.Redis) -> None:
    leases = await take_jobs(url, 3)
    losses = Losses()
    await asyncio.sleep(0.05)
    taken = await take_over(url)
    assert len(taken) == 3
    again = await take_jobs(url, 2)
    with beating(url, losses.listen) as heart:
        lost = {heart.add(lease) for lease in leases}
        kept = {heart.add(lease) for lease in again}
        await eventually(lambda: len(losses.pulses) == 3)
        await asyncio.sleep(LEASE_S)
        assert set(losses.pulses) == lost
        assert len(losses.pulses) == 3
        assert losses.threads == {"heartbeat"}
        assert all(pulse.is_lost for pulse in lost)
        assert not any(pulse.is_lost for pulse in kept)


@pytest.mark.parametrize("how", ["group", "stream", "everything"])
async def test_a_destroyed_group_is_a_lost_lease_told_once(url: str, valkey: redis.Redis, how: str) -> None:
    [lease] = await take_jobs(url)
    losses = Losses()
    with beating(url, losses.listen) as heart:
        heart.add(lease)
        await asyncio.sleep(LEASE_S / 2)
        assert losses.pulses == []
        if how == "group":
            valkey.xgroup_destroy(KEYS.jobs, GROUP)
        elif how == "stream":
            valkey.delete(KEYS.jobs)
        else:
            valkey.flushall()
        await eventually(lambda: len(losses.pulses) == 1)
        await asyncio.sleep(LEASE_S)
        assert len(losses.pulses) == 1


async def test_a_job_settled_while_its_beat_is_on_the_way_is_not_told_lost(url: str) -> None:
    leases = await take_jobs(url, 20)
    losses = Losses()
    link = open_link(Address(url))
    queue = JobQueue(link, KEYS, ME, 20_000)
    with beating(url, losses.listen) as heart:
        for lease in leases:
            pulse = heart.add(lease)
            await asyncio.sleep(0.03)
            heart.remove(pulse)
            assert await queue.settle(lease, "ok")
        await asyncio.sleep(LEASE_S / 2)
    await link.close()
    assert losses.pulses == []


async def test_a_hung_engine_is_not_covered_up_but_who_waits_is_kept(url: str, valkey: redis.Redis) -> None:
    speaking, waiting = await take_jobs(url, 2)

    def hang(heart: Heartbeat) -> None:
        heart.engine_moves = lambda: False

    with beating(url, hang) as heart:
        heart.add(speaking).waits = False
        heart.add(waiting)
        await asyncio.sleep(1.5 * LEASE_S)
        first, second = idle_ms(valkey)
        assert first > LEASE_S * 1000
        assert second < LEASE_S * 500
        heart.engine_moves = lambda: True
        await eventually(lambda: max(idle_ms(valkey)) < LEASE_S * 500)


async def test_a_hung_event_loop_keeps_no_lease_but_is_still_announced(url: str, valkey: redis.Redis) -> None:
    [lease] = await take_jobs(url)

    def hang(heart: Heartbeat) -> None:
        heart.loop_moves = lambda: False

    with beating(url, hang) as heart:
        heart.add(lease)
        await asyncio.sleep(1.5 * LEASE_S)
        assert idle_ms(valkey)[0] > LEASE_S * 1000
        assert valkey.hexists(KEYS.workers, ME)


async def test_the_workers_card_is_announced_and_kept_fresh(url: str, valkey: redis.Redis) -> None:
    def give_card(heart: Heartbeat) -> None:
        heart.card = lambda: {"host": "here", "slots": 8}

    def card() -> dict[str, object]:
        found: dict[str, object] = json.loads(valkey.hget(KEYS.workers, ME) or b"{}")
        return found

    with beating(url, give_card):
        await eventually(lambda: valkey.hexists(KEYS.workers, ME))
        first = card()
        assert first["host"] == "here"
        assert abs(int(str(first["beat"])) - time.time() * 1000) < 1000
        await eventually(lambda: card()["beat"] != first["beat"])


async def test_a_card_that_cannot_be_made_keeps_no_lease_from_being_kept(
    url: str, valkey: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    [lease] = await take_jobs(url)

    def give_card(heart: Heartbeat) -> None:
        heart.card = lambda: {"host": 1 // 0}

    with beating(url, give_card) as heart:
        heart.add(lease)
        assert await worst_idle_ms(valkey, 2 * LEASE_S) < LEASE_S * 500
    assert "unforeseen error" in caplog.text


async def test_stopping_takes_no_time(url: str) -> None:
    heart = Heartbeat(Address(url), KEYS, ME, 60.0)
    heart.stop()
    heart.start()
    start = time.monotonic()
    heart.stop()
    assert time.monotonic() - start < 2
    heart.stop()


async def test_a_redis_that_restarts_or_hangs_is_survived() -> None:
    failures: list[None] = []
    losses = Losses()

    def listen(heart: Heartbeat) -> None:
        losses.listen(heart)
        heart.on_failure = lambda: failures.append(None)

    with embedded_valkey(aof=True) as server:
        client = redis.Redis(port=server.port)
        [lease] = await take_jobs(server.url)
        with beating(server.url, listen) as heart:
            pulse = heart.add(lease)
            await asyncio.sleep(LEASE_S)
            client.close()
            await asyncio.to_thread(server.restart, True)
            await eventually(lambda: idle_ms(client)[0] < LEASE_S * 500)
            os.kill(server.pid, signal.SIGSTOP)
            await eventually(lambda: time.monotonic() - pulse.last_beat > 0.5 and bool(failures))
            os.kill(server.pid, signal.SIGCONT)
            await eventually(lambda: time.monotonic() - pulse.last_beat < LEASE_S / 2)
            assert losses.pulses == []
            server.stop(hard=True)
            n_failures = len(failures)
            await eventually(lambda: len(failures) > n_failures)
            start = time.monotonic()
        assert time.monotonic() - start < 2
        client.close()


async def test_a_hung_redis_does_not_hold_up_the_stop() -> None:
    with embedded_valkey() as server:
        [lease] = await take_jobs(server.url)
        heart = Heartbeat(Address(server.url), KEYS, ME, LEASE_S)
        heart.add(lease)
        os.kill(server.pid, signal.SIGSTOP)
        heart.start()
        await asyncio.sleep(LEASE_S)
        start = time.monotonic()
        heart.stop()
        assert time.monotonic() - start < 2
        os.kill(server.pid, signal.SIGCONT)


async def test_a_job_that_ends_while_its_beat_is_unanswered_is_not_told_lost() -> None:
    with embedded_valkey() as server:
        [lease] = await take_jobs(server.url)
        losses = Losses()
        with beating(server.url, losses.listen) as heart:
            pulse = heart.add(lease)
            await asyncio.sleep(LEASE_S)
            last_beat = pulse.last_beat
            os.kill(server.pid, signal.SIGSTOP)
            await asyncio.sleep(LEASE_S / 2)
            heart.remove(pulse)
            os.kill(server.pid, signal.SIGCONT)
            await asyncio.sleep(LEASE_S / 2)
            assert pulse.last_beat - last_beat < LEASE_S / 2
        assert losses.pulses == []


@needs_cli
async def test_leases_on_a_cluster_are_kept_and_lost(nodes: list[Server]) -> None:
    url = nodes[1].url.replace("redis://", "redis+cluster://")
    link = open_link(Address(url))
    for key in KEYS.job_plane:
        await link.call("DEL", key)
    first, second = await take_jobs(url, 2)
    losses = Losses()
    with beating(url, losses.listen) as heart:
        kept = heart.add(first)
        await asyncio.sleep(LEASE_S)
        assert time.monotonic() - kept.last_beat < LEASE_S / 2
        [taken] = (await JobQueue(link, KEYS, "other", 1).reclaim(int(LEASE_S * 500), 9, 0.0)).leases
        assert taken.entry_id == second.entry_id
        lost = heart.add(second)
        await eventually(lambda: losses.pulses == [lost])
    await link.close()
