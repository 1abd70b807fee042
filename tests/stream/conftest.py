"""Servers that several of these tests use and leave as they found them."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator

import pytest
import redis

from tests.conftest import Server as OneServer
from tests.stream.clocks import HandClock
from tests.stream.servers import Server, Service, cluster, sentinel_service
from tests.stream.session_writers import LossyLink
from worker.embedded import Embedded, embedded_valkey
from worker.stream.transport.address import Address
from worker.stream.transport.link import PipelinedLink
from worker.stream.transport.open import open_link


@pytest.fixture(scope="session")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """A Cluster of three masters, with the slots spread evenly in the list's order."""
    with cluster(tmp_path_factory.mktemp("cluster"), "--cluster-require-full-coverage", "no") as found:
        yield found


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A Sentinel service with three Sentinels. Tests must not fail it over."""
    with sentinel_service(tmp_path_factory.mktemp("sentinel"), 3) as found:
        yield found


@pytest.fixture
async def link(valkey: redis.Redis, valkey_server: OneServer) -> AsyncIterator[LossyLink]:
    del valkey  # empties the server
    one = LossyLink(open_link(Address(valkey_server.url)))
    yield one
    await one.close()


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def url(valkey: redis.Redis, valkey_server: OneServer) -> str:
    """The URL of an empty server."""
    del valkey
    return valkey_server.url


@pytest.fixture
async def quiet() -> AsyncIterator[None]:
    """Fails a test that leaves an unretrieved exception, a task or a connection behind."""
    complaints: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what["message"]))
    tasks = asyncio.all_tasks()
    yield
    gc.collect()
    await asyncio.sleep(0)
    assert complaints == []
    assert asyncio.all_tasks() - tasks <= {asyncio.current_task()}


@pytest.fixture(scope="module")
def own_server() -> Iterator[Embedded]:
    """A Valkey to kill and to stop."""
    with embedded_valkey() as server:
        yield server


@pytest.fixture
async def patient(own_server: Embedded) -> AsyncIterator[PipelinedLink]:
    """A link to it that waits for an answer longer than any test."""
    one = PipelinedLink(Address(own_server.url), 60)
    yield one
    await one.close()


@pytest.fixture
async def fragile(own_server: Embedded) -> AsyncIterator[PipelinedLink]:
    """A link to it; an answer that takes longer than 0.3 s breaks it."""
    one = PipelinedLink(Address(own_server.url), 0.3)
    yield one
    await one.close()
