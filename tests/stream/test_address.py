"""Every way to reach a Redis, on real servers."""

from __future__ import annotations

import asyncio
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from tests import conftest
from tests.stream.servers import (
    HOST,
    Certificates,
    Server,
    Service,
    free_port,
    needs_cli,
    needs_redis,
    needs_tls,
    sentinel_service,
    server,
    tls_server,
)
from worker.stream.transport.address import Address, AddressError
from worker.stream.transport.base import Link
from worker.stream.transport.open import open_link
from worker.stream.transport.retry import PASSING

PASSWORD = "p@ss/w:rd#%?"  # every character that needs care in a URL


@asynccontextmanager
async def linked(address: Address, timeout_s: float = 5.0) -> AsyncIterator[Link]:
    link = open_link(address, timeout_s)
    try:
        yield link
    finally:
        await link.close()


async def who_am_i(address: Address) -> str:
    async with linked(address) as link:
        name: bytes = await link.call("ACL", "WHOAMI")
        return name.decode()


# --- what can be read from a URL


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("redis+sentinel://a:1,b:2/voice", [("a", 1), ("b", 2)]),
        ("redis+sentinel://a,b/voice", [("a", 26379), ("b", 26379)]),
        ("rediss+cluster://u:p@a,b:7", [("a", 6379), ("b", 7)]),
        ("redis+cluster://[::1]:7,[fe80::2],10.0.0.1", [("::1", 7), ("fe80::2", 6379), ("10.0.0.1", 6379)]),
    ],
)
def test_sentinels_and_cluster_nodes_are_listed_with_their_ports(url: str, hosts: list[tuple[str, int]]) -> None:
    assert Address(url).hosts == hosts


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://localhost", "use one of redis://"),
        ("redis+ring://localhost", "use one of redis://"),
        ("localhost:6379", "use one of redis://"),
        ("", "use one of redis://"),
        ("redis+sentinel://host:26379", "names the service"),
        ("redis+sentinel://host:26379/voice/x", "names the service"),
        ("redis+cluster://host:port", "'host:port'"),
        ("redis+cluster://a,,b", "no host:port"),
        ("redis+sentinel:///voice", "no host:port"),
        (f"redis://:{PASSWORD}@localhost", "%40"),
        ("redis://[::1", "looks like redis"),
        ("redis://host:99999999", "looks like redis"),
        ("redis://host/voice", "looks like redis"),
        ("redis://user:pass#word@host", "%23"),
        ("redis+cluster://host:1/2", "one database"),
        ("unix://", "names no socket"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_with_how_one_looks(url: str, says: str) -> None:
    with pytest.raises(AddressError, match=says) as refused:
        Address(url)
    assert "p@ss" not in str(refused.value)


@given(st.text(max_size=40), st.sampled_from(["", "redis://", "rediss+sentinel://", "redis+cluster://", "unix://"]))
def test_any_text_is_an_address_or_refused(text: str, scheme: str) -> None:
    try:
        address = Address(scheme + text)
    except AddressError:
        return
    if address.is_cluster:
        address = address.node(*address.hosts[0])
    elif address.kind == "sentinel":
        assert address.sentinel(*address.hosts[0]).target
        address = address.master(*address.hosts[0])
    assert address.target
    address.login()


def test_an_address_shows_neither_its_password_nor_the_one_in_its_url() -> None:
    shown = repr(Address("redis://worker:in-url@localhost", password="apart"))
    assert "in-url" not in shown
    assert "apart" not in shown


# --- one server


async def test_an_embedded_valkey_is_reached(valkey: redis.Redis, valkey_server: conftest.Server) -> None:
    async with linked(Address(valkey_server.url)) as link:
        assert await link.call("SET", "greeting", "hello", "PX", 10_000) == b"OK"
    assert valkey.get("greeting") == b"hello"


async def test_the_databases_number_counts(valkey: redis.Redis, valkey_server: conftest.Server) -> None:
    async with linked(Address(valkey_server.url.replace("/0", "/3"))) as link:
        await link.call("SET", "greeting", "hello", "PX", 10_000)
        assert await link.call("GET", "greeting") == b"hello"
    assert valkey.get("greeting") is None


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Passwords for the default user and for an ACL user, and a Unix socket. (Its path must be short.)"""
    folder = Path(tempfile.mkdtemp(prefix="makima-tts-"))
    acl = tmp_path_factory.mktemp("acl") / "users.acl"
    acl.write_text(f"user default on >{PASSWORD} ~* &* +@all\nuser voice on >{PASSWORD} ~* &* +@all\n")
    try:
        with server(folder / "s", "--aclfile", str(acl), "--unixsocket", str(folder / "sock")) as one:
            yield one
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def at(one: Server, login: str) -> str:
    return f"redis://{login}@{HOST}:{one.port}/0"


@needs_redis
async def test_user_and_password_are_taken_from_the_url_or_from_apart(guarded: Server) -> None:
    quoted = quote(PASSWORD, safe="")
    assert await who_am_i(Address(at(guarded, f":{quoted}"))) == "default"
    assert await who_am_i(Address(at(guarded, f"voice:{quoted}"))) == "voice"
    assert await who_am_i(Address(guarded.url, password=PASSWORD)) == "default"
    assert await who_am_i(Address(guarded.url, username="voice", password=PASSWORD)) == "voice"
    assert await who_am_i(Address(at(guarded, "voice"), password=PASSWORD)) == "voice"


@needs_redis
async def test_what_is_given_apart_wins_over_the_url(guarded: Server) -> None:
    assert await who_am_i(Address(at(guarded, "nobody:wrong"), username="voice", password=PASSWORD)) == "voice"
    assert await who_am_i(Address(at(guarded, "voice:wrong"), password=PASSWORD)) == "voice"


@needs_redis
@pytest.mark.parametrize("login", ["", "voice:wrong", "nobody:wrong", ":wrong"])
async def test_without_the_right_password_every_call_says_so(guarded: Server, login: str) -> None:
    async with linked(Address(at(guarded, login) if login else guarded.url)) as link:
        for _ in range(2):
            with pytest.raises(redis.AuthenticationError):
                await link.call("GET", "x")


@needs_redis
async def test_a_unix_socket_is_reached(guarded: Server) -> None:
    path = guarded.folder.parent / "sock"
    assert await who_am_i(Address(f"unix://{path}", username="voice", password=PASSWORD)) == "voice"
    assert await who_am_i(Address(f"unix://voice:{quote(PASSWORD, safe='')}@{path}?db=1")) == "voice"


async def test_where_nobody_listens_every_call_says_so() -> None:
    async with linked(Address(f"redis://{HOST}:{free_port()}/0")) as link:
        for _ in range(2):
            with pytest.raises(redis.ConnectionError):
                await link.call("PING")


# --- TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


@needs_tls
async def test_tls_is_spoken_when_the_authority_is_known(certificates: Certificates) -> None:
    with tls_server(certificates, "--tls-auth-clients", "no") as one:
        for host in (HOST, "localhost"):
            async with linked(Address(one.url.replace(HOST, host), ca_file=certificates["ca.pem"])) as link:
                chunk = bytes(range(256)) * 4000
                assert await link.call("ECHO", chunk) == chunk
                assert await asyncio.gather(*[link.call("ECHO", n) for n in range(50)]) == [
                    b"%d" % n for n in range(50)
                ]


@needs_tls
async def test_an_unknown_authority_is_refused(certificates: Certificates) -> None:
    with tls_server(certificates, "--tls-auth-clients", "no") as one:
        for ca_file in (certificates["other-ca.pem"], None):
            async with linked(Address(one.url, ca_file=ca_file)) as link:
                with pytest.raises(redis.ConnectionError, match="certificate verify failed"):
                    await link.call("PING")


@needs_tls
async def test_a_server_that_asks_for_it_gets_the_clients_certificate(certificates: Certificates) -> None:
    ca_file, cert_file, key_file = (certificates[name] for name in ("ca.pem", "server.pem", "server.key"))
    with tls_server(certificates) as one:
        async with linked(Address(one.url, None, None, ca_file, cert_file, key_file)) as link:
            assert await link.call("PING") == b"PONG"
        async with linked(Address(one.url, ca_file=ca_file)) as link:
            with pytest.raises(redis.ConnectionError):
                await link.call("PING")


@needs_tls
async def test_a_tls_server_that_is_killed_is_found_again(certificates: Certificates) -> None:
    with tls_server(certificates, "--tls-auth-clients", "no") as one:
        async with linked(Address(one.url, ca_file=certificates["ca.pem"])) as link:
            assert await link.call("PING") == b"PONG"
            one.stop()
            with pytest.raises(redis.ConnectionError):
                await link.call("PING")
            one.start()
            assert await link.call("PING") == b"PONG"


# --- Sentinel


async def ask_until_it_answers(link: Link, *command: str) -> object:
    """A caller's retries, without their back-off."""
    async with asyncio.timeout(15):
        while True:
            try:
                return await link.call(*command)
            except PASSING:
                await asyncio.sleep(0.02)


@needs_cli
async def test_a_killed_master_is_followed_by_its_replica(tmp_path: Path) -> None:
    with sentinel_service(tmp_path, 3, down_after_ms=300) as service:
        async with linked(Address(service.url)) as link:
            await link.call("SET", "greeting", "hello")
            assert await link.call("CONFIG", "GET", "port") == [b"port", b"%d" % service.master.port]
            assert await link.call("WAIT", 1, 5000) == 1
            service.sentinels[0].stop()
            service.master.stop()
            with pytest.raises(PASSING):
                await link.call("PING")
            assert await ask_until_it_answers(link, "SET", "greeting", "again") == b"OK"
            assert await link.call("CONFIG", "GET", "port") == [b"port", b"%d" % service.replica.port]


@needs_redis
async def test_a_master_that_becomes_a_replica_is_left(tmp_path: Path) -> None:
    """Its answer READONLY breaks the link, so that the next call queries the Sentinels (or the name server) again."""
    with server(tmp_path / "s") as one:
        async with linked(Address(one.url)) as link:
            await link.call("REPLICAOF", HOST, free_port())
            for write in (("SET", "a", "1"), ("EVAL", "return redis.call('SET', KEYS[1], 1)", "1", "a")):
                before = await link.call("CLIENT", "ID")
                with pytest.raises(redis.exceptions.ReadOnlyError):
                    await link.call(*write)
                assert await link.call("CLIENT", "ID") != before
            with pytest.raises(redis.exceptions.ReadOnlyError):
                await link.transaction(("SET", "a", "1"), ("SET", "b", "1"))


@needs_cli
async def test_sentinels_that_are_away_or_hang_are_passed_over(service: Service) -> None:
    service.sentinels[0].stop()
    service.sentinels[1].send(signal.SIGSTOP)
    try:
        async with linked(Address(service.url)) as link:
            assert await link.call("PING") == b"PONG"
    finally:
        service.sentinels[1].restart()
        service.sentinels[0].restart()


@needs_cli
async def test_an_unknown_service_is_said(service: Service) -> None:
    async with linked(Address(service.url.replace("voice", "song"))) as link:
        with pytest.raises(redis.ConnectionError, match="song"):
            await link.call("PING")


@pytest.mark.parametrize("apart", [False, True])
@needs_cli
async def test_only_the_master_gets_the_password(service: Service, apart: bool) -> None:
    login = "" if apart else f"voice:{quote(PASSWORD, safe='')}@"
    url = service.url.replace("redis+sentinel://", f"redis+sentinel://{login}")
    user = ("voice", PASSWORD) if apart else (None, None)
    async with linked(Address(service.master.url)) as link:
        await link.call("ACL", "SETUSER", "voice", "on", f">{PASSWORD}", "~*", "+@all")
    assert await who_am_i(Address(url, *user)) == "voice"
    async with linked(Address(service.sentinels[0].url, *user)) as link:
        if apart:
            with pytest.raises(redis.AuthenticationError):
                await link.call("PING")


# --- Cluster: a password; all else is in test_cluster.py


@needs_cli
@pytest.mark.parametrize("apart", [False, True])
async def test_every_node_of_a_cluster_gets_the_password(nodes: list[Server], apart: bool) -> None:
    login = "" if apart else f"voice:{quote(PASSWORD, safe='')}@"
    url = f"redis+cluster://{login}{HOST}:{nodes[1].port},{HOST}:{nodes[2].port}"
    for node in nodes:
        async with linked(Address(node.url, is_part=True)) as link:
            await link.call("ACL", "SETUSER", "voice", "on", f">{PASSWORD}", "~*", "+@all")
    async with linked(Address(url, "voice" if apart else None, PASSWORD if apart else None)) as link:
        for n in range(50):
            assert await link.call("EVAL", "return redis.call('SET', KEYS[1], 1, 'PX', 9000)", 1, f"key{n}") == b"OK"


@pytest.mark.parametrize("option", ["ssl_cert_reqs=none", "ssl_check_hostname=false", "ssl_ca_certs=/x", "protocol=3"])
def test_no_option_of_a_url_leaves_a_check_out(option: str) -> None:
    with pytest.raises(AddressError, match="db, username, password"):
        Address(f"rediss://127.0.0.1:6379/0?{option}")
