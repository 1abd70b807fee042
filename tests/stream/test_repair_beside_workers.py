"""A repair beside workers and a publisher: every job that Redis accepted is spoken once, and in order."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from tests.conftest import Server, eventually, make_settings, running
from tests.stream.damages import FAR_MS, LAST
from tests.stream.session_writers import LossyLink
from worker.stream.client import Client
from worker.stream.integrity.check import check_job_plane
from worker.stream.integrity.repair import repair
from worker.stream.keys import Keys

KEYS = Keys()
N_SESSIONS = 6
N_JOBS = 8  # of each session, before the damage and again behind it


async def publish(client: Client, first: int) -> list[tuple[str, str]]:
    """[(session, job ID)] of the jobs that Redis accepted."""
    taken = []
    for n in range(first, first + N_JOBS):
        for session in range(N_SESSIONS):
            fields = {"session_id": f"s{session}", "job_id": f"j{n}", "text": "One two three.", "ttl_ms": "300000"}
            await client.publish(fields)
            taken.append((f"s{session}", f"j{n}"))
    return taken


def ends(valkey: redis.Redis) -> list[tuple[str, str]]:
    """[(session, job id)] of every `complete`, in each session's order."""
    found = []
    for session in range(N_SESSIONS):
        entries: Any = valkey.xrange(KEYS.audio(f"s{session}"))
        found += [(f"s{session}", f[b"job_id"].decode()) for _, f in entries if f[b"type"] == b"complete"]
    return found


@pytest.mark.parametrize("odd_id", [LAST, f"{FAR_MS}-0"])
async def test_jobs_are_spoken_once_and_in_order_while_their_stream_is_built_anew(
    odd_id: str, valkey: redis.Redis, valkey_server: Server, link: LossyLink, client: Client
) -> None:
    settings = make_settings(valkey_server.url, slots=2)
    async with running(settings), running(settings):
        taken = await publish(client, 0)
        valkey.xadd(KEYS.jobs, {"session_id": "odd", "text": "Hello.", "job_id": "odd"}, id=odd_id)
        found = await check_job_plane(link, KEYS)
        assert not found.is_sound
        done = await repair(link, KEYS, found)
        assert ([damage.sentence for damage in done.after.damage], done.problems) == ([], [])
        taken += await publish(client, N_JOBS)
        await eventually(lambda: valkey.xlen(KEYS.jobs) == 0, within_s=60)
    assert ends(valkey) == sorted(taken, key=lambda one: (one[0], int(one[1][1:])))
    odd: Any = valkey.xrange(KEYS.audio("odd"))
    assert [fields[b"type"] for _, fields in odd if fields[b"type"] in (b"complete", b"begin")] == [
        b"begin",
        b"complete",
    ]
    assert (await check_job_plane(link, KEYS)).is_sound


MEMBERS = {
    "gates": ("HSET", "X", "oops"),
    "ready": ("RPUSH", "oops"),
    "delayed": ("ZADD", "9e15", "oops"),
    "waiting": ("ZADD", "3", "oops"),
    "attempts": ("HSET", "oops", "inf"),
    "workers": ("HSET", "w", "not json"),
    "taken": ("SET", "oops"),
    "sweeping": ("SET", "oops"),
}


async def test_a_queue_damaged_in_every_key_is_sound_after_one_repair(
    valkey: redis.Redis, valkey_server: Server, link: LossyLink, client: Client
) -> None:
    settings = make_settings(valkey_server.url, slots=2)
    async with running(settings), running(settings):
        taken = await publish(client, 0)
        for name, (command, *words) in MEMBERS.items():
            await link.call(command, KEYS.job_plane_key(name), *words)
        for name in ("bell", "dead", "attempts", "delayed"):
            valkey.delete(KEYS.job_plane_key(name))
            valkey.sadd(KEYS.job_plane_key(name), "x")
        done = await repair(link, KEYS, await check_job_plane(link, KEYS))
        assert ([damage.sentence for damage in done.after.damage], done.problems) == ([], [])
        await eventually(lambda: valkey.xlen(KEYS.jobs) == 0, within_s=60)
    assert ends(valkey) == sorted(taken, key=lambda one: (one[0], int(one[1][1:])))
    assert (await check_job_plane(link, KEYS)).is_sound
