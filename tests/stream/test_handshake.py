"""Every error between connecting and the first answer is a failed connection, with its cause and remedy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import redis

from tests.conftest import eventually
from tests.stream.servers import (
    HOST,
    Certificates,
    Server,
    Service,
    cli,
    needs_cli,
    needs_redis,
    needs_tls,
    server,
    tls_server,
)
from worker.stream.transport import connection as pipeline
from worker.stream.transport.address import Address
from worker.stream.transport.advice import advice_on, sentence_on
from worker.stream.transport.handshake import open_connection
from worker.stream.transport.open import open_link
from worker.stream.transport.retry import PASSING

TIMEOUT_S = 60.0  # for a server that answers
SILENT_S = 3.0  # until one that does not counts as failed; its connection is made long before
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def talking(talk: Talk) -> AsyncIterator[str]:
    n_served = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal n_served
        n_served += 1
        with suppress(OSError):
            await talk(reader, writer)
            await reader.read()
        writer.transport.abort()
        n_served -= 1

    async with await asyncio.start_server(serve, HOST, 0) as one:
        yield f"redis://{HOST}:{one.sockets[0].getsockname()[1]}/0"
        await eventually(lambda: n_served == 0)


def saying(answer: bytes, first: bool = False, closes: bool = False) -> Talk:
    """first: before it was asked."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not first:
            await reader.read(100)
        writer.write(answer)
        await writer.drain()
        if closes:
            writer.close()

    return talk


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1000):
        writer.write(data)


ODD = {
    "a web server": (saying(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"), "host and port"),
    "a web server that closes": (saying(b"HTTP/1.1 400 Bad Request\r\n\r\n", closes=True), "host and port"),
    "garbage": (saying(bytes(range(256))), "host and port"),
    "a TLS alert": (saying(b"\x15\x03\x01\x00\x02\x02\x28", closes=True), "rediss://"),
    "half a line": (saying(b"+PO"), "its log"),
    "nothing": (saying(b""), "its log"),
    "the end": (saying(b"", closes=True), "rediss://"),
    "the end at once": (saying(b"", first=True, closes=True), "rediss://"),
    "a full server": (saying(b"-ERR max number of clients reached\r\n", first=True, closes=True), "maxclients"),
    "a full server asked": (saying(b"-ERR max number of clients reached\r\n", closes=True), "maxclients"),
    "protected mode": (
        saying(b"-DENIED Redis is running in protected mode.\r\n", first=True, closes=True),
        "passwords",
    ),
    "a password wanted": (saying(b"-NOAUTH Authentication required.\r\n" * 2), "PASSWORD_FILE"),
    "loading": (saying(b"-LOADING Redis is loading the dataset in memory\r\n" * 2), "wait"),
    "an unknown error": (saying(b"-WHAT \xff\xfe\r\n" * 3), None),
    "an echo": (echo, "host and port"),
    "somewhere else": (saying(b"-MOVED nowhere\r\n" * 3), "redis+cluster://"),
    "a number": (saying(b":1\r\n:2\r\n:3\r\n"), "host and port"),
}
SILENT = {"half a line", "nothing"}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("password", [None, "secret"])
async def test_whatever_answers_in_redis_place_is_a_failed_connection(name: str, password: str | None) -> None:
    talk, mends = ODD[name]
    async with talking(talk) as url:
        with pytest.raises(PASSING) as failed:
            await open_connection(Address(url, password=password), SILENT_S if name in SILENT else TIMEOUT_S)
    said = sentence_on(failed.value)
    assert "\n" not in said
    assert "secret" not in said
    if mends is not None:
        assert mends in said


@pytest.mark.parametrize("host", ["x" * 70, "a..b", "host.invalid", "xn--\u00fc", "\u00fc" * 80, "999.1.1.1"])
async def test_a_name_that_cannot_be_looked_up_is_a_failed_connection(host: str) -> None:
    with pytest.raises(PASSING):
        await open_connection(Address(f"redis://{host}:6379/0"), 5.0)


async def test_a_password_that_cannot_be_sent_is_a_failed_connection() -> None:
    async with talking(saying(b"+OK\r\n")) as url:
        with pytest.raises(redis.ConnectionError) as failed:
            await open_connection(Address(url, password="pass\udcffword"), TIMEOUT_S)
    assert "pass" not in str(failed.value)


@needs_tls
async def test_a_tls_server_where_none_is_expected_and_the_other_way(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    with tls_server(certificates, "--tls-auth-clients", "no") as one:
        for password in (None, "secret"):
            with pytest.raises(PASSING) as failed:
                await open_connection(Address(one.url.replace("rediss", "redis"), password=password), 5.0)
            assert "rediss://" in sentence_on(failed.value)
    with tls_server(certificates) as one:  # TLS 1.3 refuses after the handshake
        with pytest.raises(PASSING) as failed:
            await open_connection(Address(one.url, ca_file=certificates["ca.pem"]), 5.0)
        assert "CERT_FILE" in sentence_on(failed.value)


@needs_redis
async def test_a_full_redis_is_named(tmp_path: Path) -> None:
    with server(tmp_path / "r") as one:
        first = open_link(Address(one.url))
        assert await first.call("CONFIG", "SET", "maxclients", 1) == b"OK"
        for password in (None, "secret"):
            with pytest.raises(PASSING) as failed:
                await open_connection(Address(one.url, password=password), 5.0)
            assert "max number of clients" in str(failed.value)
            assert "maxclients" in sentence_on(failed.value)
        await first.close()


# --- a server of another kind than the URL says


@needs_cli
async def test_one_node_of_a_cluster_is_no_server_of_its_own(nodes: list[Server]) -> None:
    for node in nodes:
        with pytest.raises(PASSING) as failed:
            await open_connection(Address(node.url), 5.0)
        assert "one node of a Cluster of 3 masters" in str(failed.value)
        assert "redis+cluster://" in sentence_on(failed.value)


@needs_cli
async def test_a_cluster_of_one_server_may_be_used_without_saying_so(tmp_path: Path) -> None:
    with server(tmp_path / "n", "--cluster-enabled", "yes") as one:
        with pytest.raises(PASSING, match="one node of a Cluster"):  # it owns no slot yet
            await open_connection(Address(one.url), 5.0)
        cli(one.port, "CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        await eventually(lambda: "cluster_state:ok" in cli(one.port, "CLUSTER", "INFO"), within_s=20)
        used = open_link(Address(one.url))
        assert await used.call("SET", "x", "y", "PX", 9000) == b"OK"
        await used.close()


@needs_cli
async def test_a_sentinel_is_no_server(service: Service) -> None:
    with pytest.raises(PASSING) as failed:
        await open_connection(Address(service.sentinels[0].url), 5.0)
    assert "redis+sentinel://" in sentence_on(failed.value)


@needs_cli
async def test_a_server_is_no_sentinel(service: Service) -> None:
    with pytest.raises(PASSING) as failed:
        await open_connection(Address(service.master.url.replace("redis://", "redis+sentinel://")), 5.0)
    assert "no Sentinel" in sentence_on(failed.value)


# --- a connection that is not used


async def test_an_idle_connection_is_asked_whether_it_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "IDLE_S", 0.2)
    n_pings = 0
    is_dead = False

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal n_pings
        while data := await reader.read(1000):
            n_pings += data.count(b"PING")
            if not is_dead:
                writer.write(b"+PONG\r\n" * data.count(b"PING") + b"-ERR no\r\n" * data.count(b"SLOTS"))

    async with talking(talk) as url:
        one = await open_connection(Address(url), SILENT_S)
        await eventually(lambda: n_pings >= 4)
        assert not one.is_broken
        is_dead = True
        await eventually(lambda: one.is_broken)
        await one.close()


def test_what_nobody_knows_has_no_advice() -> None:
    assert advice_on(RuntimeError("strange")) is None
    assert sentence_on(RuntimeError("")) == "RuntimeError"
