"""A live server refuses commands beyond the rights of a user, and nothing changes."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import redis

from tests.security.deployed import Deployed
from tests.security.rights import AUDIO, BELL, CUT, DEAD, GATES, JOB, JOBS, SEEN
from tests.stream.servers import needs_redis

pytestmark = needs_redis

FOR_NOBODY = f"""
FLUSHALL | KEYS * | CONFIG GET * | ACL LIST | SHUTDOWN NOSAVE | MONITOR | REPLICAOF NO ONE | SCRIPT FLUSH
CLIENT LIST | CLIENT KILL TYPE normal | CLIENT TRACKING ON BCAST | SUBSCRIBE c | PUBLISH c m | SLOWLOG GET
DEL {AUDIO} | UNLINK {AUDIO} | RENAME {AUDIO} other | COPY {AUDIO} other | DUMP {AUDIO} | SET {AUDIO} x
XSETID {JOBS} 9-9 | FLUSHDB | UNLINK {JOBS} | XDEL {AUDIO} 1-1 | GET other | SET other 1
XADD other:{{speak}}:jobs * a b | XADD makima2:{{speak}}:jobs * a b | XREAD STREAMS other:{{s1}}:audio 0
"""
BUT_FOR_THE_OPERATOR = f"""
SCAN 0 | DEL {JOBS} | XTRIM {JOBS} MAXLEN 0 | XGROUP DESTROY {JOBS} workers
"""
REFUSED = {
    "producer": f"""
XRANGE {JOBS} - + | XREAD STREAMS {JOBS} 0 | XLEN {JOBS} | XDEL {JOBS} 1-1 | XADD {DEAD} * a b | XADD {CUT} * a b
XREAD STREAMS {AUDIO} 0 | XADD {AUDIO} * type audio | HGETALL {JOB} | EVAL "return 1" 1 {JOBS} | MULTI | TIME | INFO
""",
    "relay": f"""
PEXPIRE {JOBS} 1 | XRANGE {JOBS} - + | XLEN {JOBS} | XREAD STREAMS {JOBS} 0 | XREAD STREAMS {AUDIO} {JOBS} 0 0
XADD {DEAD} * a b | XADD {BELL} * a b | PUBLISH {AUDIO} 1-1
XREVRANGE {DEAD} + - | XREVRANGE {CUT} + - | XTRIM {CUT} MAXLEN 0 | HSET {JOB} end complete
HGETALL {GATES} | EVAL "return 1" 1 {AUDIO} | INFO
""",
    "worker": f"""
XTRIM {AUDIO} MAXLEN 0 | HDEL {JOB} end | SET {CUT} x | XREAD STREAMS {CUT} 0 | HGETALL {GATES} | MULTI | INFO
EVAL "return redis.call('FLUSHALL')" 0 | EVAL "return redis.call('DEL', KEYS[1])" 1 {JOBS}
EVAL "return redis.call('DEL', '{AUDIO}')" 0 | EVAL "return redis.call('SET', 'other', '1')" 0
EVAL "return 1" 1 other | EVAL "return 1" 2 {JOBS} {AUDIO}
""",
    "operator": f"""
XTRIM {AUDIO} MAXLEN 0 | DEL {AUDIO} | HSET {JOB} end complete | HDEL {JOB} end | SET {CUT} x | RENAME {JOBS} {AUDIO}
RENAME other {JOBS} | XREAD STREAMS {JOBS} 0 | XREADGROUP GROUP workers w STREAMS {JOBS} > | XGROUP CREATE {AUDIO} g 0
EVAL "return redis.call('FLUSHALL')" 0 | EVAL "return redis.call('DEL', '{AUDIO}')" 0 | EVAL "return 1" 1 other
EVAL "return redis.call('SET', 'other', '1')" 0 | EVAL "return 1" 2 {JOBS} {AUDIO} | KEYS * | FLUSHALL | CONFIG GET *
""",
}


REFUSAL = re.compile(
    "no permissions|user executing the script can't (run this command|access at least one of the keys)"
)


def commands(text: str) -> list[list[str]]:
    return [shlex.split(command) for line in text.splitlines() if line for command in line.split(" | ")]


@pytest.fixture
def contents(server: Deployed) -> dict[str, Any]:
    """A key of each kind, as it lies on the server."""
    with server.access.client("test") as anybody:
        anybody.xadd(JOBS, {"session_id": "s1", "text": "Hello."})
        anybody.xgroup_create(JOBS, "workers", "0")
        anybody.xreadgroup("workers", "w", {JOBS: ">"})
        anybody.xadd(AUDIO, {"type": "begin"}, id="1-1")
        anybody.xadd(CUT, {"type": "cancel"})
        anybody.xadd(DEAD, {"dead_reason": "internal"})
        anybody.hset(JOB, "end", "cancelled")
        anybody.hset(GATES, "s1", "1-1")
        anybody.set(SEEN, "1-1")
        anybody.set("other", "secret")
    return look(server)


def look(server: Deployed) -> dict[str, Any]:
    """Every key with its value and its time to live."""
    with server.access.client("test", decode_responses=False) as anybody:
        return {key: (anybody.dump(key), anybody.ttl(key)) for key in anybody.keys("*")}


@pytest.mark.parametrize("user", REFUSED)
def test_what_is_not_theirs_is_refused_and_changes_nothing(
    server: Deployed, user: str, contents: dict[str, Any]
) -> None:
    with server.access.client(user) as client:
        for words in commands(FOR_NOBODY + REFUSED[user] + (BUT_FOR_THE_OPERATOR if user != "operator" else "")):
            with pytest.raises(redis.ResponseError, match=REFUSAL):
                client.execute_command(*words)
    assert look(server) == contents
