"""Hints: a worker publishes the ID of each entry, and speaks without them where it may not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from tests.conftest import REPOSITORY, Server, make_settings, running
from tests.flow.listening import KEYS, until_ended
from tests.tone import ToneEngine
from worker.settings import Settings
from worker.stream.client import Client

FIELDS = {"session_id": "s", "text": "Hello there."}


@pytest.fixture
def hinted(valkey: redis.Redis) -> Iterator[Any]:
    """The IDs that hints name, as a function."""
    with valkey.pubsub() as reader:  # type: ignore[no-untyped-call]
        reader.subscribe(KEYS.audio("s"))
        yield lambda: received(reader)


def received(reader: Any) -> list[bytes]:
    reader.ping()
    found = []
    while (message := reader.get_message(timeout=5)) is not None and message["type"] != "pong":
        found += [message["data"]] if message["type"] == "message" else []
    return found


async def test_each_entry_is_announced_by_itself_or_by_a_later_one(
    valkey: redis.Redis, settings: Settings, client: Client, hinted: Any
) -> None:
    async with running(settings, ToneEngine(1)):
        await client.publish(FIELDS)
        await until_ended(client, "s")
    entries: Any = valkey.xrange(KEYS.audio("s"))
    expected = [stream_id for stream_id, fields in entries if fields[b"type"] != b"segment"]
    assert hinted() == expected


async def test_a_worker_publishes_no_hints_where_they_are_off(settings: Settings, client: Client, hinted: Any) -> None:
    async with running(settings.model_copy(update={"hints": False}), ToneEngine(1)):
        await client.publish(FIELDS)
        await until_ended(client, "s")
    assert hinted() == []


@pytest.fixture(params=["&makima:*", "+publish"])
def hushed(request: pytest.FixtureRequest, valkey: redis.Redis, valkey_server: Server) -> Iterator[Settings]:
    """A worker whose user lacks the right, and nothing refused yet."""
    rules = (REPOSITORY / "deploy/redis/users.acl").read_text("utf-8").splitlines()
    line = next(line for line in rules if line.startswith("user worker "))
    words = [word for word in line.split()[2:] if word != request.param]
    valkey.execute_command("ACL", "SETUSER", "hushed", *words)  # type: ignore[no-untyped-call]
    valkey.acl_log_reset()
    yield make_settings(valkey_server.url, redis_username="hushed", redis_password="change-me-worker")
    valkey.acl_deluser("hushed")


async def test_a_worker_without_the_right_says_so_and_speaks_without_hints(
    hushed: Settings, valkey: redis.Redis, client: Client, hinted: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(hushed, ToneEngine(1)):
        await client.publish(FIELDS)
        await until_ended(client, "s")
    refused: Any = valkey.acl_log()
    assert hinted() == []
    assert [entry["count"] for entry in refused] == [1]  # at the start, and by no write
    (warning,) = [one for one in caplog.messages if "hints" in one]
    assert "users.acl" in warning
    assert "MAKIMA_TTS_HINTS" in warning
