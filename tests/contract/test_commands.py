"""The Redis commands in the contract's pages are accepted as they stand there."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import redis

from tests.conftest import REPOSITORY
from worker.stream.keys import Keys

COMMANDS = (REPOSITORY / "schemas" / "vectors" / "commands.md").read_text()
BLOCKS = [block.splitlines() for block in re.findall(r"^```\n(.*?)^```$", COMMANDS, re.DOTALL | re.MULTILINE)]
KEYS = Keys()
PLACES = {"<last job id>": "1700000000000-7", "<last id>": "1-1", "<bell>": KEYS.audio("bell-4f2a"), "5000": "1"}


def as_words(line: str) -> list[str]:
    for place, value in PLACES.items():
        line = line.replace(place, value)
    assert "<" not in line, line
    return shlex.split(line)


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


def block(command: str) -> list[str]:
    """The commands of the first block that begins with this."""
    return next(lines for lines in BLOCKS if lines[0].startswith(command))


def test_every_command_is_accepted(valkey: redis.Redis) -> None:
    assert len(BLOCKS) >= 7
    for lines in BLOCKS:
        run(valkey, lines)
    for key in valkey.scan_iter("makima:*"):
        valkey.pexpire(key, 60_000)


def test_the_cancel_for_redis_cli_may_be_repeated_with_a_later_job(valkey: redis.Redis) -> None:
    lines = block("MULTI")
    *_, (cut, renewed, nothing) = run(valkey, lines)
    assert (cut, renewed, nothing) == (b"1700000000000-7", 1, None)
    valkey.xadd(KEYS.audio("s1"), {"type": "begin"}, id="1700000000001-0")
    valkey.pexpire(KEYS.audio("s1"), 60_000)
    valkey.delete(KEYS.cut("s1"))
    *_, (cut, renewed, entry) = run(valkey, lines)
    found: Any = valkey.xrevrange(KEYS.audio("s1"), count=1)
    assert found == [(entry, {b"type": b"cancel", b"upto": b"1700000000000-7"})]


def test_a_piece_of_text_that_is_sent_again_is_refused_as_the_page_names_it(valkey: redis.Redis) -> None:
    job, *pieces = block("XADD makima:{speak}:jobs * session_id s1 job_id u2")
    run(valkey, pieces)
    with pytest.raises(redis.ResponseError, match="equal or smaller"):
        run(valkey, pieces)
    assert "text_from stream" in job
    written: Any = valkey.xrange(KEYS.text("s1", "u2"))
    assert b"".join(fields.get(b"text", b"") for _, fields in written) == b"Good morning."


def test_a_bell_is_rung_as_written(valkey: redis.Redis) -> None:
    ring, expire = re.search(r"`(XADD <bell> [^`]+)` with\s+`(PEXPIRE <bell> [^`]+)`", COMMANDS).groups()  # type: ignore[union-attr]
    assert run(valkey, [ring, expire])[1] == 1
    assert valkey.xlen(PLACES["<bell>"]) == 1
