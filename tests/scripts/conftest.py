"""Servers for the scripts: an embedded Valkey, the Redis of this machine, and fakeredis where it can run them."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import fakeredis
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.scripts.plane import Plane
from tests.stream.servers import free_port
from worker.embedded import embedded_valkey
from worker.stream.keys import Keys


def connect(port: int) -> redis.Redis:
    return redis.Redis(
        port=port,
        protocol=2,
        decode_responses=True,
        encoding_errors="surrogateescape",
        socket_timeout=30,
        retry=Retry(NoBackoff(), 0),
    )


@pytest.fixture(scope="session")
def valkey_client() -> Iterator[redis.Redis]:
    with embedded_valkey(aof=False) as server, connect(server.port) as client:
        yield client


@pytest.fixture(scope="session")
def redis_client() -> Iterator[redis.Redis]:
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("no redis-server on this machine")
    with TemporaryDirectory() as folder, _stock_redis(binary, Path(folder)) as client:
        if int(str(client.info("server")["redis_version"]).split(".")[0]) < 7:
            pytest.skip("the scripts need Redis 7.0 or later")
        yield client


@contextmanager
def _stock_redis(binary: str, folder: Path) -> Iterator[redis.Redis]:
    port = free_port()
    words = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with connect(port) as client:
            _wait_until_it_answers(client)
            yield client
    finally:
        server.terminate()
        server.wait()


def _wait_until_it_answers(client: redis.Redis) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            client.ping()
        except redis.ConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


@pytest.fixture(scope="session")
def fake_client() -> redis.Redis:
    return fakeredis.FakeRedis(decode_responses=True, encoding_errors="surrogateescape")


# fakeredis 2.40 cannot run CLAIM: its Lua has no redis.sha1hex, and inside a script XREADGROUP answers
# [stream, entries] instead of [[stream, entries]].
@pytest.fixture(params=["valkey", "redis"])
def plane(request: pytest.FixtureRequest) -> Iterator[Plane]:
    """Both planes, empty, with the group. Fails a test that leaves a key without the expiry that it must have."""
    yield from _empty_plane(request.getfixturevalue(f"{request.param}_client"))


@pytest.fixture(params=["valkey", "redis", "fake"])
def session_plane(request: pytest.FixtureRequest) -> Iterator[Plane]:
    """The plane for tests of BEGIN and END alone."""
    yield from _empty_plane(request.getfixturevalue(f"{request.param}_client"))


def _empty_plane(client: redis.Redis) -> Iterator[Plane]:
    client.flushall()
    plane = Plane(client)
    plane.create_group()
    yield plane
    eternal = {key for key in client.scan_iter(count=1000) if client.pttl(key) == -1}
    assert eternal <= set(Keys().job_plane)
