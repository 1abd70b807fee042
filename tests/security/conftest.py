"""The deployed server that these tests share, and leave as empty as they found it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.security.deployed import Deployed, deployed
from tests.stream.servers import REDIS, Certificates


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def plain_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    if REDIS is None:
        pytest.skip("redis-server is not installed; the ACL file is not tried on a real server")
    with deployed(tmp_path_factory.mktemp("deployed")) as one:
        yield one


@pytest.fixture(scope="session")
def tls_only_server(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[Deployed]:
    with deployed(tmp_path_factory.mktemp("deployed-tls"), certificates) as one:
        yield one


@pytest.fixture
def server(plain_server: Deployed) -> Deployed:
    """The deployed Redis, empty, and nothing refused yet."""
    with plain_server.access.client("test") as anybody:
        anybody.flushall()
        anybody.acl_log_reset()
    return plain_server
