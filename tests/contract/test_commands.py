"""The Redis commands in the contract's pages are accepted as they stand there."""

from __future__ import annotations

import re
from typing import Any

import redis

from tests.conftest import REPOSITORY
from worker.stream.keys import Keys

COMMANDS = (REPOSITORY / "schemas" / "vectors" / "commands.md").read_text()
KEYS = Keys()
PLACES = {"<last job id>": "1700000000000-7", "<bell>": KEYS.audio("bell-4f2a")}


def as_words(line: str) -> list[str]:
    for place, value in PLACES.items():
        line = line.replace(place, value)
    assert "<" not in line, line
    return line.split()


def run(valkey: redis.Redis, lines: list[str]) -> list[Any]:
    """The answers on one connection. Raises redis.ResponseError."""
    with redis.Redis.from_pool(redis.ConnectionPool(**valkey.connection_pool.connection_kwargs)) as client:
        connection: Any = client.connection_pool.get_connection()
        try:
            answers = []
            for line in lines:
                connection.send_command(*as_words(line))
                answers.append(connection.read_response())
            return answers
        finally:
            client.connection_pool.release(connection)


def test_the_cancel_for_redis_cli_is_accepted_and_may_be_repeated_with_a_later_job(valkey: redis.Redis) -> None:
    (block,) = re.findall(r"^```\n(MULTI\n.*?)^```$", COMMANDS, re.DOTALL | re.MULTILINE)
    lines = block.splitlines()
    *_, (cut, renewed, nothing) = run(valkey, lines)
    assert (cut, renewed, nothing) == (b"1700000000000-7", 1, None)
    valkey.xadd(KEYS.audio("s1"), {"type": "begin"}, id="1700000000001-0")
    valkey.pexpire(KEYS.audio("s1"), 60_000)
    valkey.delete(KEYS.cut("s1"))
    *_, (cut, renewed, entry) = run(valkey, lines)
    found: Any = valkey.xrevrange(KEYS.audio("s1"), count=1)
    assert found == [(entry, {b"type": b"cancel", b"upto": b"1700000000000-7"})]


def test_a_bell_is_rung_as_written(valkey: redis.Redis) -> None:
    ring, expire = re.search(r"`(XADD <bell> [^`]+)` with\s+`(PEXPIRE <bell> [^`]+)`", COMMANDS).groups()  # type: ignore[union-attr]
    assert run(valkey, [ring, expire])[1] == 1
    assert valkey.xlen(PLACES["<bell>"]) == 1
