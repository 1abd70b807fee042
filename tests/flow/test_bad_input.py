"""Every kind of bad input has its typed error, its dead letter, and a worker that serves the next job."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
import redis

from schemas.jobs import JOB_FIELDS
from tests.conftest import eventually, running
from tests.flow.listening import KEYS, check_complete, check_queue_is_empty, read_session, until_ended
from tests.tone import ToneEngine
from worker.engine.base import VoiceUnavailable
from worker.settings import Settings
from worker.stream.client import Client
from worker.voices.card import Card

Fields = list[bytes]

FLOOD: Fields = [word for n in range(5000) for word in (b"f%d" % n, b"x")]

OF_A_SESSION: list[tuple[str, Fields, str, str | None]] = [
    ("unknown voice", [b"text", b"Hi.", b"voice", b"nobody"], "unknown_voice", "voice"),
    ("a voice that climbs out of its folder", [b"text", b"Hi.", b"voice", b"../../etc"], "unknown_voice", "voice"),
    ("empty text", [b"text", b""], "text_empty", "text"),
    ("blank text", [b"text", b" \n\t "], "text_empty", "text"),
    ("no text", [], "text_empty", "text"),
    ("over-long text", [b"text", b"a" * 5001], "text_too_long", "text"),
    ("over-long Japanese text", [b"text", "あ".encode() * 5001], "text_too_long", "text"),
    ("10 MB of text", [b"text", b"a" * 10_000_000], "text_too_long", "text"),
    ("wrong encoding", [b"text", b"Hi.", b"encoding", b"mp3"], "unsupported_format", "encoding"),
    ("the WebSocket's word", [b"text", b"Hi.", b"encoding", b"pcm16"], "unsupported_format", "encoding"),
    ("wrong rate", [b"text", b"Hi.", b"sample_rate", b"11025"], "unsupported_format", "sample_rate"),
    ("text that is not UTF-8", [b"text", b"\xff\xfe"], "invalid_field", "text"),
    ("10 MB of another field", [b"text", b"Hi.", b"traceparent", b"x" * 10_000_000], "invalid_field", "traceparent"),
    ("unknown version", [b"text", b"Hi.", b"v", b"2"], "invalid_version", "v"),
    ("ttl out of range", [b"text", b"Hi.", b"ttl_ms", b"0"], "invalid_field", "ttl_ms"),
    ("seed out of range", [b"text", b"Hi.", b"seed", b"9223372036854775808"], "invalid_field", "seed"),
    ("temperature out of range", [b"text", b"Hi.", b"temperature", b"2.1"], "invalid_field", "temperature"),
    ("temperature that is no number", [b"text", b"Hi.", b"temperature", b"nan"], "invalid_field", "temperature"),
    ("unknown language", [b"text", b"Hi.", b"language", b"Klingon"], "invalid_field", "language"),
    ("a bad job id", [b"text", b"Hi.", b"job_id", b"a b"], "invalid_field", "job_id"),
    ("a field given twice", [b"text", b"Hi.", b"text", b"Ho."], "invalid_field", "text"),
    ("a session given twice", [b"text", b"Hi.", b"session_id", b"other"], "invalid_field", "session_id"),
    (
        "5,000 other fields",
        [b"text", b"Hi.", *(b for n in range(5000) for b in (b"f%d" % n, b"x"))],
        "invalid_field",
        "f0",
    ),
]

WITHOUT_A_SESSION: list[tuple[str, Fields]] = [
    ("missing", [b"text", b"Hi."]),
    ("empty", [b"session_id", b"", b"text", b"Hi."]),
    ("braces", [b"session_id", b"{s}", b"text", b"Hi."]),
    ("spaces", [b"session_id", b"s 1", b"text", b"Hi."]),
    ("1,000 characters", [b"session_id", b"s" * 1000, b"text", b"Hi."]),
    ("129 characters", [b"session_id", b"s" * 129, b"text", b"Hi."]),
    ("a newline", [b"session_id", b"s\n", b"text", b"Hi."]),
    ("not UTF-8", [b"session_id", b"\xff", b"text", b"Hi."]),
    ("a NUL", [b"session_id", b"s\x00", b"text", b"Hi."]),
    ("5,000 other fields", FLOOD),
]


@pytest.mark.parametrize(
    ("fields", "code", "field"), [case[1:] for case in OF_A_SESSION], ids=[c[0] for c in OF_A_SESSION]
)
async def test_a_bad_job_is_answered_on_its_session_and_dead_lettered(
    fields: Fields, code: str, field: str | None, valkey: redis.Redis, settings: Settings, client: Client
) -> None:
    async with running(settings, ToneEngine(2)):
        bad = _publish(valkey, [b"session_id", b"s", *fields])
        good = await client.publish({"session_id": "s", "text": "The next job."})
        await until_ended(client, "s", 2)
        await eventually(lambda: valkey.xlen(KEYS.jobs) == 0)
    jobs = read_session(valkey, "s")
    assert (jobs[bad].error.code, jobs[bad].error.field) == (code, field)
    assert not jobs[bad].begins
    check_complete(jobs[good])
    assert _dead(valkey) == {bad: code}
    check_queue_is_empty(valkey)


@pytest.mark.parametrize("fields", [case[1] for case in WITHOUT_A_SESSION], ids=[c[0] for c in WITHOUT_A_SESSION])
async def test_a_job_without_a_usable_session_is_dead_lettered_only(
    fields: Fields, valkey: redis.Redis, settings: Settings, client: Client
) -> None:
    async with running(settings, ToneEngine(2)):
        bad = _publish(valkey, fields)
        good = await client.publish({"session_id": "next", "text": "The next job."})
        await until_ended(client, "next")
        await eventually(lambda: valkey.xlen(KEYS.jobs) == 0)
    check_complete(read_session(valkey, "next")[good])
    assert _dead(valkey) == {bad: "invalid_field"}
    assert list(valkey.scan_iter("*:audio")) == [KEYS.audio("next").encode()]


async def test_a_job_with_some_unknown_fields_is_spoken(
    valkey: redis.Redis, settings: Settings, client: Client
) -> None:
    noise = [b for n in range(50) for b in (b"f%d" % (n // 2), b"\xff")]
    async with running(settings, ToneEngine(2)):
        entry_id = _publish(valkey, [*noise, b"session_id", b"s", b"text", b"Hello."])
        await until_ended(client, "s")
    check_complete(read_session(valkey, "s")[entry_id])


async def test_ten_thousand_malformed_entries_leave_no_job_stuck_and_the_worker_well(
    valkey: redis.Redis, settings: Settings, client: Client
) -> None:
    draw = random.Random(11)
    async with running(settings.model_copy(update={"slots": 32}), ToneEngine(32)):
        for _ in range(50):
            pipeline: Any = valkey.pipeline(transaction=False)
            for _ in range(200):
                pipeline.execute_command("XADD", KEYS.jobs, "*", *_malformed(draw))
            pipeline.execute()
            await asyncio.sleep(0)
        await eventually(lambda: valkey.xlen(KEYS.jobs) == 0, within_s=200)
        check_queue_is_empty(valkey)
        good = await client.publish({"session_id": "after", "text": "Still here."})
        await until_ended(client, "after")
    check_complete(read_session(valkey, "after")[good])
    dead = _dead(valkey)
    assert len(dead) > 8000
    assert not {"internal", "engine_failed", "worker_lost"} & set(dead.values())


NAMES = [*(name.encode() for name in JOB_FIELDS), b"other", b""]
VALUES = [b"-1", b"1e999", b"9" * 40, b"", b"Auto", b"\x00", b"1"]


def _malformed(draw: random.Random) -> Fields:
    """A random entry, now and then close to a good one."""
    fields: Fields = []
    if draw.random() < 0.7:
        fields += [b"session_id", b"m%d" % draw.randrange(50)]
    for _ in range(draw.randint(1, 6)):
        value = draw.choice([draw.randbytes(draw.randint(0, 40)), *VALUES])
        fields += [draw.choice(NAMES), value]
    return fields


def _publish(valkey: redis.Redis, fields: Fields) -> str:
    execute: Any = valkey.execute_command
    entry_id = execute("XADD", KEYS.jobs, "*", *fields)
    return str(entry_id.decode())


def _dead(valkey: redis.Redis) -> dict[str, str]:
    letters: Any = valkey.xrange(KEYS.dead)
    return {fields[b"dead_id"].decode(): fields[b"dead_reason"].decode() for _, fields in letters}


async def test_a_job_whose_sessions_stream_takes_no_more_entries_is_settled_as_dead(
    valkey: redis.Redis, settings: Settings, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    valkey.xadd(KEYS.audio("s1"), {"type": "cancel"}, id=f"{2**64 - 1}-{2**64 - 1}")
    valkey.expire(KEYS.audio("s1"), 600)
    async with running(settings, ToneEngine(2)):
        entry_id = await client.publish({"session_id": "s1", "text": "Hello."})
        await eventually(lambda: _dead(valkey) == {entry_id: "session_unwritable"})
        await eventually(lambda: valkey.xlen(KEYS.jobs) == 0)
    check_queue_is_empty(valkey)
    assert "exhausted" in caplog.text


@pytest.mark.parametrize("words", ["x" * 5000, "\udcff", ""])
async def test_an_engines_refusal_in_any_words_ends_its_job(
    words: str, valkey: redis.Redis, settings: Settings, client: Client
) -> None:
    class Refusing(ToneEngine):
        def check(self, voice: Card) -> None:
            raise VoiceUnavailable(words)

    async with running(settings, Refusing(4)):
        entry_id = await client.publish({"session_id": "s", "text": "Hi."})
        await until_ended(client, "s")
    error = read_session(valkey, "s")[entry_id].error
    assert error.code == "voice_unavailable"
    assert 0 < len(error.message) <= 1000
