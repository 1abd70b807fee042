"""Sessions with odd keys lose their own job and no other; every entry is answered, also a repeated one."""

from __future__ import annotations

from time import time
from typing import Any

import pytest
import redis

from tests.conftest import Server, eventually, make_settings, running
from tests.flow.listening import KEYS, check_queue_is_empty, read_session
from tests.tone import ToneEngine
from worker.stream.client import Client

LONG = "A sentence of some length, so that there is time to damage what it is written to. " * 3


def ends(valkey: redis.Redis, session_id: str) -> list[tuple[str, str]]:
    """(entry, type) of every end on the session's stream, in order."""
    found: Any = valkey.xrange(KEYS.audio(session_id))
    return [
        (fields[b"entry"].decode(), fields[b"type"].decode())
        for _, fields in found
        if fields.get(b"type") in (b"complete", b"cancelled", b"error")
    ]


def letters(valkey: redis.Redis) -> dict[str, str]:
    """Why each job is dead, by its entry."""
    found: Any = valkey.xrange(KEYS.dead)
    return {fields[b"dead_id"].decode(): fields[b"dead_reason"].decode() for _, fields in found}


@pytest.mark.parametrize("name", ["audio", "cut"])
async def test_a_job_whose_session_cannot_be_written_is_a_dead_letter_and_the_next_one_is_spoken(
    valkey: redis.Redis, valkey_server: Server, client: Client, name: str
) -> None:
    key = getattr(KEYS, name)("s")
    async with running(make_settings(valkey_server.url), ToneEngine(2)):
        valkey.set(key, "x")
        first = await client.publish({"session_id": "s", "text": "Hello."})
        other = await client.publish({"session_id": "other", "text": "Hello."})
        await eventually(lambda: ends(valkey, "other") == [(other, "complete")])
        await eventually(lambda: letters(valkey) == {first: "session_unwritable"}, within_s=30)
        valkey.delete(key)
        second = await client.publish({"session_id": "s", "text": "Hello."})
        await eventually(lambda: ends(valkey, "s") == [(second, "complete")])
        await eventually(lambda: valkey.xlen(KEYS.jobs) == 0)
    check_queue_is_empty(valkey)
    assert letters(valkey) == {first: "session_unwritable"}


async def test_a_session_that_is_damaged_amid_its_job_costs_that_job_alone(
    valkey: redis.Redis, valkey_server: Server, client: Client
) -> None:
    async with running(make_settings(valkey_server.url), ToneEngine(2, frame_s=0.02)):
        first = await client.publish({"session_id": "s", "text": LONG})
        await eventually(lambda: valkey.xlen(KEYS.audio("s")) > 2)
        valkey.set(KEYS.audio("s"), "x")
        await eventually(lambda: letters(valkey) == {first: "session_unwritable"}, within_s=30)
        valkey.delete(KEYS.audio("s"))
        second = await client.publish({"session_id": "s", "text": "Hello."})
        await eventually(lambda: ends(valkey, "s") == [(second, "complete")])
    check_queue_is_empty(valkey)


@pytest.mark.parametrize(
    "fields",
    [{"fence": "9999999999999"}, {"fence": "oops"}, {"end": "banana"}, {"base": "9e9"}, {"tomorrow": "x" * 1000}],
    ids=str,
)
async def test_odd_fields_of_a_jobs_hash_do_not_keep_it_from_being_spoken(
    valkey: redis.Redis, valkey_server: Server, fields: dict[Any, Any]
) -> None:
    entry_id = f"{int(time() * 1000) + 100}-0"
    valkey.hset(KEYS.job("s", entry_id), mapping=fields)
    async with running(make_settings(valkey_server.url), ToneEngine(2)):
        valkey.xadd(KEYS.jobs, {"session_id": "s", "text": "Hello."}, id=entry_id)
        await eventually(lambda: ends(valkey, "s") == [(entry_id, "complete")])
        await eventually(lambda: valkey.xlen(KEYS.jobs) == 0)


async def test_a_job_published_again_after_its_end_is_answered_by_a_copy_of_it(
    valkey: redis.Redis, valkey_server: Server, client: Client
) -> None:
    job = {"session_id": "s", "text": "Hello.", "job_id": "j"}
    async with running(make_settings(valkey_server.url), ToneEngine(2)):
        first = await client.publish(job)
        await eventually(lambda: ends(valkey, "s") == [(first, "complete")])
        await eventually(lambda: valkey.xlen(KEYS.jobs) == 0)
        again = await client.publish(job)
        await eventually(lambda: ends(valkey, "s") == [(first, "complete"), (again, "complete")])
        await eventually(lambda: valkey.xlen(KEYS.jobs) == 0)
    heard = read_session(valkey, "s")
    assert not heard[again].begins
    assert heard[again].ends == heard[first].ends
    check_queue_is_empty(valkey)


async def test_a_job_published_again_whose_end_a_relay_has_trimmed_is_spoken_again(
    valkey: redis.Redis, valkey_server: Server, client: Client
) -> None:
    job = {"session_id": "s", "text": "Hello.", "job_id": "j"}
    async with running(make_settings(valkey_server.url), ToneEngine(2)):
        first = await client.publish(job)
        await eventually(lambda: ends(valkey, "s") == [(first, "complete")])
        await eventually(lambda: valkey.xlen(KEYS.jobs) == 0)
        valkey.xtrim(KEYS.audio("s"), maxlen=0)
        again = await client.publish(job)
        await eventually(lambda: ends(valkey, "s") == [(again, "complete")])
    assert len(read_session(valkey, "s")[again].begins) == 1


async def test_a_job_that_expired_may_be_published_again(
    valkey: redis.Redis, valkey_server: Server, client: Client
) -> None:
    job: dict[Any, Any] = {"session_id": "s", "text": "Hello.", "job_id": "j"}
    expired = f"{int(time() * 1000) - 60_000}-0"
    valkey.xadd(KEYS.jobs, job, id=expired)
    async with running(make_settings(valkey_server.url), ToneEngine(2)):
        await eventually(lambda: ends(valkey, "s") == [(expired, "error")])
        await eventually(lambda: valkey.xlen(KEYS.jobs) == 0)
        again = await client.publish(job)
        await eventually(lambda: ends(valkey, "s") == [(expired, "error"), (again, "complete")])
