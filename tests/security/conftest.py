"""The deployed server that these tests share, and leave as empty as they found it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.security.deployed import Deployed, deployed, tls_options
from tests.stream.servers import HOST, KEY, REDIS, Certificates, openssl


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def papers(certificates: Certificates) -> Certificates:
    """Two certificates more by the right authority: one for another host, one whose time is over."""
    sign(certificates, "elsewhere", "DNS:redis.example,IP:192.0.2.1", days=2)
    sign(certificates, "expired", f"IP:{HOST}", days=0)
    return certificates


def sign(certificates: Certificates, name: str, hosts: str, days: int) -> None:
    folder = certificates.folder
    openssl(folder, "req", *KEY, f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
    (folder / f"{name}.names").write_text(f"subjectAltName={hosts}\nauthorityKeyIdentifier=keyid\n")
    by = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", str(days), "-extfile", f"{name}.names"]
    openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *by)


@pytest.fixture(scope="session")
def plain_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    if REDIS is None:
        pytest.skip("redis-server is not installed; the ACL file is not tried on a real server")
    with deployed(tmp_path_factory.mktemp("deployed")) as one:
        yield one


@pytest.fixture(scope="session")
def tls_only_server(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[Deployed]:
    with deployed(tmp_path_factory.mktemp("tls"), tls_options(certificates), certificates["ca.pem"]) as one:
        yield one


@pytest.fixture
def server(plain_server: Deployed) -> Deployed:
    """The deployed Redis, empty, and nothing refused yet."""
    with plain_server.access.client("test") as anybody:
        anybody.flushall()
        anybody.acl_log_reset()
    return plain_server
