"""TLS with client certificates, mixed with plain connections, on a Cluster, and behind Sentinels."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from redis.crc import key_slot

from tests.conftest import make_settings, running
from tests.flow.listening import KEYS, until_ended
from tests.security.deployed import Access, Deployed, deployed, tls_options
from tests.shell import Run, complaint
from tests.stream.servers import CLI, HOST, Certificates, Server, free_port, needs_cli, needs_tls, until
from tests.stream.servers import running as started
from tests.tone import ToneEngine
from worker.settings import Settings
from worker.stream.client import Client
from worker.stream.transport.address import Address, addresses
from worker.stream.transport.open import open_link
from worker.stream.transport.retry import PASSING

pytestmark = needs_tls


async def speak(settings: Settings) -> None:
    """A worker with these settings speaks to a client with the same, in sessions that a Cluster spreads out."""
    async with running(settings, ToneEngine(2)), Client(*addresses(settings), KEYS) as client:
        for session_id in ("s1", "s2", "s3", "s4"):
            await client.publish({"session_id": session_id, "text": "Hello."})
            await until_ended(client, session_id, within_s=20)


def as_test(access: Access, **files: Path) -> Settings:
    """Everything is allowed: what is tried here is the connection."""
    return make_settings(access.url, redis_username="test", redis_password="any", **files)


# One server.


@pytest.fixture(scope="module")
def asking(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """A server that asks its clients for a certificate."""
    options = tls_options(certificates, asks_clients=True)
    with deployed(tmp_path_factory.mktemp("asking"), options, certificates["ca.pem"]) as one:
        yield one


async def test_a_worker_with_a_certificate_of_its_own_speaks(asking: Deployed, certificates: Certificates) -> None:
    files = {"cert": certificates["server.pem"], "key": certificates["server.key"], "ca": certificates["ca.pem"]}
    await speak(as_test(asking.access, **{f"redis_{name}_file": path for name, path in files.items()}))


def test_without_a_certificate_where_one_is_asked_for_a_command_ends_with_one_line(asking: Deployed, run: Run) -> None:
    refused(run, asking.access)


def test_plain_on_a_tls_port_and_tls_on_a_plain_one_end_with_one_line(
    tls_only_server: Deployed, plain_server: Deployed, certificates: Certificates, run: Run
) -> None:
    tls, plain = tls_only_server.access, plain_server.access
    refused(run, Access(tls.url.replace("rediss", "redis"), tls.secrets))
    refused(run, Access(plain.url.replace("redis", "rediss"), plain.secrets, certificates["ca.pem"]))


def refused(run: Run, access: Access) -> None:
    done = run("queue", "status", env=access.environment("operator"))
    assert done.returncode == 1
    line = complaint(done)
    assert "doctor" in line
    assert access.password("operator") not in line


# Many servers: each is checked, also those that were only heard of from another.


def start(stack: ExitStack, folder: Path, tls: list[str], *options: str) -> Server:
    port = free_port()
    words = ["--port", "0", "--tls-port", str(port), "--tls-replication", "yes", *tls, *options]
    return stack.enter_context(started(Server(folder, words, port, "rediss")))


@contextmanager
def tls_cluster(folder: Path, papers: Certificates, *names: str) -> Iterator[str]:
    """The URL of a Cluster of masters with the certificates of these names; their slots in the names' order."""

    def cli(*words: str) -> str:
        command = [str(CLI), "--tls", "--cacert", str(papers["ca.pem"]), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout

    options = ("--cluster-enabled", "yes", "--tls-cluster", "yes", "--cluster-node-timeout", "1000")
    with ExitStack() as stack:
        nodes = [start(stack, folder / str(n), tls_options(papers, name), *options) for n, name in enumerate(names)]
        cli("--cluster", "create", *[f"{HOST}:{one.port}" for one in nodes], "--cluster-yes")
        for one in nodes:
            until(lambda one=one: "cluster_state:ok" in cli("-p", str(one.port), "CLUSTER", "INFO"))  # type: ignore[misc]
        yield f"rediss+cluster://{HOST}:{nodes[0].port}"


@contextmanager
def tls_sentinel(folder: Path, papers: Certificates, masters: str) -> Iterator[str]:
    """The URL of a service whose master has the certificate of this name."""
    with ExitStack() as stack:
        master = start(stack, folder / "master", tls_options(papers, masters))
        config, port = folder / "sentinel.conf", free_port()
        config.write_text(f"sentinel monitor voice {HOST} {master.port} 1\n")
        words = [str(config), "--sentinel", "--port", "0", "--tls-port", str(port), "--tls-replication", "yes"]
        stack.enter_context(started(Server(folder / "sentinel", [*words, *tls_options(papers)], port)))
        yield f"rediss+sentinel://{HOST}:{port}/voice/0"


@needs_cli
async def test_a_cluster_speaks_tls_on_every_node(papers: Certificates, tmp_path: Path) -> None:
    with tls_cluster(tmp_path, papers, "server", "server", "server") as url:
        await speak(make_settings(url, redis_ca_file=papers["ca.pem"]))
        assert "certificate verify failed" in await answer(url, papers["other-ca.pem"], "s1")


@needs_cli
async def test_a_node_with_another_hosts_certificate_is_sent_nothing(papers: Certificates, tmp_path: Path) -> None:
    with tls_cluster(tmp_path, papers, "server", "server", "elsewhere") as url:
        for n in range(20):
            said = await answer(url, papers["ca.pem"], f"s{n}")
            is_on_the_third = key_slot(f"s{n}".encode()) >= 16_384 * 2 // 3
            assert said == "0" or (is_on_the_third and f"not valid for '{HOST}'" in said)
            assert is_on_the_third == (said != "0")


@needs_tls
async def test_sentinels_and_the_master_they_name_speak_tls(papers: Certificates, tmp_path: Path) -> None:
    with tls_sentinel(tmp_path, papers, "server") as url:
        await speak(make_settings(url, redis_ca_file=papers["ca.pem"]))
        assert "No master found" in await answer(url, papers["other-ca.pem"], "s1")  # no Sentinel was believed


@needs_tls
async def test_a_master_with_another_hosts_certificate_is_sent_nothing(papers: Certificates, tmp_path: Path) -> None:
    with tls_sentinel(tmp_path, papers, "elsewhere") as url:
        assert f"not valid for '{HOST}'" in await answer(url, papers["ca.pem"], "s1")


async def answer(url: str, ca_file: Path, session_id: str) -> str:
    """How many entries the session's stream has, or why that cannot be asked."""
    link = open_link(Address(url, ca_file=ca_file))
    try:
        return str(await link.call("XLEN", KEYS.audio(session_id)))
    except PASSING as error:
        return str(error)
    finally:
        await link.close()
