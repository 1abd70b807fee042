"""The redis-cli lines of docs/operations.md work on a deployed Redis."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from tests.conftest import REPOSITORY
from tests.security.deployed import Deployed
from tests.security.rights import AUDIO, CUT, DEAD, GATES, JOBS


@pytest.fixture
def anybody(server: Deployed) -> Iterator[redis.Redis]:
    with server.access.client("test") as client:
        yield client


def recipes() -> list[str]:
    """The sh blocks of docs/operations.md, in order; `$id` is set by one of them."""
    text = (REPOSITORY / "docs" / "operations.md").read_text("utf-8")
    found = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    assert len(found) >= 9
    return found


@pytest.fixture
def busy(anybody: redis.Redis) -> str:
    """A Redis with a running job, a waiting, a delayed and a dead one; returns the running one's id."""
    anybody.flushall()
    running, waiting, later = (
        str(anybody.xadd(JOBS, {"session_id": session, "text": session})) for session in ("s1", "s1", "s2")
    )
    anybody.xgroup_create(JOBS, "workers", "0")
    anybody.xreadgroup("workers", "host:1:aa", {JOBS: ">"}, count=1)
    anybody.hset(GATES, "s1", running)
    anybody.hset("makima:{speak}:attempts", running, "1 1700000000000")
    anybody.hset("makima:{speak}:workers", "host:1:aa", "{}")
    anybody.zadd("makima:{speak}:waiting", {"s1 " + "-".join(p.zfill(20) for p in waiting.split("-")): 0})
    anybody.zadd("makima:{speak}:delayed", {later: 1_700_000_000_000})
    anybody.rpush("makima:{speak}:ready", "9-9")
    anybody.xadd(DEAD, {"dead_reason": "engine_failed", "session_id": "s3"})
    anybody.xadd(AUDIO, {"type": "begin", "entry": running})
    anybody.hset(f"makima:{{s1}}:job:{running}", mapping={"fence": "1", "began": "0"})
    return running


@pytest.mark.skipif(shutil.which("redis-cli") is None, reason="redis-cli is not installed")
def test_the_operators_redis_cli_lines_work_for_the_operator(server: Deployed, busy: str, anybody: redis.Redis) -> None:
    password = server.access.password("operator")
    cli = f"redis-cli -p {server.port} --user operator --pass '{password}' --no-auth-warning"
    said = run(["set -e", *(recipe.replace("redis-cli", cli) for recipe in recipes())])
    refusal = re.compile(r"(\(error\) )?(ERR|NOPERM|NOAUTH|WRONGTYPE)\b")
    assert [line for line in said.splitlines() if refusal.match(line)] == []
    for word in ("host:1:aa", "engine_failed", "began", "s1 0000", "1700000000000", "9-9", "last-generated"):
        assert word in said
    audio: Any = anybody.xrange(AUDIO)
    assert [fields["type"] for _, fields in audio] == ["begin", "cancel", "cancel"]
    cuts: Any = anybody.xrange(CUT)
    assert len(cuts) == 1
    ms, _, seq = cuts[0][0].partition("-")
    assert seq == str(2**64 - 1)
    assert int(busy.split("-", maxsplit=1)[0]) <= int(ms) <= time.time() * 1000
    assert 0 < anybody.pttl(CUT) <= 600_000


def test_a_cancel_that_comes_twice_is_answered_with_a_harmless_error(anybody: redis.Redis, busy: str) -> None:
    anybody.xadd(CUT, {"type": "cancel"}, id=busy, maxlen=1, approximate=False)
    with pytest.raises(redis.ResponseError, match="equal or smaller"):
        anybody.xadd(CUT, {"type": "cancel"}, id=busy, maxlen=1, approximate=False)


def run(script: list[str]) -> str:
    return subprocess.run(
        ["sh", "-c", "\n".join(script)], capture_output=True, text=True, check=True, timeout=60
    ).stdout
