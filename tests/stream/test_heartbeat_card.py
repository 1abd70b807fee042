"""The worker's card is written with the beats, and delays none of them."""

from __future__ import annotations

import asyncio
import itertools
import json
import time

import pytest
import redis

from tests import conftest
from tests.conftest import eventually
from tests.stream.beating import (
    KEYS,
    ME,
    QUARTER_S,
    beating,
    beats_of,
    take_jobs,
)
from tests.stream.clocks import HandClock
from worker.stream.heartbeat import BeatingWorker


@pytest.fixture
def valkey_server(servers: dict[str, conftest.Server]) -> conftest.Server:
    """One kind of server is enough: tests/scripts runs BEAT on the others."""
    return servers["valkey"]


class Cards:
    """Numbered cards."""

    def __init__(self) -> None:
        self.numbers = itertools.count()

    def __call__(self) -> dict[str, object]:
        return {"host": "here", "n": next(self.numbers)}


def card(client: redis.Redis) -> dict[str, object]:
    found: dict[str, object] = json.loads(client.hget(KEYS.workers, ME) or b"{}")
    return found


async def announced(client: redis.Redis) -> None:
    """Wait until the card is written again. Beats that were due before it are carried out then."""
    before = card(client).get("n")
    await eventually(lambda: card(client).get("n") != before)


async def test_a_hung_event_loop_keeps_no_lease_but_is_still_announced(
    url: str, valkey: redis.Redis, clock: HandClock
) -> None:
    [lease] = await take_jobs(url)

    claimed_at = lease.last_beat
    with beating(url, clock, BeatingWorker(loop_moves=lambda: False, card=Cards())) as heart:
        heart.add(lease)
        for _ in range(3):
            writing = asyncio.create_task(announced(valkey))
            await asyncio.sleep(0)
            await clock.forward(QUARTER_S)
            await writing
        assert lease.last_beat == claimed_at


async def test_the_workers_card_is_announced_at_once_and_kept_fresh(
    url: str, valkey: redis.Redis, clock: HandClock
) -> None:
    with beating(url, clock, BeatingWorker(card=Cards())):
        await eventually(lambda: valkey.hexists(KEYS.workers, ME))
        first = card(valkey)
        assert first["host"] == "here"
        assert abs(int(str(first["beat"])) - time.time() * 1000) < 60_000
        writing = asyncio.create_task(announced(valkey))
        await asyncio.sleep(0)
        await clock.forward(QUARTER_S)
        await writing


async def test_a_card_that_cannot_be_made_keeps_no_lease_from_being_kept(
    url: str, clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    [lease] = await take_jobs(url)

    with beating(url, clock, BeatingWorker(card=lambda: {"host": 1 // 0})) as heart:
        heart.add(lease)
        for _ in range(3):
            await clock.forward(QUARTER_S)
            await beats_of(lease, clock)
    assert caplog.text.count("its card: ZeroDivisionError") == 1


async def test_a_card_that_redis_refuses_delays_no_beat_and_is_said_once_a_minute(
    url: str, valkey: redis.Redis, clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    [lease] = await take_jobs(url)
    valkey.set(KEYS.workers, "x", px=60_000)
    with beating(url, clock, BeatingWorker(card=Cards())) as heart:
        heart.add(lease)
        for _ in range(6):
            await clock.forward(QUARTER_S)
            await beats_of(lease, clock)
        await eventually(lambda: caplog.text.count("WRONGTYPE") == 2)
        valkey.delete(KEYS.workers)
        await clock.forward(QUARTER_S)
        await eventually(lambda: valkey.hexists(KEYS.workers, ME))
