"""A relay on every kind of Redis that its settings allow, with and without connections of its sockets' own."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.conftest import make_settings, running
from tests.relay.callers import CANCELLED, started
from tests.stream.servers import Certificates, cluster, needs_cli, needs_tls, sentinel_service, tls_server
from tests.tone import ToneEngine
from worker.embedded import embedded_valkey
from worker.relay.server import RelayServer
from worker.settings import Settings

N_SOCKETS = 4


async def check(settings: Settings) -> None:
    """Whole and written texts, and a stop, on a few sockets at once. They come without the look of each second."""
    settings = settings.model_copy(update={"relay_port": 0})
    async with running(settings, ToneEngine(N_SOCKETS, frame_s=0.01)), RelayServer(settings).running() as relay:
        address = relay.address.replace("http", "ws") + "api/v1/speak"

        async def one() -> None:
            async with started(address) as caller:
                await caller.send("speak", text="A whole text.")
                whole = (await caller.utterance()).whole()
                await caller.send("text", text="A whole")
                await caller.send("text", text=" text.")
                await caller.send("end")
                assert len((await caller.utterance()).whole()) == len(whole) > 0
                await caller.send("speak", text="This is stopped. " * 30)
                begun = await caller.first_chunk()
                await caller.send("stop")
                assert (await caller.utterance(begun)).answer == CANCELLED

        await asyncio.gather(*[one() for _ in range(N_SOCKETS)])


@pytest.mark.parametrize("n_own", [N_SOCKETS, 0])
async def test_sessions_on_a_redis_of_their_own(n_own: int) -> None:
    with embedded_valkey() as jobs, embedded_valkey() as sessions:
        await check(make_settings(jobs.url, session_redis_url=sessions.url, relay_own_connections=n_own))


@needs_cli
async def test_a_cluster(tmp_path: Path) -> None:
    with cluster(tmp_path) as nodes:
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in nodes)
        await check(make_settings(f"redis+cluster://{hosts}"))


@needs_cli
async def test_a_sentinel_service(tmp_path: Path) -> None:
    with sentinel_service(tmp_path, 3) as service:
        settings = make_settings(service.url, relay_own_connections=N_SOCKETS // 2)
        await check(settings)


@needs_tls
async def test_tls(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    with tls_server(certificates, "--tls-auth-clients", "no") as server:
        await check(make_settings(server.url, redis_ca_file=certificates["ca.pem"], relay_own_connections=1))
