"""A job that kills its workers is dead-lettered after three of them, and no other job is."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis

from tests.conftest import REPOSITORY, Server, eventually, make_settings, running
from tests.flow.listening import KEYS, check_complete, check_queue_is_empty, read_session, until_ended
from tests.shell import Run
from tests.tone import ToneEngine
from worker.stream.client import Client

LEASE_MS = 400
NEIGHBOUR = "A neighbour who speaks for a while and has nothing to do with all this."


@pytest.fixture
def valkey_server(servers: dict[str, Server]) -> Server:
    """One server will do: the scripts are tried on both kinds by tests of their own."""
    return servers["valkey"]


class Supervisor:
    """Starts a mortal worker again whenever it dies, as systemd would."""

    def __init__(self, url: str) -> None:
        self._command = [sys.executable, "-m", "tests.flow.mortal", url, str(LEASE_MS)]
        self.n_deaths = 0

    async def run(self) -> None:
        while True:
            process = await asyncio.create_subprocess_exec(*self._command, cwd=REPOSITORY, stderr=subprocess.DEVNULL)
            try:
                await process.wait()
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
            self.n_deaths += 1


@pytest.fixture
async def supervisor(valkey_server: Server) -> AsyncIterator[Supervisor]:
    one = Supervisor(valkey_server.url)
    running = asyncio.create_task(one.run())
    yield one
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_job_that_kills_its_workers_dies_after_three_and_its_neighbours_live(
    valkey: redis.Redis, valkey_server: Server, client: Client, supervisor: Supervisor, shell: Run
) -> None:
    neighbours = {}
    for session in ("n1", "n2", "n3"):
        neighbours[session] = await client.publish({"session_id": session, "text": NEIGHBOUR})
    await client.publish({"session_id": "s", "job_id": "j", "text": "poison", "ttl_ms": "300000"})
    await until_ended(client, "s", within_s=60)
    for session in neighbours:
        await until_ended(client, session, within_s=30)
    await eventually(lambda: valkey.xlen(KEYS.jobs) == 0)
    assert supervisor.n_deaths == 3
    [dead] = read_session(valkey, "s").values()
    assert (dead.error.code, dead.error.retryable) == ("worker_lost", True)
    for session, entry_id in neighbours.items():
        job = read_session(valkey, session)[entry_id]
        check_complete(job)
        assert max(begin.attempt for _, begin in job.begins) <= 2, "one of the deaths at most was theirs too"
    check_queue_is_empty(valkey)
    await _check_redrive(client, supervisor, shell, valkey_server.url)


async def _check_redrive(client: Client, supervisor: Supervisor, shell: Run, url: str) -> None:
    shown = await asyncio.to_thread(shell, "queue", "dead", "--json", "--redis-url", url)
    [letter] = json.loads(shown.stdout)
    assert (letter["dead_reason"], letter["job_id"]) == ("worker_lost", "j")
    again = await asyncio.to_thread(shell, "queue", "redrive", "--all", "--redis-url", url)
    assert b"published 1" in again.stdout
    await until_ended(client, "s", n_jobs=2, within_s=60)
    assert supervisor.n_deaths == 6


async def test_a_job_that_kills_its_workers_but_gets_on_is_spoken_to_its_end(
    valkey: redis.Redis, client: Client, supervisor: Supervisor
) -> None:
    text = "late poison, and yet spoken to its end bit by bit"
    entry_id = await client.publish({"session_id": "s", "text": text, "ttl_ms": "300000"})
    await until_ended(client, "s", within_s=120)
    job = read_session(valkey, "s")[entry_id]
    check_complete(job)
    assert supervisor.n_deaths > 3
    assert len(job.begins) == supervisor.n_deaths + 1


async def test_a_suspect_spends_no_attempt_while_it_waits_for_others_to_end(
    valkey: redis.Redis, valkey_server: Server, client: Client
) -> None:
    engine = ToneEngine(4, frame_s=0.03)
    async with running(make_settings(valkey_server.url), engine):
        await client.publish({"session_id": "n1", "text": NEIGHBOUR})
        await eventually(lambda: bool(engine.opened))
        entry_id = f"{time.time_ns() // 1_000_000}-7"
        valkey.hset(KEYS.job_plane[5], entry_id, "1 1000")
        valkey.xadd(KEYS.jobs, {"session_id": "s", "text": "It fell silent before it began."}, id=entry_id)
        await eventually(lambda: len(valkey.xpending_range(KEYS.jobs, "workers", "-", "+", 9)) == 2)
        await eventually(lambda: _count(valkey, entry_id) == 1)
        assert len(engine.opened) == 1
        assert not read_session(valkey, "s")
        await until_ended(client, "n1")
        await until_ended(client, "s")
    [job] = read_session(valkey, "s").values()
    check_complete(job)
    assert [begin.attempt for _, begin in job.begins] == [2]


def _count(valkey: redis.Redis, entry_id: str) -> int:
    found: Any = valkey.hget(KEYS.job_plane[5], entry_id)
    return int(found.split()[0]) if found else 0
