"""Workers far from their Redis are slower, and lose no lease."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from tests.chaos.proxy import Proxy
from tests.conftest import eventually, make_settings, running, sample
from tests.flow.listening import KEYS, check_complete, check_queue_is_empty, read_session
from tests.tone import ToneEngine
from worker.embedded import Embedded, embedded_valkey
from worker.stream.client import Client
from worker.stream.keys import Keys
from worker.stream.transport.address import addresses

FRAME_S = 0.08  # as it is heard
TEXT = "Words on a long way. " * 6  # 126 characters, 63 frames, 5 s


@pytest.fixture
def server() -> Iterator[Embedded]:
    with embedded_valkey() as one:
        yield one


@pytest.mark.parametrize("way_s", [0.9, 1.0])
async def test_a_round_trip_of_a_third_of_the_lease_takes_nobodys_job(server: Embedded, way_s: float) -> None:
    own = redis.Redis.from_url(server.url, protocol=2)
    sessions = [f"s{n}" for n in range(3)]
    with Proxy(server.port) as proxy:
        proxy.delay_s = way_s
        far = make_settings(f"redis://127.0.0.1:{proxy.port}/0", lease_ms=6000)
        async with (
            running(far, ToneEngine(4, frame_s=FRAME_S)) as one,
            running(far, ToneEngine(4, frame_s=FRAME_S)) as other,
            Client(*addresses(make_settings(server.url)), Keys()) as client,
        ):
            ids = [await client.publish({"session_id": name, "text": TEXT}) for name in sessions]
            await eventually(lambda: own.xlen(KEYS.jobs) == 0, within_s=60)
            for name, entry_id in zip(sessions, ids, strict=True):
                job = read_session(own, name)[entry_id]
                check_complete(job)
                assert len(job.begins) == 1
            assert sum(sample(worker, "lost_leases_total") for worker in (one, other)) == 0
    check_queue_is_empty(own)
    own.close()


async def test_a_worker_too_far_for_its_lease_says_so(server: Embedded) -> None:
    with Proxy(server.port) as proxy:
        proxy.delay_s = 0.2
        settings = make_settings(f"redis://127.0.0.1:{proxy.port}/0", lease_ms=1000)
        async with running(settings) as worker:
            await eventually(lambda: any("MAKIMA_TTS_LEASE_MS" in said for said in worker.warnings()), within_s=20)
            assert b"makima_tts_redis_round_trip_seconds 0." in worker.metrics.render()
    near = make_settings(server.url)
    async with running(near) as worker:
        await eventually(lambda: b"makima_tts_redis_round_trip_seconds 0." in worker.metrics.render())
        assert worker.problems() + worker.warnings() == []
