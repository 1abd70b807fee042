"""Every set-up keeps what it acknowledged however it is broken, and is healthy when the fault is over."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.chaos import patience, setups
from tests.chaos.patience import PatientRedis
from tests.chaos.setups import SETUPS, Alone, MissingError, Setup, Sharded, Watched, open_setup
from tests.processes import children_of
from tests.stream.servers import HOST, free_port, needs_cli
from worker.stream.transport.address import Address
from worker.stream.transport.open import open_link

N_STREAMS = 16
EVERY = {name: pytest.param(name, marks=() if name == "valkey" else needs_cli) for name in SETUPS}


def on(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("setup", [EVERY[name] for name in names], indirect=True, scope="module")


@pytest.fixture(scope="module", params=EVERY.values())
def setup(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    with open_setup(request.param, tmp_path_factory.mktemp(request.param)) as one:
        yield one


def write_during(setup: Setup, fault: Callable[[], None]) -> None:
    """Write before, during and after a fault, and find in the end what was acknowledged."""
    acknowledged: list[int] = []
    is_over = threading.Event()
    client: Any = setup.client()

    def write() -> None:
        n, n_last = 0, 0
        while not is_over.is_set() or n < n_last:
            n_last = n_last if is_over.is_set() else n + N_STREAMS
            with client.pipeline(transaction=False) as pipeline:
                pipeline.xadd(_stream(n), {"n": n})
                if setup.writes_may_be_lost:
                    pipeline.wait(1, 100)
                _, *n_having_it = pipeline.execute()
            if all(n_having_it):
                acknowledged.append(n)
            n += 1

    with client:
        for n in range(N_STREAMS):
            client.delete(_stream(n))
        writer = threading.Thread(target=write, daemon=True)
        writer.start()
        while len(acknowledged) < N_STREAMS:
            time.sleep(0.01)
        fault()
        is_over.set()
        writer.join(10)
        assert not writer.is_alive(), "a healthy set-up takes writes at once"
        found = {int(entry[b"n"]) for n in range(N_STREAMS) for _, entry in client.xrange(_stream(n))}
    assert found >= set(acknowledged)


def _stream(n: int) -> str:
    return f"{{{n % N_STREAMS}}}:written"


def test_what_was_acknowledged_outlasts_a_pause(setup: Setup) -> None:
    write_during(setup, lambda: setup.pause(0.2))


@on("valkey", "redis")
@pytest.mark.parametrize("hard", [True, False])
def test_what_was_acknowledged_outlasts_a_restart(setup: Alone, hard: bool) -> None:
    write_during(setup, lambda: setup.restart(hard))
    with setup.client() as client:
        assert client.config_get("appendonly") == {"appendonly": "yes"}
        assert client.config_get("appendfsync") == {"appendfsync": "always"}


@on("cluster")
def test_the_masters_of_a_cluster_are_restarted_in_turn(setup: Sharded) -> None:
    pids = {node.pid for node in setup.nodes}
    for n_left, hard in ((2, True), (1, False)):
        write_during(setup, lambda hard=hard: setup.restart(hard))  # type: ignore[misc]
        assert sum(node.pid in pids for node in setup.nodes) == n_left


@on("sentinel")
def test_a_master_and_its_replica_replace_each_other_restart_by_restart(setup: Watched) -> None:
    for hard in (True, False):
        master, replica = setup.master_first()
        write_during(setup, lambda hard=hard: setup.restart(hard))  # type: ignore[misc]
        assert setup.master_first() == (replica, master)


@on("sentinel")
def test_a_master_replaced_while_it_was_paused_follows_its_successor_in_the_end(setup: Watched) -> None:
    master, replica = setup.master_first()
    for place in Address(setup.url).hosts:
        with redis.Redis(*place, protocol=2) as sentinel:  # it looks at roles every 10 s, and waits four times 2 s
            sentinel.execute_command("SENTINEL DEBUG", "info-period", 200, "publish-period", 200)
    write_during(setup, lambda: setup.pause(4))
    assert setup.master_first() == (replica, master)
    with redis.Redis(HOST, master.port, protocol=2) as client:
        seen: Any = client.info("replication")
    assert (seen["role"], seen["master_port"], seen["master_link_status"]) == ("slave", replica.port, "up")


@on("valkey", "redis", "cluster")
async def test_a_worker_reaches_every_server_through_the_proxy_and_the_driver_none(setup: Setup) -> None:
    assert setup.proxy is not None
    setup.proxy.did.clear()
    link = open_link(Address(setup.url))
    with setup.client() as client:
        for n in range(N_STREAMS):
            await link.call("SET", _stream(n), n, "EX", 60)
            assert client.getdel(_stream(n)) == b"%d" % n
    await link.close()
    assert setup.proxy.did["connection"] == len(setup.proxy.ports)


@pytest.mark.parametrize("name", [EVERY["valkey"], EVERY["redis"]])
def test_all_that_was_started_ends_with_the_block_whatever_ends_that(name: str, tmp_path: Path) -> None:
    n_threads, before = threading.active_count(), set(children_of(os.getpid()))
    with suppress(ZeroDivisionError), open_setup(name, tmp_path / "new") as setup:
        started = set(children_of(os.getpid())) - before
        assert setup.proxy is not None
        port = setup.proxy.port
        _ = 1 / 0
    assert threading.active_count() == n_threads
    assert not started & set(children_of(os.getpid()))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, port))


def test_a_missing_program_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setups, "CLI", None)
    with pytest.raises(MissingError, match="redis-cli"), open_setup("cluster", tmp_path):
        pass


def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PATIENCE_S", 0.2)
    began_s = time.monotonic()
    with PatientRedis(HOST, free_port(), **patience.OPTIONS) as client, pytest.raises(redis.ConnectionError):
        client.ping()
    assert 0.2 <= time.monotonic() - began_s < 2
