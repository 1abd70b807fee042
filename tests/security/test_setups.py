"""The same users on a Cluster and behind Sentinels."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any

import pytest
import redis
from redis.sentinel import Sentinel

from schemas.messages import Complete
from tests.flow.listening import KEYS
from tests.security.deployed import DEPLOY, OURS, USERS, Access, acl_of_operations, write_passwords
from tests.security.everybody import (
    Everybody,
    doctor_of,
    everybody,
    hear_trim_cancel_and_leave,
    look_redrive_and_cancel,
)
from tests.shell import Run
from tests.stream.servers import HOST, Server, Service, cli, cluster, needs_cli, sentinel_service, until
from worker.stream.client import TERMINAL
from worker.stream.transport.retry import PASSING

pytestmark = needs_cli


def guard(servers: Sequence[Server], access: Access, more: str = "") -> None:
    """Give running servers the users of users.acl; the default user stays as it is."""
    rules = f"{OURS}\n{more}\n{(DEPLOY / 'users.acl').read_text()}".splitlines()
    for server in servers:
        with redis.Redis(port=server.port, protocol=2) as anybody:
            for _, user, *words in [rule.split() for rule in rules if rule]:
                secret = f"#{sha256(access.password(user).encode()).hexdigest()}"
                given = [secret if word.startswith(">change-me-") else word for word in words]
                if user != "default":
                    anybody.execute_command("ACL", "SETUSER", user, "reset", *given)


def shut(servers: Sequence[Server]) -> None:
    """From now on nobody is let in without a name."""
    for server in servers:
        with anybody(server) as client:
            client.acl_setuser("default", enabled=False, reset=True)
            client.client_kill_filter(user="default")
            client.acl_log_reset()


def anybody(server: Server) -> redis.Redis:
    return redis.Redis(port=server.port, protocol=2, username="test", password="any", decode_responses=True)


def refused_by(*servers: Server) -> list[Any]:
    entries: list[Any] = []
    for server in servers:
        with anybody(server) as client:
            log: Any = client.acl_log()
            entries += [(entry["username"], entry["object"]) for entry in log]
    return entries


# A Cluster.


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    with cluster(tmp_path_factory.mktemp("guarded"), "--cluster-node-timeout", "15000") as found:
        yield found


@pytest.fixture(scope="module")
def clustered(nodes: list[Server], tmp_path_factory: pytest.TempPathFactory) -> Access:
    access = Access(f"redis+cluster://{HOST}:{nodes[0].port}", write_passwords(tmp_path_factory.mktemp("secrets")))
    guard(nodes, access)
    shut(nodes)
    return access


async def test_everybody_works_on_a_cluster(clustered: Access, nodes: list[Server], run: Run) -> None:
    async with everybody(clustered, run) as who:
        await hear_trim_cancel_and_leave(who)
        await look_redrive_and_cancel(who)
    assert refused_by(*nodes) == []
    assert "fail" not in (await doctor_of(clustered, "operator")).values()


def test_a_producer_and_a_relay_may_use_a_librarys_cluster_client(clustered: Access, nodes: list[Server]) -> None:
    def client(user: str) -> redis.RedisCluster:
        return redis.RedisCluster(host=HOST, port=nodes[0].port, username=user, password=clustered.password(user))

    with client("test") as another:
        another.xadd(KEYS.audio("lib"), {"type": "begin"}, id="1-0")
    with client("producer") as producer, client("relay") as relay:
        assert producer.xadd(KEYS.jobs, {"session_id": "lib", "text": "Hello."})
        assert relay.xread({KEYS.audio("lib"): "0"})
        for user, key in ((producer, KEYS.audio("lib")), (relay, KEYS.jobs)):
            with pytest.raises(redis.exceptions.NoPermissionError):
                user.xrange(key)


# A Sentinel service.


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with sentinel_service(tmp_path_factory.mktemp("guarded"), 3, down_after_ms=300) as found:
        yield found


@pytest.fixture(scope="module")
def watched(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Access:
    """Replica and Sentinels have users of their own, as docs/operations.md says, and have connected anew as those."""
    secrets = write_passwords(tmp_path_factory.mktemp("secrets"), [*USERS, "replica", "sentinel"])
    access = Access(service.url, secrets)
    servers = (service.master, service.replica)
    guard(servers, access, acl_of_operations("user replica ", "user sentinel "))
    for one in servers:
        with anybody(one) as client:
            client.config_set("masteruser", "replica", "masterauth", access.password("replica"))
    for one in service.sentinels:
        cli(one.port, "SENTINEL", "SET", "voice", "auth-user", "sentinel")
        cli(one.port, "SENTINEL", "SET", "voice", "auth-pass", access.password("sentinel"))
    shut(servers)
    until(lambda: {"sentinel", "replica"} <= users_of(service.master))
    until(lambda: "sentinel" in users_of(service.replica))
    return access


def users_of(server: Server) -> set[str]:
    with anybody(server) as client:
        return {one["user"] for one in client.client_list()}


def test_a_producer_and_a_relay_may_use_a_librarys_sentinel_client(watched: Access, service: Service) -> None:
    """Some ask a server for its ROLE before they believe the Sentinels."""
    places = [(HOST, one.port) for one in service.sentinels]
    for user in ("producer", "relay"):
        known = Sentinel(places, username=user, password=watched.password(user))  # type: ignore[no-untyped-call]
        with known.master_for("voice") as master:  # type: ignore[no-untyped-call]
            assert master.role()[0] == b"master"


async def test_everybody_works_behind_sentinels_and_over_a_fail_over(
    watched: Access, service: Service, run: Run
) -> None:
    async with everybody(watched, run) as who:
        await hear_trim_cancel_and_leave(who)
        await look_redrive_and_cancel(who)
        assert refused_by(service.master, service.replica) == []
        await asyncio.to_thread(service.master.stop)
        async with asyncio.timeout(30):
            await until_published(who, "after")
        _, end = await who.until("after", *TERMINAL)
        assert isinstance(end.message, Complete)
    assert refused_by(service.replica) == []


async def until_published(who: Everybody, session_id: str) -> None:
    """A producer's own patience, until the new master takes it."""
    while True:
        try:
            await who.publish(session_id, "Hello.")
        except PASSING:
            await asyncio.sleep(0.05)
        else:
            return
