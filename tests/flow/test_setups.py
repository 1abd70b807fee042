"""A worker on every kind of Redis that its settings allow."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from schemas.messages import Audio, Complete
from tests.conftest import make_settings, running
from tests.stream.servers import (
    Certificates,
    cluster,
    needs_cli,
    needs_tls,
    sentinel_service,
    tls_server,
)
from tests.tone import ToneEngine
from worker.embedded import Embedded, embedded_valkey
from worker.settings import Settings
from worker.stream.client import TERMINAL, Client
from worker.stream.keys import Keys
from worker.stream.transport.address import addresses
from worker.stream.transport.retry import RedisError

TEXT = "A sentence that every kind of Redis carries."


async def spoken(client: Client, session_id: str, text: str = TEXT, within_s: float = 20.0) -> Complete:
    """Publish and hear a job; its chunks are contiguous whatever happens between them."""
    entry_id = await client.publish({"session_id": session_id, "text": text, "ttl_ms": "300000"})
    n_samples = 0
    async with asyncio.timeout(within_s):
        async for _, entry in client.listen(session_id):
            if entry.entry != entry_id:
                continue
            if isinstance(entry.message, Audio):
                assert entry.message.pos == n_samples
                n_samples = entry.delivered
            if entry.type in TERMINAL:
                assert isinstance(entry.message, Complete)
                assert entry.message.samples == n_samples > 0
                return entry.message
    raise AssertionError("the stream ended")


async def check_many_sessions(settings: Settings) -> None:
    async with running(settings, ToneEngine(8)), Client(*addresses(settings), Keys()) as publisher:

        async def one_session(n: int) -> None:
            async with Client(*addresses(settings), Keys()) as client:
                for _ in range(2):
                    await spoken(client, f"session-{n}")

        await asyncio.gather(*[one_session(n) for n in range(20)])
        await publisher.cancel("session-1")
        await spoken(publisher, "session-1", "After a cancel.")


@pytest.fixture
def two_servers() -> Iterator[tuple[Embedded, Embedded]]:
    with embedded_valkey() as jobs, embedded_valkey() as sessions:
        yield jobs, sessions


async def test_sessions_may_live_on_a_redis_of_their_own(two_servers: tuple[Embedded, Embedded]) -> None:
    jobs, sessions = two_servers
    await check_many_sessions(make_settings(jobs.url, session_redis_url=sessions.url))


async def test_a_lost_session_redis_is_waited_for(two_servers: tuple[Embedded, Embedded]) -> None:
    jobs, sessions = two_servers
    settings = make_settings(jobs.url, session_redis_url=sessions.url)
    async with running(settings, ToneEngine(4)) as worker:
        sessions.stop()
        async with Client(*addresses(settings), Keys()) as client:
            await client.publish({"session_id": "s", "text": TEXT, "ttl_ms": "300000"})
            async with asyncio.timeout(10):
                while not any("session" in problem for problem in worker.problems()):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        sessions.start()
        async with Client(*addresses(settings), Keys()) as client:
            await spoken(client, "s")


@needs_cli
async def test_a_cluster_of_three_masters(tmp_path: Path) -> None:
    with cluster(tmp_path) as nodes:
        await check_many_sessions(make_settings(f"redis+cluster://127.0.0.1:{nodes[0].port}"))


@needs_cli
async def test_a_sentinel_service_whose_master_is_killed(tmp_path: Path) -> None:
    with sentinel_service(tmp_path, 3, down_after_ms=300) as service:
        settings = make_settings(service.url)
        async with running(settings, ToneEngine(4)):
            async with Client(*addresses(settings), Keys()) as client:
                await spoken(client, "before")
            await asyncio.to_thread(service.master.stop)
            async with asyncio.timeout(30):
                await _until_spoken(settings)


async def _until_spoken(settings: Settings) -> None:
    """Publish until the new master takes it; a producer's own patience."""
    while True:
        try:
            async with Client(*addresses(settings), Keys()) as client:
                await spoken(client, "after", within_s=5)
                return
        except (OSError, TimeoutError, RedisError):
            await asyncio.sleep(0.1)


@needs_tls
async def test_tls_with_a_user_and_a_password_from_a_file(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    secret = tmp_path / "password"
    secret.write_text("open sesame\n")
    users = f"user default off\nuser speaker on #{sha256(b'open sesame').hexdigest()} ~* &* +@all\n"
    (tmp_path / "users.acl").write_text(users)
    with tls_server(certificates, "--tls-auth-clients", "no", "--aclfile", str(tmp_path / "users.acl")) as server:
        settings = make_settings(
            server.url, redis_username="speaker", redis_password_file=secret, redis_ca_file=certificates["ca.pem"]
        )
        await check_many_sessions(settings)
