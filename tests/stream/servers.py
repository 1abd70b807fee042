"""Redis set-ups: one server with any options, TLS, a Sentinel service, a Cluster.

Debian's redis-server, for the embedded Valkey speaks no TLS. What is started here is ended here.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

HOST = "127.0.0.1"
N_PROCESSES = 8
N_PORTS = 10_000 // N_PROCESSES
_PROCESS = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % N_PROCESSES
_DRAW = random.SystemRandom()  # Hypothesis seeds the other one alike in every process
END_TIMEOUT_S = 20.0  # a server asked to end waits 10 s for a replica that lags
REDIS, CLI, OPENSSL = (shutil.which(name) for name in ("redis-server", "redis-cli", "openssl"))

needs_redis = pytest.mark.skipif(REDIS is None, reason="redis-server is not installed")
needs_cli = pytest.mark.skipif(REDIS is None or CLI is None, reason="redis-server or redis-cli is not installed")
needs_tls = pytest.mark.skipif(REDIS is None or OPENSSL is None, reason="redis-server or openssl is not installed")


class Server:
    """One redis-server process. arguments: its options; port: where it listens.

    program, environment: to be changed before it starts.
    """

    def __init__(self, folder: Path, arguments: Sequence[str], port: int, scheme: str = "redis") -> None:
        self.program = str(REDIS)
        self.environment: Mapping[str, str] = {}
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.port = port
        self.url = f"{scheme}://{HOST}:{port}/0"
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, *more: str) -> None:
        """Start the server. more: options for this start only, which override its own."""
        with (self.folder / "log").open("ab") as log:
            own = [self.program, *self._arguments, "--bind", HOST, "--dir", str(self.folder), "--save", ""]
            command = [*own, *more]
            environment = {**os.environ, **self.environment}
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment)
        until(self._answers)

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def has_ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def stop(self, hard: bool = True) -> None:
        """Kill the process at once, even while it is stopped; or end it by SIGTERM."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL if hard else signal.SIGTERM)
            self._process.wait(END_TIMEOUT_S)
            self._process = None

    def restart(self, hard: bool = True) -> None:
        self.stop(hard)
        self.start()

    def _answers(self) -> bool:
        if self.has_ended():
            said = (self.folder / "log").read_text("utf-8", errors="replace")
            raise AssertionError(f"redis-server ended: {said[-500:]}")
        try:
            socket.create_connection((HOST, self.port), timeout=1).close()
        except OSError:
            return False
        return True


@contextmanager
def running(one: Server) -> Iterator[Server]:
    try:
        one.start()
        yield one
    finally:
        one.stop()


@contextmanager
def server(folder: Path, *options: str, port: int | None = None) -> Iterator[Server]:
    port = port or free_port()
    with running(Server(folder, ["--port", str(port), *options], port)) as one:
        yield one


@dataclass(frozen=True)
class Certificates:
    """An authority, a certificate for 127.0.0.1 and localhost signed by it, and another authority."""

    folder: Path

    def __post_init__(self) -> None:
        for name in ("ca", "other-ca"):
            # Python 3.13 requires the key usage of an authority and the authority key identifier of a certificate.
            is_authority = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign"]
            subject = ["-subj", f"/CN={name}", *is_authority]
            openssl(self.folder, "req", "-x509", *KEY, f"{name}.key", "-out", f"{name}.pem", "-days", "2", *subject)
        openssl(self.folder, "req", *KEY, "server.key", "-out", "server.csr", "-subj", "/CN=server")
        (self.folder / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\nauthorityKeyIdentifier=keyid\n")
        signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names"]
        openssl(self.folder, "x509", "-req", "-in", "server.csr", "-out", "server.pem", *signed)

    def __getitem__(self, name: str) -> Path:
        return self.folder / name


KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout")


def openssl(folder: Path, *words: str) -> None:
    subprocess.run([str(OPENSSL), *words], cwd=folder, check=True, capture_output=True)


@contextmanager
def tls_server(certificates: Certificates, *options: str) -> Iterator[Server]:
    """A server that speaks TLS alone; its `url` begins with rediss."""
    port = free_port()
    words = {"tls-port": str(port), "tls-ca-cert-file": str(certificates["ca.pem"])}
    words |= {"tls-cert-file": str(certificates["server.pem"]), "tls-key-file": str(certificates["server.key"])}
    flat = [part for name, value in words.items() for part in (f"--{name}", value)]
    arguments = ["--port", "0", *flat, *options]
    with running(Server(certificates["tls"], arguments, port, "rediss")) as one:
        yield one


@dataclass(frozen=True)
class Service:
    """A Sentinel service `voice`: a master, its replica, and the Sentinels that watch them."""

    master: Server
    replica: Server
    sentinels: list[Server]

    @property
    def url(self) -> str:
        return f"redis+sentinel://{','.join(f'{HOST}:{one.port}' for one in self.sentinels)}/voice/0"


@contextmanager
def sentinel_service(folder: Path, n_sentinels: int, *options: str, down_after_ms: int = 60_000) -> Iterator[Service]:
    """Ready for a fail-over: each Sentinel knows the replica and the other Sentinels. options: of both servers.

    down_after_ms: of silence, which a busy machine may cause too; 300 where the master is to be killed.
    """
    with ExitStack() as stack:
        options = ("--repl-diskless-sync-delay", "0", *options)
        master = stack.enter_context(server(folder / "master", *options))
        follow = ["--replicaof", f"{HOST} {master.port}"]
        replica = stack.enter_context(server(folder / "replica", *follow, *options))
        sentinels = [
            stack.enter_context(sentinel(folder / f"sentinel{n}", master, n_sentinels // 2 + 1, down_after_ms))
            for n in range(n_sentinels)
        ]
        until(lambda: "master_link_status:up" in cli(replica.port, "INFO", "replication"))
        knows = ("num-slaves", "1", "num-other-sentinels", str(n_sentinels - 1))
        for one in sentinels:
            until(lambda one=one: has_pairs(cli(one.port, "SENTINEL", "MASTER", "voice"), knows))  # type: ignore[misc]
        yield Service(master, replica, sentinels)


@contextmanager
def sentinel(folder: Path, master: Server, quorum: int, down_after_ms: int) -> Iterator[Server]:
    folder.mkdir()
    config, port = folder / "sentinel.conf", free_port()
    config.write_text(
        f"sentinel monitor voice {HOST} {master.port} {quorum}\n"
        f"sentinel down-after-milliseconds voice {down_after_ms}\nsentinel failover-timeout voice 1500\n"
    )
    with running(Server(folder, [str(config), "--sentinel", "--port", str(port)], port)) as one:
        yield one


@contextmanager
def cluster(folder: Path, *options: str, n_masters: int = 3) -> Iterator[list[Server]]:
    words = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000", *options]
    with ExitStack() as stack:
        nodes = [stack.enter_context(server(folder / f"node{n}", *words)) for n in range(n_masters)]
        join_cluster(nodes)
        yield nodes


def join_cluster(nodes: Sequence[Server]) -> None:
    places = [f"{HOST}:{node.port}" for node in nodes]
    subprocess.run(
        [str(CLI), "--cluster", "create", *places, "--cluster-yes"], check=True, capture_output=True, timeout=30
    )
    for node in nodes:
        until(lambda node=node: "cluster_state:ok" in cli(node.port, "CLUSTER", "INFO"))  # type: ignore[misc]


def cli(port: int, *words: str) -> str:
    """The output of redis-cli, one value a line."""
    return subprocess.run(
        [str(CLI), "-p", str(port), *words], capture_output=True, text=True, check=True, timeout=10
    ).stdout


def has_pairs(printed: str, words: Sequence[str]) -> bool:
    lines = printed.splitlines()
    found = dict(zip(lines[::2], lines[1::2], strict=False))
    return all(found.get(name) == value for name, value in zip(words[::2], words[1::2], strict=True))


def free_port() -> int:
    """A free port whose Cluster bus, 10,000 above it, is free too.

    Both lie below the ports that outgoing connections get (from 32,768 or higher): one of those could take the port
    while its server restarts, or connect to itself. Each process of a parallel run has ports of its own.
    """
    while True:
        port = _DRAW.randrange(10_000 + N_PORTS * _PROCESS, 10_000 + N_PORTS * (_PROCESS + 1))
        with socket.socket() as one, socket.socket() as bus, suppress(OSError):
            one.bind((HOST, port))
            bus.bind((HOST, port + 10_000))
            return port


def until(is_so: Callable[[], bool], within_s: float = 15.0) -> None:
    end_s = time.monotonic() + within_s
    while not is_so():
        if time.monotonic() > end_s:
            raise AssertionError(f"did not come about within {within_s} s")
        time.sleep(0.02)
