"""Passwords and certificates are read when a connection is made, so they may change while a worker runs."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis

from tests.stream.servers import (
    HOST,
    Certificates,
    cli,
    cluster,
    needs_cli,
    needs_redis,
    needs_tls,
    sentinel_service,
    server,
    tls_server,
)
from worker.settings import Settings
from worker.stream.transport.address import Address, addresses
from worker.stream.transport.base import Link
from worker.stream.transport.open import open_link


@asynccontextmanager
async def linked(address: Address) -> AsyncIterator[Link]:
    link = open_link(address)
    try:
        yield link
    finally:
        await link.close()


async def kill_all(port: int, password: str) -> None:
    client = redis.Redis(port=port, password=password)
    client.client_kill_filter(_type="normal", skipme=True)
    client.close()


async def fails(link: Link) -> None:
    """A call in which the connection breaks or cannot be made."""
    with pytest.raises((redis.ConnectionError, redis.TimeoutError)):
        await link.call("ECHO", "x")


@needs_redis
async def test_a_password_changed_together_with_its_file_counts_from_the_next_connection_on(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("first\n")
    with server(tmp_path / "r", "--requirepass", "first") as one:
        address, _ = addresses(Settings(_env_file=None, redis_url=one.url, redis_password_file=file))
        async with linked(address) as link:
            assert await link.call("ECHO", "x") == b"x"
            await link.call("CONFIG", "SET", "requirepass", "second")
            file.write_text("second\n")
            await kill_all(one.port, "second")
            await fails(link)
            assert await link.call("ECHO", "x") == b"x"


@needs_redis
async def test_a_password_file_that_is_away_for_a_moment_is_a_failed_connection(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("first\n")
    with server(tmp_path / "r", "--requirepass", "first") as one:
        async with linked(Address(one.url, password_file=file)) as link:
            await link.call("ECHO", "x")
            file.rename(tmp_path / "elsewhere")
            await kill_all(one.port, "first")
            await fails(link)
            with pytest.raises(redis.ConnectionError, match="PASSWORD_FILE"):
                await link.call("ECHO", "x")
            for odd in (b"", b"\xff\xfe", b"x" * 100_000):
                file.write_bytes(odd)
                await fails(link)
            (tmp_path / "elsewhere").rename(file)
            assert await link.call("ECHO", "x") == b"x"


@needs_tls
async def test_certificates_and_authorities_are_read_for_each_connection(tmp_path: Path) -> None:
    old, new = (Certificates(make(tmp_path / name)) for name in ("old", "new"))
    ours = make(tmp_path / "ours")

    def take(those: Certificates) -> None:
        for name in ("ca.pem", "server.pem", "server.key"):
            shutil.copy(those[name], ours / name)

    take(old)
    files = (ours / "ca.pem", ours / "server.pem", ours / "server.key")
    with tls_server(old) as one:
        async with linked(Address(one.url, None, None, *files)) as link:
            assert await link.call("ECHO", "x") == b"x"
            for name in ("server.pem", "server.key", "ca.pem"):
                shutil.copy(new[name], old[name])  # the server reads these
            one.restart()
            await fails(link)
            await fails(link)  # the old authority is not the server's
            (ours / "server.key").unlink()
            await fails(link)
            take(new)
            assert await link.call("ECHO", "x") == b"x"


def make(folder: Path) -> Path:
    folder.mkdir()
    return folder


@needs_cli
async def test_a_changed_password_reaches_a_sentinels_master(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("first")
    with sentinel_service(make(tmp_path / "s"), 1) as service:
        cli(service.master.port, "ACL", "SETUSER", "voice", "on", ">first", "~*", "+@all")
        async with linked(Address(service.url, "voice", password_file=file)) as link:
            assert await link.call("ACL", "WHOAMI") == b"voice"
            cli(service.master.port, "ACL", "SETUSER", "voice", "resetpass", ">second")
            cli(service.master.port, "CLIENT", "KILL", "USER", "voice")
            file.write_text("second")
            await fails(link)
            assert await link.call("ACL", "WHOAMI") == b"voice"


@needs_cli
async def test_a_changed_password_reaches_a_clusters_servers(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("first")
    with cluster(make(tmp_path / "c")) as nodes:
        for node in nodes:
            cli(node.port, "ACL", "SETUSER", "voice", "on", ">first", "~*", "+@all")
        url = f"redis+cluster://{HOST}:{nodes[0].port}"
        async with linked(Address(url, "voice", password_file=file)) as link:
            for n in range(20):
                await link.call("SET", f"k{n}", "x", "PX", 9000)
            for node in nodes:
                cli(node.port, "ACL", "SETUSER", "voice", "resetpass", ">second")
                cli(node.port, "CLIENT", "KILL", "USER", "voice")
            file.write_text("second")
            n_failed = 0
            for n in range(20):
                try:
                    await link.call("SET", f"k{n}", "x", "PX", 9000)
                except redis.ConnectionError:
                    n_failed += 1
            assert n_failed <= 2 * len(nodes)
            for n in range(20):
                assert await link.call("SET", f"k{n}", "x", "PX", 9000) == b"OK"
