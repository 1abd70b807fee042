"""Servers that several of these tests use and leave as they found them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import redis

from tests.conftest import Server as OneServer
from tests.stream.servers import Server, Service, cluster, sentinel_service
from tests.stream.session_writers import LossyLink
from worker.stream.transport.address import Address
from worker.stream.transport.open import open_link


@pytest.fixture(scope="session")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """A Cluster of three masters; the slots are dealt out evenly, in the list's order."""
    with cluster(tmp_path_factory.mktemp("cluster"), "--cluster-require-full-coverage", "no") as found:
        yield found


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A Sentinel service with three Sentinels, not to be failed over."""
    with sentinel_service(tmp_path_factory.mktemp("sentinel"), 3) as found:
        yield found


@pytest.fixture
async def link(valkey: redis.Redis, valkey_server: OneServer) -> AsyncIterator[LossyLink]:
    del valkey  # empties the server
    one = LossyLink(open_link(Address(valkey_server.url)))
    yield one
    await one.close()
