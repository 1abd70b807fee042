"""A Cluster of three masters: routing, redirections, and scripts on the node that has their keys."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot
from redis.exceptions import ClusterDownError

from tests import conftest
from tests.stream.servers import HOST, Server, cli, needs_cli, until
from worker.stream.integrity.check import check_job_plane
from worker.stream.integrity.repair import repair
from worker.stream.keys import Keys
from worker.stream.queue import Doorbell, JobQueue
from worker.stream.scripts import BEGIN, CLAIM, END
from worker.stream.transport.address import Address
from worker.stream.transport.base import run_script
from worker.stream.transport.cluster import ClusterLink, key_of
from worker.stream.transport.open import open_link
from worker.stream.transport.retry import PASSING

KEYS = Keys()
TIMEOUT_S = 3.0
pytestmark = needs_cli


@pytest.fixture
async def link(nodes: list[Server]) -> AsyncIterator[ClusterLink]:
    for node in nodes:
        cli(node.port, "FLUSHALL")
        cli(node.port, "SCRIPT", "FLUSH")
    one = open_link(address(nodes[:1]), TIMEOUT_S)
    assert isinstance(one, ClusterLink)
    yield one
    await one.close()


def address(nodes: list[Server]) -> Address:
    return Address(f"redis+cluster://{','.join(f'{HOST}:{node.port}' for node in nodes)}")


def sessions_on(nodes: list[Server], start: int = 0) -> list[str]:
    """One session whose keys lie on each node. start: a test that moves slots takes some of its own.

    What servers tell each other of a moved slot goes on for a while after the test.
    """
    found: dict[int, str] = {}
    for n in range(start, start + 10_000):
        port = owner_of(nodes, KEYS.audio(f"s{n}"))
        found.setdefault(port, f"s{n}")
        if len(found) == len(nodes):
            break
    return [found[node.port] for node in nodes]


def owner_of(nodes: list[Server], key: str) -> int:
    slot = key_slot(key.encode())
    return nodes[slot * len(nodes) // 16384].port


async def begin(link: ClusterLink, session: str, entry_id: str) -> Any:
    keys = (KEYS.audio(session), KEYS.cut(session), KEYS.job(session, entry_id))
    return await run_script(link, BEGIN, keys, entry_id, "job", 1, "SPUBLISH", 0, b"body", 2**52, 1, 3, 1)


@pytest.mark.parametrize(
    ("command", "key"),
    [
        (("XADD", "k", "*", "a", "b"), "k"),
        (("EVALSHA", "0" * 40, 2, "k", "l", "m"), "k"),
        (("XREAD", "BLOCK", 5, "COUNT", 1, "STREAMS", "k", "l", "0", "0"), "k"),
        (("XGROUP", "CREATE", "k", "workers", "0", "MKSTREAM"), "k"),
        (("xinfo", "STREAM", "k"), "k"),
        (("GET", b"k"), b"k"),
        (("SCAN", b"0", "MATCH", "m:{speak}:*", "COUNT", 9), "m:{speak}:*"),
        (("TIME",), None),
        (("CLUSTER", "SLOTS"), None),
    ],
)
def test_a_commands_key_is_found(command: tuple[str, ...], key: str | bytes | None) -> None:
    assert key_of(command) == key


@given(st.binary(max_size=30), st.text("{}a", max_size=8))
def test_all_keys_of_a_session_share_a_slot(other: bytes, braces: str) -> None:
    for session in ("s1", "a.b:c-d_e"):
        slots = {key_slot(key.encode()) for key in (KEYS.audio(session), KEYS.cut(session), KEYS.job(session, "1-1"))}
        assert len(slots) == 1
    assert 0 <= key_slot(other + braces.encode()) < 16384


async def test_every_caller_gets_its_own_answer_from_whichever_node(link: ClusterLink) -> None:
    async def caller(n: int) -> None:
        for i in range(30):
            key = f"{n}-{i}"
            assert await link.call("SET", key, key) == b"OK"
            assert await link.call("GET", key) == key.encode()

    await asyncio.gather(*[caller(n) for n in range(64)])


async def test_answers_are_raw(link: ClusterLink) -> None:
    entry_id = await link.call("XADD", "s", "*", "a", "b")
    assert await link.call("XREVRANGE", "s", "+", "-", "COUNT", 1) == [[entry_id, [b"a", b"b"]]]
    assert await link.call("XREAD", "STREAMS", "s", 0) == [[b"s", [[entry_id, [b"a", b"b"]]]]]
    assert len(await link.call("TIME")) == 2


async def test_session_scripts_run_and_come_back_after_a_flush_on_every_node(
    link: ClusterLink, nodes: list[Server]
) -> None:
    for session in sessions_on(nodes):
        for entry_id in ("1-1", "1-2"):
            answer = await begin(link, session, entry_id)
            assert answer[0] == b"OK"
            at = answer[1] + b"-1"
            keys = (KEYS.audio(session), KEYS.cut(session), KEYS.job(session, entry_id))
            assert await run_script(
                link, END, keys, entry_id, "job", 1, "SPUBLISH", "complete", at, 0, b"body", "", ""
            ) == [
                b"OK",
                b"complete",
            ]
            for node in nodes:
                cli(node.port, "SCRIPT", "FLUSH")


async def test_commands_without_a_key_go_where_a_links_home_is(nodes: list[Server]) -> None:
    """As TIME, which must be that of the server whose entry IDs it is compared with."""
    for session in sessions_on(nodes):
        home = KEYS.audio(session)
        one = open_link(address(nodes[:1]), 1.0, home=home)
        info = await one.call("INFO", "server")
        assert f"tcp_port:{owner_of(nodes, home)}" in info.decode()
        await one.close()


async def test_a_hint_reaches_a_reader_on_its_sessions_node(link: ClusterLink, nodes: list[Server]) -> None:
    for session in sessions_on(nodes):
        with redis.Redis(port=owner_of(nodes, KEYS.audio(session))) as node, node.pubsub() as reader:
            reader.ssubscribe(KEYS.audio(session))
            assert reader.get_message(timeout=5)["type"] == "ssubscribe"
            epoch = (await begin(link, session, "1-1"))[1]
            assert reader.get_message(timeout=5)["data"] == epoch + b"-0"


async def test_the_job_plane_runs_on_its_node(link: ClusterLink, nodes: list[Server]) -> None:
    queue = JobQueue(link, KEYS, "worker", max_field_bytes=20_000)
    empty = await queue.claim(1)
    assert empty.leases == []
    waiting = asyncio.create_task(Doorbell(link, KEYS).wait(empty))
    await asyncio.sleep(0.05)
    entry_id = await open_publish(nodes)
    await asyncio.wait_for(waiting, 2)
    [lease] = (await queue.claim(1)).leases
    assert lease.entry_id == entry_id
    for node in nodes:
        cli(node.port, "SCRIPT", "FLUSH")
    assert await queue.beat(lease)
    assert (await queue.reclaim(60_000, 1, 0.0)).leases == []
    await queue.sweep()
    assert await queue.settle(lease, "ok") == "ok"
    assert await link.call("XLEN", KEYS.jobs) == 0


async def open_publish(nodes: list[Server]) -> str:
    """As another process would."""
    other = open_link(address(nodes))
    entry_id: bytes = await other.call("XADD", KEYS.jobs, "*", "session_id", "s1", "text", "hello")
    await other.close()
    return entry_id.decode()


async def test_a_transaction_is_carried_out_on_its_keys_node(link: ClusterLink, nodes: list[Server]) -> None:
    for session in sessions_on(nodes):
        cut = KEYS.cut(session)
        added, renewed, refused = await link.transaction(
            ("XADD", cut, "MAXLEN", 1, "5-0", "type", "cancel"),
            ("PEXPIRE", cut, 600_000),
            ("XADD", cut, "4-0", "type", "cancel"),
        )
        assert (added, renewed) == (b"5-0", 1)
        assert isinstance(refused, redis.ResponseError)
        with pytest.raises(redis.ResponseError):
            await link.transaction(("SET", cut + "x", 1), ("GET",))


async def test_keys_of_two_slots_in_one_script_are_refused(link: ClusterLink) -> None:
    with pytest.raises(redis.ResponseError):
        await run_script(link, CLAIM, ("a", "b"), 1)


async def test_a_slot_that_moves_is_followed(link: ClusterLink, nodes: list[Server]) -> None:
    key = KEYS.audio(sessions_on(nodes, 10_000)[0])
    slot = str(key_slot(key.encode()))
    old, _, new = nodes
    old_id, new_id = (cli(node.port, "CLUSTER", "MYID").strip() for node in (old, new))
    unaware = [open_link(address(nodes)) for _ in range(2)]
    for one in (link, *unaware):
        await one.call("XADD", key, "*", "a", "b")
    cli(new.port, "CLUSTER", "SETSLOT", slot, "IMPORTING", old_id)
    cli(old.port, "CLUSTER", "SETSLOT", slot, "MIGRATING", new_id)
    try:
        await link.call("XADD", key, "*", "a", "b")  # still at the old one
        cli(old.port, "MIGRATE", HOST, str(new.port), key, "0", "1000")
        await link.call("XADD", key, "*", "a", "b")
        assert await link.call("XLEN", key) == 5
        with pytest.raises(redis.ResponseError, match="unknown command"):
            await link.call("NONSENSE", key)
        with pytest.raises(PASSING):
            await link.transaction(("XLEN", key), ("XLEN", key))
    finally:
        for node in (new, old, nodes[1]):
            cli(node.port, "CLUSTER", "SETSLOT", slot, "NODE", new_id)
    assert await unaware[0].call("XLEN", key) == 5
    assert await unaware[1].transaction(("XLEN", key), ("XLEN", key)) == [5, 5]
    assert await asyncio.gather(*[link.call("XLEN", key) for _ in range(20)]) == [5] * 20
    for one in unaware:
        await one.close()
    cli(new.port, "DEL", key)
    for node in (old, new, nodes[1]):
        cli(node.port, "CLUSTER", "SETSLOT", slot, "NODE", old_id)


async def test_an_error_behind_an_ask_is_raised(link: ClusterLink, nodes: list[Server]) -> None:
    key = KEYS.audio(sessions_on(nodes, 20_000)[0])
    slot = str(key_slot(key.encode()))
    old, _, new = nodes
    old_id, new_id = (cli(node.port, "CLUSTER", "MYID").strip() for node in (old, new))
    cli(new.port, "CLUSTER", "SETSLOT", slot, "IMPORTING", old_id)
    cli(old.port, "CLUSTER", "SETSLOT", slot, "MIGRATING", new_id)
    try:
        with pytest.raises(redis.ResponseError, match="no such key"):
            await link.call("XINFO", "STREAM", key)
    finally:
        for node in (old, new):
            cli(node.port, "CLUSTER", "SETSLOT", slot, "STABLE")


async def test_servers_that_send_each_other_a_command_for_ever_are_given_up(
    link: ClusterLink, nodes: list[Server]
) -> None:
    """Each node redirects to another one as the owner of the slot."""
    key = KEYS.audio(sessions_on(nodes, 30_000)[0])
    slot = str(key_slot(key.encode()))
    ids = [cli(node.port, "CLUSTER", "MYID").strip() for node in nodes]
    await link.call("XLEN", key)
    cli(nodes[0].port, "CLUSTER", "SETSLOT", slot, "NODE", ids[1])
    try:
        with pytest.raises(PASSING):
            await link.call("XLEN", key)
    finally:
        for node in nodes:
            cli(node.port, "CLUSTER", "SETSLOT", slot, "NODE", ids[0])
    assert await answered(link, "XLEN", key) == 0


async def test_a_slot_that_nobody_owns_is_said_until_somebody_does(link: ClusterLink, nodes: list[Server]) -> None:
    key = KEYS.audio(sessions_on(nodes, 40_000)[0])
    slot = str(key_slot(key.encode()))
    for node in nodes:
        cli(node.port, "CLUSTER", "DELSLOTS", slot)
    try:
        for _ in range(2):
            with pytest.raises(ClusterDownError):
                await link.call("XLEN", key)
    finally:
        cli(nodes[0].port, "CLUSTER", "ADDSLOTS", slot)
    assert await answered(link, "XLEN", key) == 0


async def test_one_node_that_is_away_fails_only_its_own_keys(link: ClusterLink, nodes: list[Server]) -> None:
    sessions = sessions_on(nodes)
    for session in sessions:
        await link.call("SET", f"{{{session}}}", 1)
    nodes[0].stop()  # the seed, too
    with pytest.raises(PASSING):
        await link.call("GET", f"{{{sessions[0]}}}")
    for session in sessions[1:]:
        assert await link.call("GET", f"{{{session}}}") == b"1"
    nodes[0].start()
    until(lambda: "cluster_state:ok" in cli(nodes[0].port, "CLUSTER", "INFO"))
    assert await answered(link, "SET", f"{{{sessions[0]}}}", 2) == b"OK"


async def answered(link: ClusterLink, *command: str | int) -> Any:
    """The answer of a Cluster that is settling."""
    async with asyncio.timeout(10):
        while True:
            try:
                return await link.call(*command)
            except PASSING:
                await asyncio.sleep(0.05)


async def test_a_node_that_hangs_is_not_asked_first_again(link: ClusterLink, nodes: list[Server]) -> None:
    sessions = sessions_on(nodes)
    for session in sessions:
        await link.call("SET", f"{{{session}}}", 1)
    nodes[0].send(signal.SIGSTOP)
    try:
        with pytest.raises(redis.TimeoutError):
            await link.call("GET", f"{{{sessions[0]}}}")
        took_s = []
        for _ in range(3):
            start = monotonic()
            for session in sessions[1:]:
                assert await link.call("GET", f"{{{session}}}") == b"1"
            took_s.append(monotonic() - start)
        assert min(took_s) < 0.9 * TIMEOUT_S  # queried first again, it would cost another time-out
    finally:
        nodes[0].send(signal.SIGCONT)
    until(lambda: all("cluster_state:ok" in cli(node.port, "CLUSTER", "INFO") for node in nodes))


async def test_a_cluster_that_is_away_is_said_with_every_seed() -> None:
    nobody = open_link(Address(f"redis+cluster://{HOST}:1,{HOST}:2"))
    with pytest.raises(redis.ConnectionError, match=r":1 .*:2 "):
        await nobody.call("GET", "k")
    await nobody.close()


async def test_a_server_that_is_no_cluster_is_said(valkey_server: conftest.Server) -> None:
    alone = open_link(Address(valkey_server.url.replace("redis://", "redis+cluster://")))
    with pytest.raises(redis.ConnectionError, match="cluster support disabled"):
        await alone.call("GET", "k")
    await alone.close()


async def test_a_look_and_a_repair_reach_the_server_that_has_the_keys(nodes: list[Server], link: ClusterLink) -> None:
    owner = owner_of(nodes, KEYS.jobs)
    await link.call("HSET", KEYS.job_plane_key("gates"), "A", "oops")
    await link.call("XADD", KEYS.jobs, f"{2**64 - 1}-{2**64 - 1}", "session_id", "A", "text", "x")
    await link.call("SET", KEYS.job_plane_key("tomorrow"), "x")
    found = await check_job_plane(link, KEYS, pause_s=0)
    assert [damage.name for damage in found.damage if damage.kind in ("unwritten", "exhausted")] == ["gates", "jobs"]
    assert "tomorrow" in found.notes[0]
    done = await repair(link, KEYS, found)
    assert (done.after.damage, done.problems) == ([], [])
    assert cli(owner, "XLEN", KEYS.jobs).strip() == "1"
