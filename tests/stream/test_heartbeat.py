"""The heartbeat keeps the leases that are to be kept, and no others.

Most tests set the heart's clock forward by hand; the leases are so long that nothing ends by itself meanwhile.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis

from tests import conftest
from tests.chaos.proxy import Proxy
from tests.conftest import eventually
from tests.stream.clocks import HandClock
from tests.stream.servers import Server, needs_cli
from worker.embedded import embedded_valkey
from worker.stream.clock import Clock
from worker.stream.heartbeat import MAX_TURNS, BeatingWorker, Heartbeat
from worker.stream.keys import GROUP, Keys
from worker.stream.lease import Lease
from worker.stream.queue import JobQueue
from worker.stream.transport.address import Address
from worker.stream.transport.open import open_link

KEYS = Keys()
LEASE_S = 60.0
QUARTER_S = LEASE_S / 4
SHORT_LEASE_S = 0.4  # by the real clock
NUMBERS = itertools.count()
ME = "me:1:00000000"


@contextmanager
def beating(
    url: str,
    clock: Clock,
    worker: BeatingWorker | None = None,
    lease_s: float = LEASE_S,
) -> Iterator[Heartbeat]:
    heart = Heartbeat(Address(url), KEYS, ME, lease_s, worker, clock)
    heart.start()
    try:
        yield heart
    finally:
        heart.stop()
    assert "heartbeat" not in {thread.name for thread in threading.enumerate()}


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


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
    claim = await JobQueue(link, KEYS, worker, max_field_bytes=20_000).claim(count)
    await link.close()
    assert len(claim.leases) == count
    return claim.leases


async def take_over(url: str) -> list[Lease]:
    """What another worker would take now, leases being 10 ms to it."""
    link = open_link(Address(url))
    found = (await JobQueue(link, KEYS, "other:2:00000000", max_field_bytes=20_000).reclaim(10, 10, 0.0)).leases
    await link.close()
    return found


def add(heart: Heartbeat, lease: Lease) -> Lease:
    heart.add(lease)
    return lease


def idle_ms(client: redis.Redis) -> list[int]:
    """Of every running job, in order."""
    return [int(one["time_since_delivered"]) for one in client.xpending_range(KEYS.jobs, GROUP, "-", "+", 100)]


def n_beats(client: redis.Redis) -> int:
    """How many beats the server has carried out, claims included."""
    return sum(one["calls"] for name, one in client.info("commandstats").items() if name == "cmdstat_xclaim")


async def beats_of(lease: Lease, clock: HandClock) -> None:
    """Wait until the beat that was due now is answered."""
    await eventually(lambda: lease.last_beat == clock.now())


async def test_every_lease_is_beaten_for_every_quarter_of_it(url: str, valkey: redis.Redis, clock: HandClock) -> None:
    leases = await take_jobs(url, 20)
    with beating(url, clock) as heart:
        for lease in leases:
            heart.add(lease)
        for _ in range(5):
            await asyncio.sleep(0.05)
            before_s = time.monotonic()
            await clock.forward(QUARTER_S)
            for lease in leases:
                await beats_of(lease, clock)
            assert max(idle_ms(valkey)) <= (time.monotonic() - before_s) * 1000 + 1
        assert not any(lease.is_lost for lease in leases)


async def test_a_busy_event_loop_does_not_keep_the_heart_from_beating(url: str, valkey: redis.Redis) -> None:
    [lease] = await take_jobs(url)
    with beating(url, Clock(), lease_s=SHORT_LEASE_S) as heart:
        claimed_at = add(heart, lease).last_beat
        while lease.last_beat - claimed_at < SHORT_LEASE_S:
            time.sleep(0.01)  # noqa: ASYNC251


async def test_a_removed_job_is_beaten_no_more(url: str, valkey: redis.Redis, clock: HandClock) -> None:
    removed, kept = await take_jobs(url, 2)
    with beating(url, clock) as heart:
        heart.add(kept)
        heart.remove(add(heart, removed))
        await asyncio.sleep(0.05)
        before_s = time.monotonic()
        await clock.forward(QUARTER_S)
        await beats_of(kept, clock)
        assert idle_ms(valkey)[0] > (time.monotonic() - before_s) * 1000


class Losses:
    """Who was told lost, on which thread."""

    def __init__(self) -> None:
        self.leases: list[Lease] = []
        self.threads: set[str] = set()

    @property
    def worker(self) -> BeatingWorker:
        return BeatingWorker(on_lost=self)

    def __call__(self, lease: Lease) -> None:
        self.leases.append(lease)
        self.threads.add(threading.current_thread().name)


async def test_another_workers_claim_is_told_once_and_the_others_go_on(
    url: str, valkey: redis.Redis, clock: HandClock
) -> None:
    leases = await take_jobs(url, 3)
    losses = Losses()
    await asyncio.sleep(0.05)
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


async def test_a_job_settled_while_its_beat_is_on_the_way_is_not_told_lost(url: str) -> None:
    leases = await take_jobs(url, 20)
    losses = Losses()
    link = open_link(Address(url))
    queue = JobQueue(link, KEYS, ME, max_field_bytes=20_000)
    with beating(url, Clock(), losses.worker, SHORT_LEASE_S) as heart:
        for lease in leases:
            heart.add(lease)
            await asyncio.sleep(0.03)
            heart.remove(lease)
            assert await queue.settle(lease, "ok") == "ok"
        await asyncio.sleep(SHORT_LEASE_S / 2)
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
        assert caplog.text.count(f"left to other workers: {speaking.entry_id}") == 1
        moves[0] = True
        await clock.forward(QUARTER_S)
        await beats_of(left, clock)


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
    assert caplog.text.count("card cannot be made: ZeroDivisionError") == 1


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


async def test_stopping_takes_no_time(url: str) -> None:
    heart = Heartbeat(Address(url), KEYS, ME, 60.0)
    heart.stop()
    heart.start()
    start = time.monotonic()
    heart.stop()
    assert time.monotonic() - start < 10
    heart.stop()


# --- the way to Redis is long, or cut


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
        proxy.delay_s = 0.15
        far = f"redis://127.0.0.1:{proxy.port}/0"
        with beating(far, Clock(), lease_s=0.8) as heart:
            await eventually(lambda: heart.round_trips.problem() is not None, within_s=20)
            assert (heart.round_trips.median_s or 0) >= 0.3
            assert "MAKIMA_TTS_LEASE_MS" in str(heart.round_trips.problem())
            await eventually(lambda: caplog.text.count("MAKIMA_TTS_LEASE_MS") == 1)
        with beating(far, Clock(), lease_s=6) as heart:
            await eventually(lambda: heart.round_trips.median_s is not None, within_s=40)
            assert heart.round_trips.problem() is None


async def test_a_redis_that_restarts_or_hangs_is_survived() -> None:
    failures: list[None] = []
    losses = Losses()

    worker = BeatingWorker(on_lost=losses, on_failure=lambda: failures.append(None))
    with embedded_valkey(aof=True) as server:
        client = redis.Redis(port=server.port)
        [lease] = await take_jobs(server.url)
        with beating(server.url, Clock(), worker, SHORT_LEASE_S) as heart:
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
        heart = Heartbeat(Address(server.url), KEYS, ME, SHORT_LEASE_S, worker)
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
        await asyncio.sleep(0.2)
        await clock.forward(QUARTER_S)
        await beats_of(kept, clock)
        taken: list[Lease] = []
        while second.entry_id not in {lease.entry_id for lease in taken}:
            taken += (await JobQueue(link, KEYS, "other", max_field_bytes=1).reclaim(150, 9, 0.0)).leases
        lost = add(heart, second)
        await clock.forward(QUARTER_S)
        await eventually(lambda: lost in losses.leases)
    await link.close()
