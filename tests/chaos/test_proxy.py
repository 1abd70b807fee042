"""The proxy's faults, in front of a Valkey and of servers that misbehave."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.chaos.proxy import CHUNK_BYTES, HOST, Proxy
from tests.conftest import Server
from tests.processes import n_descriptors, until
from tests.stream.servers import free_port


@pytest.fixture
def valkey_server(servers: dict[str, Server]) -> Server:
    """One server will do."""
    return servers["valkey"]


@pytest.fixture
def proxy(valkey: redis.Redis) -> Iterator[Proxy]:
    with Proxy(valkey.connection_pool.connection_kwargs["port"]) as one:
        yield one


def connect(proxy: Proxy) -> redis.Redis:
    """A client on one connection, greeted, that retries nothing."""
    client = redis.Redis(HOST, proxy.port, protocol=2, retry=Retry(NoBackoff(), 0), single_connection_client=True)
    client.ping()
    return client


@pytest.fixture
def client(proxy: Proxy) -> Iterator[redis.Redis]:
    with connect(proxy) as one:
        yield one


def test_bytes_pass_both_ways_as_they_are(client: redis.Redis, valkey: redis.Redis) -> None:
    data = os.urandom(3_000_000)
    client.set("a", data, ex=60)
    assert client.get("a") == valkey.get("a") == data


def test_each_server_has_a_port_of_its_own(valkey: redis.Redis) -> None:
    with socket.create_server((HOST, 0)) as other:
        servers = (valkey.connection_pool.connection_kwargs["port"], other.getsockname()[1])
        with Proxy(*servers) as proxy, socket.create_connection((HOST, proxy.ports[1])) as sender:
            connect(proxy).close()
            other.settimeout(5)
            with other.accept()[0] as receiver:
                sender.sendall(b"hello")
                assert receiver.recv(5) == b"hello"


def test_a_delay_holds_what_passes_there_and_back(proxy: Proxy, client: redis.Redis) -> None:
    def took_s() -> float:
        began_s = time.monotonic()
        client.ping()
        return time.monotonic() - began_s

    proxy.delay_s = 0.1
    assert took_s() >= 0.2
    proxy.delay_s = 0
    assert min(took_s() for _ in range(20)) < 0.1


def test_a_blackhole_answers_nobody_and_ends(proxy: Proxy, client: redis.Redis) -> None:
    began_s = time.monotonic()
    proxy.blackhole(2)
    with socket.create_connection((HOST, proxy.port), timeout=0.1) as new:
        new.sendall(b"PING\r\n")
        with pytest.raises(TimeoutError):
            new.recv(1)
    client.ping()
    assert time.monotonic() - began_s >= 2
    assert proxy.did["blackhole"] == 1


def test_a_request_lost_in_a_blackhole_arrives_after_its_sender_has_left(proxy: Proxy, valkey: redis.Redis) -> None:
    with socket.create_connection((HOST, proxy.port)) as sender:
        proxy.blackhole(1.0)
        sender.sendall(b"SET stale 1 EX 60\r\n")
    time.sleep(0.1)
    assert not valkey.exists("stale")
    assert until(lambda: bool(valkey.exists("stale")))


def test_a_cut_ends_every_connection_and_no_later_one(proxy: Proxy) -> None:
    clients = [connect(proxy) for _ in range(3)]
    proxy.cut()
    for one in clients:
        with closing(one), pytest.raises(redis.ConnectionError):
            one.ping()
    assert proxy.did["cut"] == 3
    connect(proxy).close()


def test_a_cut_loses_what_a_blackhole_holds(proxy: Proxy, client: redis.Redis, valkey: redis.Redis) -> None:
    with socket.create_connection((HOST, proxy.port), timeout=5) as sender:
        assert until(lambda: proxy.did["connection"] == 2)
        proxy.blackhole(3)
        sender.sendall(b"SET a 1 EX 60\r\n")
        time.sleep(0.05)
        proxy.cut()
        assert ended(sender)
    time.sleep(3)
    connect(proxy).close()
    assert not valkey.exists("a")


@pytest.mark.parametrize("n_bytes", [1, 10 * CHUNK_BYTES])
def test_a_request_cut_off_has_been_carried_out_and_is_not_answered(
    proxy: Proxy, client: redis.Redis, valkey: redis.Redis, n_bytes: int
) -> None:
    proxy.cut_after_request(1)
    with pytest.raises(redis.ConnectionError):
        client.set("a", bytes(n_bytes), ex=60)
    assert valkey.strlen("a") == n_bytes
    connect(proxy).close()
    assert proxy.did["cut after request"] == 1


def test_as_many_requests_are_cut_off_as_were_asked_for(proxy: Proxy, valkey: redis.Redis) -> None:
    *doomed, spared = (connect(proxy) for _ in range(4))
    proxy.cut_after_request(3)
    for one in doomed:
        with closing(one), pytest.raises(redis.ConnectionError):
            one.incr("a")
    with closing(spared):
        assert spared.incr("a") == 4
    valkey.delete("a")


def test_a_greeting_is_no_request(proxy: Proxy, valkey: redis.Redis) -> None:
    proxy.cut_after_request(1)
    with socket.create_connection((HOST, proxy.port), timeout=5) as client:
        for part in (b"PI", b"NG\r\n"):
            client.sendall(part)
            time.sleep(0.02)
        assert client.recv(7) == b"+PONG\r\n"
        client.sendall(b"SET a 1 EX 60\r\n")
        assert ended(client)
    assert valkey.exists("a")


def test_a_balancer_answers_every_new_connection_for_a_while(proxy: Proxy, client: redis.Redis) -> None:
    proxy.answer_http(2)
    with pytest.raises(redis.ConnectionError):
        client.ping()
    with socket.create_connection((HOST, proxy.port), timeout=5) as new:
        answer = b"".join(iter(lambda: new.recv(1000), b""))
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert until(lambda: proxy.did["http answer"] >= 1)
    time.sleep(2)
    connect(proxy).close()


def test_a_server_that_is_away_ends_its_clients_at_once() -> None:
    began_s = time.monotonic()
    with Proxy(free_port()) as proxy, socket.create_connection((HOST, proxy.port), timeout=5) as client:
        assert ended(client)
        assert proxy.did["refused"] == 1
    assert time.monotonic() - began_s < 4


@pytest.mark.parametrize("is_clients", [True, False])
def test_an_end_passes_to_the_other_side_after_the_last_words(is_clients: bool) -> None:
    with socket.create_server((HOST, 0)) as server, Proxy(server.getsockname()[1]) as proxy:
        near = socket.create_connection((HOST, proxy.port))
        far, _ = server.accept()
        one, other = (near, far) if is_clients else (far, near)
        with other:
            other.settimeout(5)
            with one:
                one.sendall(b"last words")
            assert other.recv(100) == b"last words"
            assert ended(other)


def test_a_server_that_does_not_read_makes_its_client_wait() -> None:
    with socket.create_server((HOST, 0)) as server, Proxy(server.getsockname()[1]) as proxy:
        client = socket.create_connection((HOST, proxy.port))
        with client, server.accept()[0]:
            client.setblocking(False)
            n_bytes, last_s = 0, time.monotonic()
            while time.monotonic() - last_s < 0.3:
                try:
                    n_bytes += client.send(bytes(CHUNK_BYTES))
                    last_s = time.monotonic()
                except BlockingIOError:
                    time.sleep(0.01)
        assert n_bytes < 32_000_000, "the kernel's buffers alone hold some"


def test_nothing_is_left_of_a_proxy_that_was_stopped(valkey: redis.Redis) -> None:
    before = n_descriptors(), threading.active_count()
    with socket.create_server((HOST, 0)) as idle:
        proxy = Proxy(valkey.connection_pool.connection_kwargs["port"], idle.getsockname()[1])
        proxy.start()
        client = connect(proxy)
        stuck, unread = (socket.create_connection((HOST, port), timeout=5) for port in proxy.ports)
        far, _ = idle.accept()
        proxy.delay_s = 30
        proxy.blackhole(30)
        stuck.sendall(b"PING\r\n")
        time.sleep(0.05)
        proxy.stop()
        for one in (stuck, unread):
            assert ended(one)
            one.close()
        far.close()
        client.close()
        proxy.cut()
    assert (n_descriptors(), threading.active_count()) == before


def ended(one: socket.socket) -> bool:
    """Whether the other end has closed it; anything it still sends is a failure."""
    try:
        return one.recv(1) == b""
    except ConnectionResetError:
        return True
