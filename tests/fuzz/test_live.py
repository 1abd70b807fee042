"""A worker survives whatever others write into its streams, and ends every job with an answer for its session."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import redis

from schemas import JobError, WireError, parse_job, session_id_of
from tests.conftest import Server, eventually, running
from tests.flow.listening import KEYS, check_complete, check_queue_is_empty, read_session, until_ended
from tests.fuzz.strategies import examples
from tests.fuzz.target import Target, unpacked
from tests.fuzz.targets.job import JOB, Words
from tests.fuzz.targets.wire import ENTRY, ENTRY_ID, TRAIL, Fields
from tests.tone import ToneEngine
from worker.engine.base import Engine
from worker.engine.preview.engine import PreviewEngine
from worker.engine.preview.espeak import Espeak
from worker.settings import Settings
from worker.stream.client import Client

N_SLOTS = 32


@pytest.fixture
def valkey_server(servers: dict[str, Server]) -> Server:
    """One kind of server is enough: tests/scripts runs the scripts on the others."""
    return servers["valkey"]


@pytest.mark.parametrize(
    ("engine", "n"),
    [
        (ToneEngine, 300),
        (lambda n_slots: ToneEngine(n_slots, has_codes=True), 300),
        (lambda n_slots: PreviewEngine(n_slots, None, Espeak()), 40),
    ],
    ids=["no codes", "codes", "preview"],
)
async def test_a_job_whose_stream_holds_garbage_is_taken_over_and_ended(
    engine: Callable[[int], Engine],
    n: int,
    valkey: redis.Redis,
    settings: Settings,
    client: Client,
    caplog: pytest.LogCaptureFixture,
) -> None:
    began = [begun_before(valkey, number, stream) for number, stream in enumerate(fuzzed(TRAIL, n))]
    async with running(settings.model_copy(update={"slots": N_SLOTS, "lease_ms": 10_000}), engine(N_SLOTS)):
        await eventually(lambda: valkey.xlen(KEYS.jobs) == 0, within_s=60)
        await check_still_serving(client, valkey)
    ends = [ended(valkey, *one) for one in began]
    assert {*ends} == {b"complete", b"error"}
    check_nobody_gave_up(valkey, caplog)


async def test_garbage_written_into_a_session_while_it_is_spoken_harms_that_session_only(
    valkey: redis.Redis, settings: Settings, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(
        settings.model_copy(update={"slots": N_SLOTS, "lease_ms": 10_000}), ToneEngine(N_SLOTS, frame_s=0.01)
    ):
        garbage = fuzzed(ENTRY, 300)
        jobs = [(f"g{n}", await client.publish({"session_id": f"g{n}", "text": "word " * 40})) for n in range(N_SLOTS)]
        for n, fields in enumerate(garbage):
            session_id, entry_id = jobs[n % N_SLOTS]
            if fields and valkey.exists(KEYS.audio(session_id)):
                xadd(valkey, KEYS.audio(session_id), "*", renamed(fields, entry_id))
            await asyncio.sleep(0.005)
        await eventually(lambda: valkey.xlen(KEYS.jobs) == 0, within_s=60)
        await check_still_serving(client, valkey)
    assert {ended(valkey, *job) for job in jobs} <= {b"complete", b"error", b"cancelled"}
    check_nobody_gave_up(valkey, caplog)


async def test_every_malformed_job_is_answered_for_what_is_wrong_with_it(
    valkey: redis.Redis, settings: Settings, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    malformed = [of_its_own_session(n, fields) for n, fields in enumerate(fuzzed(JOB, 400))]
    jobs = {xadd(valkey, KEYS.jobs, "*", fields): fields for fields in malformed if fields and len(fields) % 2 == 0}
    async with running(settings.model_copy(update={"slots": N_SLOTS, "lease_ms": 10_000}), ToneEngine(N_SLOTS)):
        await eventually(lambda: valkey.xlen(KEYS.jobs) == 0, within_s=60)
        await check_still_serving(client, valkey)
    letters: Any = valkey.xrange(KEYS.dead)
    dead = {fields[b"dead_id"].decode(): fields[b"dead_reason"].decode() for _, fields in letters}
    for entry_id, fields in jobs.items():
        expected = refusal(entry_id, fields)
        if expected is not None:
            assert dead[entry_id] == expected
            if (session_id := session_id_of(fields)) is not None:
                assert ended(valkey, session_id, entry_id) == b"error"
    assert not {"internal", "engine_failed", "worker_lost"} & {*dead.values()}
    check_nobody_gave_up(valkey, caplog)


async def test_a_listener_is_told_of_garbage_and_of_nothing_else(valkey: redis.Redis, client: Client) -> None:
    n_read = 0
    for n, stream in enumerate(fuzzed(TRAIL, 60)):
        begun_before(valkey, n, stream)
        try:
            async with asyncio.timeout(5):
                async for _ in client.listen(f"g{n}"):
                    n_read += 1
                    if n_read % len(stream) == 0:
                        break
        except WireError:
            continue
    assert n_read > 60


@cache
def fuzzed(target: Target, n: int) -> list[Any]:
    return [unpacked(data) for data in examples(target.inputs(), n, 1)]


def xadd(valkey: redis.Redis, key: str, stream_id: str, fields: Fields) -> str:
    execute: Any = valkey.execute_command
    added: bytes = execute("XADD", key, stream_id, *fields)
    return added.decode()


def renamed(fields: Fields, entry_id: str) -> Fields:
    """The fields as those of another job; its entry id is as long as that of the golden vectors."""
    return [word.replace(ENTRY_ID.encode(), entry_id.encode()) for word in fields]


def begun_before(valkey: redis.Redis, number: int, stream: list[Fields]) -> tuple[str, str]:
    """A job that an earlier worker began, whose session has these entries; its session and entry id."""
    session_id, entry_id = f"g{number}", f"1760000{number:06}-0"
    xadd(valkey, KEYS.jobs, entry_id, [b"session_id", session_id.encode(), b"text", b"Some words to be spoken."])
    valkey.hset(KEYS.job(session_id, entry_id), mapping={"fence": "1", "began": "0"})
    for place, fields in enumerate(fields for fields in stream if fields):
        xadd(valkey, KEYS.audio(session_id), f"1760000000000-{place + 1}", renamed(fields, entry_id))
    for key in (KEYS.job(session_id, entry_id), KEYS.audio(session_id)):
        valkey.pexpire(key, 600_000)
    return session_id, entry_id


def ended(valkey: redis.Redis, session_id: str, entry_id: str) -> bytes | None:
    end: Any = valkey.hget(KEYS.job(session_id, entry_id), "end")
    return end if end is None else bytes(end)


def of_its_own_session(n: int, fields: Words) -> Words:
    """The same where no other can be its duplicate, and none of its session waits before it."""
    session_id = session_id_of(fields)
    return fields if session_id is None else [b"m%d" % n if word == session_id.encode() else word for word in fields]


def refusal(entry_id: str, fields: Words) -> str | None:
    try:
        parse_job(entry_id, fields)
    except JobError as error:
        return str(error.code)
    return None


async def check_still_serving(client: Client, valkey: redis.Redis) -> None:
    entry_id = await client.publish({"session_id": "after", "text": "Still here."})
    await until_ended(client, "after")
    check_complete(read_session(valkey, "after")[entry_id])
    await eventually(lambda: valkey.xlen(KEYS.jobs) == 0)


def check_nobody_gave_up(valkey: redis.Redis, caplog: pytest.LogCaptureFixture) -> None:
    check_queue_is_empty(valkey)
    left = [record.getMessage() for record in caplog.records if "left to its lease" in record.getMessage()]
    assert left == []
    assert logging.CRITICAL not in {record.levelno for record in caplog.records}
