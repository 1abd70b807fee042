"""The integrity check lists all damage and nothing else, and a repair leaves a sound queue."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
import redis

from tests.conftest import Server, make_settings, running
from tests.stream.damages import DAMAGES, FAR_MS, LAST
from tests.stream.session_writers import LossyLink
from worker.stream.client import Client
from worker.stream.integrity import repair as mending
from worker.stream.integrity.check import TYPES, IntegrityReport, check_job_plane
from worker.stream.integrity.kinds import Damage, Kind, parse_id, parse_waiting, printable, waiting_member
from worker.stream.integrity.repair import repair
from worker.stream.keys import JOB_PLANE, Keys
from worker.stream.queue import JobQueue
from worker.stream.transport.address import Address
from worker.stream.transport.open import open_link

KEYS = Keys()


def key(name: str) -> str:
    return KEYS.job_plane_key(name)


def publish(valkey: redis.Redis, session: str, entry_id: str = "*", **fields: str) -> str:
    job: dict[Any, Any] = {"session_id": session, "text": "Hello.", **fields}
    added: Any = valkey.xadd(KEYS.jobs, job, id=entry_id)
    return str(added.decode())


def now_ms(valkey: redis.Redis) -> int:
    seconds, _ = valkey.time()
    return int(seconds) * 1000


@pytest.fixture
async def busy(valkey: redis.Redis, link: LossyLink) -> dict[str, str]:
    """A queue: a running job of A, one that waits for it, a delayed one of B, a ready one of C and a new one."""
    queue = JobQueue(link, KEYS, "w1")
    ids = {"running": publish(valkey, "A"), "waiting": publish(valkey, "A")}
    ids |= {"delayed": publish(valkey, "B"), "ready": publish(valkey, "C", job_id="j1")}
    leases = {lease.entry_id: lease for lease in (await queue.claim(10)).leases}
    await queue.settle(leases[ids["delayed"]], "retry", 10_000)
    await queue.settle(leases[ids["ready"]], "release")
    valkey.hset(KEYS.workers, "w1", json.dumps({"beat": now_ms(valkey)}))
    valkey.xadd(KEYS.dead, {"dead_reason": "internal", "session_id": "D", "text": "x"})
    return ids | {"new": publish(valkey, "E")}


async def a_look(link: LossyLink) -> IntegrityReport:
    return await check_job_plane(link, KEYS, pause_s=0)


async def only(link: LossyLink) -> Damage:
    (damage,) = (await a_look(link)).damage
    return damage


async def mend_all(link: LossyLink) -> None:
    done = await repair(link, KEYS, await a_look(link), busy_s=0)
    assert done.problems == []
    assert [damage.sentence for damage in done.after.damage] == []
    assert (await a_look(link)).is_sound


async def test_an_empty_redis_and_one_that_no_worker_saw_are_sound(valkey: redis.Redis, link: LossyLink) -> None:
    assert (await a_look(link)).is_sound
    publish(valkey, "A")
    assert (await a_look(link)).is_sound


async def test_a_queue_at_work_is_sound(link: LossyLink, busy: dict[str, str]) -> None:
    found = await a_look(link)
    assert (found.damage, found.notes, found.unread) == ([], [], [])
    assert busy


@pytest.mark.parametrize("name", DAMAGES)
async def test_damage_is_named_mended_and_no_job_is_lost(
    name: str, valkey: redis.Redis, link: LossyLink, busy: dict[str, str]
) -> None:
    damaging = DAMAGES[name]
    damaging.do(valkey, busy)
    n_jobs, n_letters = valkey.xlen(KEYS.jobs), valkey.xlen(KEYS.dead)
    found = await a_look(link)
    sentences = [one.sentence for one in found.damage]
    ones = [one for one in found.damage if (one.name, one.kind) == (damaging.key, damaging.kind)]
    assert len(ones) == 1, sentences
    one = ones[0]
    assert one.sentence.startswith(f"{one.key} ")
    assert damaging.said in one.sentence
    assert one.sentence.isprintable()
    assert one.remedy
    await mend_all(link)
    assert (valkey.xlen(KEYS.jobs), valkey.xlen(KEYS.dead)) == (n_jobs, n_letters)
    assert await settle_all(link) == n_jobs


async def settle_all(link: LossyLink) -> int:
    """Run the queue's jobs on another worker, one after the other; returns how many."""
    queue, n = JobQueue(link, KEYS, "w2"), 0
    await asyncio.sleep(0.002)
    for _ in range(50):
        leases = (await queue.claim(10)).leases + (await queue.reclaim(1, 10, time.monotonic())).leases
        for lease in leases:
            n += await queue.settle(lease, "ok") == "ok"
        due = await link.call("ZRANGE", key("delayed"), 0, -1)
        for entry_id in due:
            await link.call("ZADD", key("delayed"), 1, entry_id)
        if not await link.call("XLEN", KEYS.jobs):
            return n
    raise AssertionError(f"{await link.call('XRANGE', KEYS.jobs, '-', '+')} were never given")


OTHERS: dict[str, tuple[str, ...]] = {
    "string": ("SET", "x"),
    "list": ("RPUSH", "x"),
    "set": ("SADD", "x"),
    "zset": ("ZADD", "1", "x"),
    "hash": ("HSET", "x", "x"),
    "stream": ("XADD", "*", "x", "x"),
}


@pytest.mark.parametrize(("name", "other"), [(n, o) for n in JOB_PLANE for o in OTHERS if TYPES[n] != o])
async def test_a_key_of_another_type_is_named_and_put_aside(
    name: str, other: str, valkey: redis.Redis, link: LossyLink, busy: dict[str, str]
) -> None:
    valkey.delete(key(name))
    await link.call(OTHERS[other][0], key(name), *OTHERS[other][1:])
    found = await a_look(link)
    (one,) = [one for one in found.damage if one.kind is Kind.OTHER_TYPE]
    what = "a sorted set" if other == "zset" else f"a {other}"
    assert one.sentence.startswith(f"{key(name)} is {what} where a ")
    await mend_all(link)
    (note,) = (await a_look(link)).notes
    assert f"was set aside: {what} with 1 " in note
    (aside,) = valkey.keys(key("aside:*"))
    assert 0 < valkey.pttl(aside) <= 7 * 86_400_000
    if name != "jobs":
        assert await settle_all(link) == len(busy)


async def test_dead_letters_keep_their_order_and_their_fields(valkey: redis.Redis, link: LossyLink) -> None:
    for n in range(250):
        valkey.xadd(KEYS.dead, {"n": str(n), "text": "x"})
    valkey.xadd(KEYS.dead, {"n": "250"}, id=f"{FAR_MS}-0")
    valkey.xadd(KEYS.dead, {"n": "251"}, id=LAST)
    await mend_all(link)
    letters: Any = valkey.xrange(KEYS.dead)
    assert [fields[b"n"] for _, fields in letters] == [b"%d" % n for n in range(252)]
    assert valkey.xadd(KEYS.dead, {"n": "252"})


async def test_a_rebuilt_stream_keeps_ids_workers_and_attempts_and_takes_new_jobs(
    valkey: redis.Redis, link: LossyLink, busy: dict[str, str]
) -> None:
    ids = [entry_id for entry_id, _ in valkey.xrange(KEYS.jobs)]  # type: ignore[union-attr]
    publish(valkey, "F", LAST, job_id="j9")
    await mend_all(link)
    kept: Any = valkey.xrange(KEYS.jobs)
    assert [entry_id for entry_id, _ in kept][: len(ids)] == ids
    assert kept[-1][1][b"session_id"] == b"F"
    assert abs(int(kept[-1][0].partition(b"-")[0]) - now_ms(valkey)) < 60_000
    (pending,) = valkey.xpending_range(KEYS.jobs, "workers", "-", "+", 10)
    assert (pending["message_id"], pending["consumer"]) == (busy["running"].encode(), b"w1")
    publish(valkey, "G")
    assert valkey.keys(key("aside:*")) == []


async def test_a_job_whose_id_is_ahead_is_not_repeated_while_it_is_spoken(valkey: redis.Redis, link: LossyLink) -> None:
    queue = JobQueue(link, KEYS, "w1")
    publish(valkey, "A", f"{FAR_MS}-0")
    publish(valkey, "B")
    first, second = (await queue.claim(10)).leases
    done = await repair(link, KEYS, await a_look(link), busy_s=0)
    assert [damage.kind for damage in done.after.damage] == [Kind.AHEAD]
    assert "2 jobs whose IDs are ahead" in done.problems[0]
    assert await queue.settle(first, "ok") == await queue.settle(second, "ok") == "ok"
    await mend_all(link)
    assert valkey.xlen(KEYS.jobs) == 0


async def test_a_job_whose_id_is_ahead_is_given_again_where_no_worker_lives(
    valkey: redis.Redis, link: LossyLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mending, "ALL_DEAD_S", 0)
    publish(valkey, "A", f"{FAR_MS}-0")
    await JobQueue(link, KEYS, "w1").claim(10)
    valkey.hset(KEYS.workers, "w1", json.dumps({"beat": now_ms(valkey)}))
    done = await repair(link, KEYS, await a_look(link), busy_s=30)
    assert (done.after.damage, done.problems) == ([], [])
    assert await settle_all(link) == 1


async def test_letters_that_workers_put_aside_come_back(valkey: redis.Redis, link: LossyLink) -> None:
    for n in range(5):
        valkey.xadd(KEYS.dead, {"n": str(n)})
    valkey.xadd(KEYS.dead, {"n": "5"}, id=LAST)
    assert await JobQueue(link, KEYS, "w1").set_aside()
    (damage,) = (await a_look(link)).damage
    assert (damage.kind, damage.count, len(damage.examples)) == (Kind.LEFT_ASIDE, 6, 3)
    assert "holds 6 dead letters of a stream" in damage.sentence
    await mend_all(link)
    assert valkey.xlen(KEYS.dead) == 6


async def test_a_job_whose_id_is_ahead_is_known_by_its_job_id_afterwards(valkey: redis.Redis, link: LossyLink) -> None:
    queue = JobQueue(link, KEYS, "w1")
    publish(valkey, "A", f"{FAR_MS}-0", job_id="j")
    (lease,) = (await queue.claim(10)).leases
    await queue.settle(lease, "release")
    await mend_all(link)
    (again,) = (await queue.claim(10)).leases
    assert (again.session_id, again.repeats) == ("A", "")
    publish(valkey, "A", job_id="j")
    assert (await queue.claim(10)).n_duplicates == 1


async def test_keys_of_others_under_the_tag_are_told_and_left(valkey: redis.Redis, link: LossyLink) -> None:
    valkey.set(key("tomorrow"), "x", ex=60)
    valkey.xadd(KEYS.audio("speak"), {"type": "begin"})
    valkey.expire(KEYS.audio("speak"), 60)
    found = await a_look(link)
    assert found.is_sound
    assert found.notes == [f"{key('tomorrow')} is not of this version: a string with 1 bytes; it expires in 0 h"]


async def test_a_missing_right_is_named_and_hides_only_its_own_part(
    valkey: redis.Redis, valkey_server: Server, busy: dict[str, str]
) -> None:
    valkey.hset(key("gates"), "X", "oops")
    valkey.execute_command(  # type: ignore[no-untyped-call]
        "ACL", "SETUSER", "half", "reset", "on", "nopass", "~*", "+@all", "-lrange", "-scan"
    )
    half = open_link(Address(valkey_server.url, "half", "x"))
    try:
        found = await check_job_plane(half, KEYS, pause_s=0)
    finally:
        await half.close()
        valkey.acl_deluser("half")
    assert [damage.name for damage in found.damage] == ["gates"]
    assert found.unread == [f"this user may not send LRANGE on {key('ready')}", "this user may not send SCAN"]
    assert not found.is_sound
    assert busy


async def test_a_queue_that_workers_hammer_is_called_sound(
    valkey: redis.Redis, valkey_server: Server, link: LossyLink, client: Client
) -> None:
    settings = make_settings(valkey_server.url, slots=16)
    async with running(settings), running(settings):
        publishing = asyncio.create_task(hammer(client))
        n_looks = 0
        while not publishing.done():
            found = await a_look(link)
            assert [damage.sentence for damage in found.damage] == []
            n_looks += 1
        await publishing
    assert n_looks >= 3
    assert (await a_look(link)).is_sound


async def hammer(client: Client) -> None:
    """300 jobs in 30 sessions, a third of which fail and are dead letters, some of them published twice."""
    for n in range(300):
        fields = {"session_id": f"s{n % 30}", "text": "Hi.", "job_id": f"j{n // 2}"}
        await client.publish(fields | ({"voice": "nobody"} if n % 3 == 0 else {}))
        await asyncio.sleep(0.005)


def test_ids_are_read_exactly() -> None:
    assert parse_id(b"0-1") == (0, 1)
    assert parse_id(f"{2**64 - 1}-{2**64 - 1}".encode()) == (2**64 - 1, 2**64 - 1)
    for odd in (
        b"",
        b"1",
        b"1-",
        b"-1",
        b"1-1-1",
        b"01-0",
        b"1-00",
        b"1-1\n",
        b" 1-1",
        b"%d-0" % 2**64,
        b"+1-0",
        "١-٠".encode(),
    ):
        assert parse_id(odd) is None
    member = waiting_member(b"s:1", b"1700000000000-3")
    assert parse_waiting(member) == (b"s:1", b"1700000000000-3")
    assert parse_waiting(member[:-1]) is None


def test_what_is_shown_is_short_and_printable() -> None:
    for raw in (b"\x1b]0;x\x07", b"\xff" * 1000, "\u202eabc\u2028".encode(), b"a\r\nb", b"x" * 10**6):
        assert printable(raw).isprintable()
        assert len(printable(raw)) <= 48
