"""A broken engine ends its worker, and no job fails for it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Collection

import pytest
import redis

from tests.conftest import REPOSITORY, Server, eventually, make_settings, running
from tests.flow.listening import KEYS, check_complete, check_queue_is_empty, read_session, until_ended
from tests.tone import ToneEngine
from worker.embedded import embedded_valkey
from worker.engine.base import EngineSick, Frames
from worker.service import Worker
from worker.stream.client import Client
from worker.stream.keys import Keys
from worker.stream.transport.address import addresses

TEXT = "A sentence of some length, of which one worker speaks the beginning and another the rest."
SESSIONS = [f"s{n}" for n in range(6)]


@pytest.fixture
def valkey_server(servers: dict[str, Server]) -> Server:
    """One server will do: the scripts are tried on both kinds by tests of their own."""
    return servers["valkey"]


@pytest.mark.parametrize("way", ["cuda", "steps", "opens", "slots"])
async def test_a_worker_whose_engine_breaks_ends_and_another_speaks_its_jobs_on_as_the_same_attempt(
    way: str, valkey: redis.Redis, valkey_server: Server, client: Client
) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.flow.sick", valkey_server.url, way,
        stderr=asyncio.subprocess.PIPE, cwd=REPOSITORY,
    )  # fmt: skip
    try:
        ids = {session: await client.publish({"session_id": session, "text": TEXT}) for session in SESSIONS}
        await eventually(lambda: sum(_n_chunks(valkey, session) > 2 for session in SESSIONS) == 4, within_s=30)
        process.send_signal(signal.SIGUSR1)
        async with asyncio.timeout(30):
            _, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    last = said.decode().splitlines()[-1]
    assert process.returncode == 1
    assert "nvidia-smi" in last
    async with running(make_settings(valkey_server.url, lease_ms=30_000)):
        for session in SESSIONS:
            await until_ended(client, session, within_s=20)
    for session, entry_id in ids.items():
        job = read_session(valkey, session)[entry_id]
        check_complete(job)
        assert {begin.attempt for _, begin in job.begins} == {1}
    check_queue_is_empty(valkey)


def _n_chunks(valkey: redis.Redis, session: str) -> int:
    return sum(len(job.chunks) for job in read_session(valkey, session).values())


class Fragile(ToneEngine):
    """Breaks for good when it is to speak a text that begins with "breaks"."""

    is_broken = False

    def step(self, held: Collection[int] = ()) -> list[Frames]:
        self.is_broken = self.is_broken or any(slot.segment.text.startswith("breaks") for slot in self._slots.values())
        if self.is_broken:
            self._slots.clear()
            raise RuntimeError("CUDA error: device-side assert triggered")
        return super().step(held)


async def test_a_text_that_breaks_every_engine_ends_after_four_of_them(
    valkey: redis.Redis, valkey_server: Server, client: Client
) -> None:
    entry_id = await client.publish({"session_id": "s", "text": "breaks it", "ttl_ms": "300000"})
    for _ in range(4):
        with pytest.raises(EngineSick, match="device-side assert"):
            await asyncio.wait_for(Worker(make_settings(valkey_server.url), Fragile(4)).run(), 20)
    async with running(make_settings(valkey_server.url), Fragile(4)):
        await until_ended(client, "s")
        good = await client.publish({"session_id": "s", "text": "And on it goes."})
        await until_ended(client, "s", n_jobs=2)
    jobs = read_session(valkey, "s")
    assert jobs[entry_id].error.code == "worker_lost"
    assert [begin.attempt for _, begin in jobs[entry_id].begins] == [1, 1, 2, 3]
    check_complete(jobs[good])
    assert valkey.xlen(KEYS.dead) == 1


async def test_a_worker_that_cannot_reach_redis_any_more_ends_all_the_same() -> None:
    engine = ToneEngine(4, frame_s=0.05)
    with embedded_valkey() as server:
        settings = make_settings(server.url, lease_ms=30_000)
        serving = asyncio.create_task(Worker(settings, engine).run())
        async with Client(*addresses(settings), Keys()) as client:
            await client.publish({"session_id": "s", "text": TEXT})
            await eventually(lambda: len(engine.opened) == 1)
            os.kill(server.pid, signal.SIGSTOP)
            engine.error, engine.fail = RuntimeError("CUDA error: unspecified launch failure"), 1
            try:
                with pytest.raises(EngineSick):
                    await asyncio.wait_for(serving, 20)
            finally:
                os.kill(server.pid, signal.SIGCONT)
