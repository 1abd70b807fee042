"""The heartbeat renews leases whose jobs make progress or wait, and no others.

Most tests set the clock of the heartbeat by hand; their leases are so long that none ends by itself.
"""

from __future__ import annotations

import asyncio
import time

import pytest
import redis

from tests import conftest
from tests.conftest import eventually
from tests.stream.beating import (
    KEYS,
    LONG_AGO_MS,
    ME,
    QUARTER_S,
    Losses,
    add,
    age,
    are_renewed,
    beating,
    beats_of,
    take_jobs,
    take_over,
)
from tests.stream.clocks import HandClock
from tests.stream.servers import Server, needs_cli
from worker.stream.clock import Clock
from worker.stream.heartbeat import BeatingWorker, Heartbeat
from worker.stream.keys import GROUP
from worker.stream.queue import JobQueue
from worker.stream.transport.address import Address
from worker.stream.transport.open import open_link


@pytest.fixture
def valkey_server(servers: dict[str, conftest.Server]) -> conftest.Server:
    """One kind of server is enough: tests/scripts runs BEAT on the others."""
    return servers["valkey"]


async def test_every_lease_is_beaten_for_every_quarter_of_it(url: str, valkey: redis.Redis, clock: HandClock) -> None:
    leases = await take_jobs(url, 20)
    with beating(url, clock) as heart:
        for lease in leases:
            heart.add(lease)
        for _ in range(5):
            age(valkey, leases)
            await clock.forward(QUARTER_S)
            for lease in leases:
                await beats_of(lease, clock)
            assert all(are_renewed(valkey))
        assert not any(lease.is_lost for lease in leases)


async def test_a_busy_event_loop_does_not_keep_the_heart_from_beating(url: str) -> None:
    [lease] = await take_jobs(url)
    with beating(url, Clock(), lease_s=0.4) as heart:
        claimed_at = add(heart, lease).last_beat
        while lease.last_beat - claimed_at < 0.4:
            time.sleep(0.01)  # noqa: ASYNC251


async def test_a_removed_job_is_beaten_no_more(url: str, valkey: redis.Redis, clock: HandClock) -> None:
    removed, kept = await take_jobs(url, 2)
    with beating(url, clock) as heart:
        heart.add(kept)
        heart.remove(add(heart, removed))
        age(valkey, [removed, kept])
        await clock.forward(QUARTER_S)
        await beats_of(kept, clock)
        assert are_renewed(valkey) == [False, True]


async def test_another_workers_claim_is_told_once_and_the_others_go_on(
    url: str, valkey: redis.Redis, clock: HandClock
) -> None:
    leases = await take_jobs(url, 3)
    losses = Losses()
    age(valkey, leases)
    taken = await take_over(url)
    assert len(taken) == 3
    again = await take_jobs(url, 2)
    with beating(url, clock, losses.worker) as heart:
        lost = {add(heart, lease) for lease in leases}
        kept = {add(heart, lease) for lease in again}
        for _ in range(4):
            await clock.forward(QUARTER_S)
            for lease in kept:
                await beats_of(lease, clock)
        assert set(losses.leases) == lost
        assert len(losses.leases) == 3
        assert losses.threads == {"heartbeat"}
        assert all(lease.is_lost for lease in lost)
        assert not any(lease.is_lost for lease in kept)


@pytest.mark.parametrize("how", ["group", "stream", "everything"])
async def test_what_an_accident_takes_of_a_lease_is_written_again_and_nothing_is_lost(
    url: str, valkey: redis.Redis, clock: HandClock, how: str
) -> None:
    [lease] = await take_jobs(url)
    losses = Losses()
    with beating(url, clock, losses.worker) as heart:
        heart.add(lease)
        if how == "group":
            valkey.xgroup_destroy(KEYS.jobs, GROUP)
        elif how == "stream":
            valkey.delete(KEYS.jobs)
        else:
            valkey.flushall()
        await clock.forward(QUARTER_S)
        await beats_of(lease, clock)
        assert how != "group" or _n_pending(valkey) == 1
    assert losses.leases == []


def _n_pending(valkey: redis.Redis) -> int:
    try:
        return int(valkey.xpending(KEYS.jobs, GROUP)["pending"])
    except redis.ResponseError:  # the group is not there yet
        return 0


async def test_a_job_settled_while_its_beat_is_on_the_way_is_not_told_lost(url: str, clock: HandClock) -> None:
    leases = await take_jobs(url, 20)
    losses = Losses()
    link = open_link(Address(url))
    queue = JobQueue(link, KEYS, ME, max_field_bytes=20_000)
    with beating(url, clock, losses.worker) as heart:
        for lease in leases:
            heart.add(lease)
            beat = asyncio.create_task(clock.forward(QUARTER_S))
            await asyncio.sleep(0)
            heart.remove(lease)
            assert await queue.settle(lease, "ok") == "ok"
            await beat
    await link.close()
    assert losses.leases == []


async def test_a_hung_engine_is_not_covered_up_but_who_waits_is_kept(
    url: str, valkey: redis.Redis, clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    speaking, waiting = await take_jobs(url, 2)

    moves = [False]
    with beating(url, clock, BeatingWorker(engine_moves=lambda: moves[0])) as heart:
        left, kept, claimed_at = add(heart, speaking), add(heart, waiting), speaking.last_beat
        left.is_waiting = False
        for _ in range(3):
            await clock.forward(QUARTER_S)
            await beats_of(kept, clock)
        assert left.last_beat == claimed_at
        assert caplog.text.count(f"other workers take over {speaking.entry_id}") == 1
        moves[0] = True
        await clock.forward(QUARTER_S)
        await beats_of(left, clock)


async def test_stopping_takes_no_time(url: str) -> None:
    heart = Heartbeat(Address(url), KEYS, ME, 60.0)
    heart.stop()
    heart.start()
    start = time.monotonic()
    heart.stop()
    assert time.monotonic() - start < 10
    heart.stop()


@needs_cli
async def test_leases_on_a_cluster_are_kept_and_lost(nodes: list[Server], clock: HandClock) -> None:
    url = nodes[1].url.replace("redis://", "redis+cluster://")
    link = open_link(Address(url))
    for key in KEYS.job_plane:
        await link.call("DEL", key)
    first, second = await take_jobs(url, 2)
    losses = Losses()
    with beating(url, clock, losses.worker) as heart:
        kept = add(heart, first)
        for lease in (first, second):
            words = ("XCLAIM", KEYS.jobs, GROUP, ME, 0, lease.entry_id, "IDLE", LONG_AGO_MS, "JUSTID")
            await link.call(*words)
        await clock.forward(QUARTER_S)
        await beats_of(kept, clock)
        taken = await take_over(url)
        assert [lease.entry_id for lease in taken] == [second.entry_id]
        lost = add(heart, second)
        await clock.forward(QUARTER_S)
        await eventually(lambda: lost in losses.leases)
    await link.close()
