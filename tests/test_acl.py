"""The ACL file and the operator's redis-cli lines, on a stock Redis started as compose starts it."""

from __future__ import annotations

import re
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

REPOSITORY = Path(__file__).resolve().parent.parent
USERS = ("producer", "relay", "worker", "operator")
AUDIO, CUT, JOB = "makima:{s1}:audio", "makima:{s1}:cut", "makima:{s1}:job:1-1"
JOBS, DEAD, GATES = "makima:{speak}:jobs", "makima:{speak}:dead", "makima:{speak}:gates"
SEEN = "makima:{speak}:seen:0123456789abcdef"

ALLOWED = {
    "producer": [f"XADD {JOBS} * session_id s1 text hello", "MULTI", "EXEC", "PING", "SELECT 0"],
    "relay": [
        f"XREAD BLOCK 1 STREAMS {AUDIO} 0",
        f"XREAD STREAMS {AUDIO} makima:{{s2}}:audio 0 0",
        f"XREVRANGE {AUDIO} + - COUNT 1",
        f"XADD {CUT} MAXLEN 1 1-1 type cancel",
        f"XADD {AUDIO} NOMKSTREAM 2-0 type cancel upto 1-1",
        f"PEXPIRE {CUT} 600000",
        f"PEXPIRE {AUDIO} 10000",
        f"XTRIM {AUDIO} MINID 1-1",
        "MULTI",
        "EXEC",
        "TIME",
        "PING",
    ],
    "worker": [
        f"EVALSHA 0123 3 {AUDIO} {CUT} {JOB}",
        f"EVALSHA 0123 3 {JOBS} {DEAD} {GATES}",
        "SCRIPT LOAD x",
        f"XREAD BLOCK 1 STREAMS {JOBS} makima:{{speak}}:bell 0 0",
        f"XREADGROUP GROUP workers w STREAMS {JOBS} >",
        f"XACK {JOBS} workers 1-1",
        f"XDEL {JOBS} 1-1",
        f"XCLAIM {JOBS} workers w 0 1-1 JUSTID",
        f"XPENDING {JOBS} workers",
        f"XGROUP CREATE {JOBS} workers 0 MKSTREAM",
        f"XINFO STREAM {AUDIO}",
        f"XADD {AUDIO} NOMKSTREAM 1-1 type audio",
        f"XADD {DEAD} * dead_reason x",
        f"HSET {JOB} fence 1",
        f"HSETNX {JOB} end complete",
        f"SET {SEEN} 1-1 PX 1000",
        "ZRANGEBYLEX makima:{speak}:waiting - +",
        f"PEXPIRE {JOB} 600000",
        "HVALS makima:{speak}:workers",
        "TIME",
        "PING",
    ],
    "operator": [
        f"XPENDING {JOBS} workers - + 10",
        f"XINFO CONSUMERS {JOBS} workers",
        f"XRANGE {DEAD} - +",
        f"HGETALL {GATES}",
        f"XRANGE {AUDIO} - +",
        f"XLEN {JOBS}",
        f"XADD {JOBS} * session_id s1 text again",
        f"DEL {SEEN}",
        f"XDEL {DEAD} 1-1",
        f"XADD {CUT} MAXLEN 1 1-1 type cancel",
        f"XADD {AUDIO} NOMKSTREAM * type cancel upto 1-1",
        f"PEXPIRE {CUT} 600000",
        "MULTI",
        "EXEC",
        "TIME",
        "INFO",
    ],
}
FOR_NOBODY = [
    "FLUSHALL",
    "KEYS *",
    "CONFIG GET requirepass",
    "ACL LIST",
    "SHUTDOWN",
    "GET other",
    "SET other 1",
]
REFUSED = {
    "producer": [
        f"XRANGE {JOBS} - +",
        f"XREAD STREAMS {JOBS} 0",
        f"XDEL {JOBS} 1-1",
        f"DEL {JOBS}",
        f"XADD {AUDIO} * type audio",
        f"XADD {DEAD} * a b",
        f"EVAL x 1 {JOBS}",
    ],
    "relay": [
        f"DEL {AUDIO}",
        f"UNLINK {AUDIO}",
        f"XADD {JOBS} * session_id s1 text hello",
        f"XREAD STREAMS {JOBS} 0",
        f"XREVRANGE {DEAD} + -",
        f"HSET {JOB} end complete",
        f"EVAL x 1 {AUDIO}",
        f"SET {AUDIO} x",
    ],
    "worker": [f"DEL {JOBS}", f"DEL {AUDIO}", "XADD other:{speak}:jobs * a b", "SCRIPT FLUSH", "CLIENT LIST"],
    "operator": [
        f"DEL {JOBS}",
        f"DEL {AUDIO}",
        f"XDEL {JOBS} 1-1",
        f"XTRIM {JOBS} MAXLEN 0",
        f"XACK {JOBS} workers 1-1",
        f"HSET {GATES} s1 1-1",
        f"EVAL x 1 {JOBS}",
    ],
    "health": ["TIME", f"XLEN {JOBS}"],
}


def pairs(table: dict[str, list[str]]) -> list[tuple[str, str]]:
    return [(user, command) for user, commands in table.items() for command in commands]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A stock redis-server; beside the file's users it has one for the tests that may do everything."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed; the ACL file is not tried on a real server")
    folder = tmp_path_factory.mktemp("redis")
    shutil.copytree(REPOSITORY / "deploy" / "redis", folder / "deploy")
    with (folder / "deploy" / "users.acl").open("a") as acl:
        acl.write("user test on nopass ~* &* +@all\n")
    for user in USERS:
        (folder / user).write_text(f"password of {user}\n")
    port, acl_file = free_port(), folder / "loaded.acl"
    arguments = f"--port {port} --bind 127.0.0.1 --dir {folder} --save '' --aclfile {acl_file}"
    server = subprocess.Popen(
        ["sh", str(folder / "deploy" / "start.sh"), *shlex.split(arguments)],
        env={"PATH": "/usr/bin:/bin:/usr/local/bin", "SECRETS": str(folder), "ACL": str(acl_file)},
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_for(port, server)
        yield port
    finally:
        server.terminate()
        server.wait()


def wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + 10
    while time.monotonic() < deadline_s and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    pytest.fail("redis-server did not start with deploy/redis/users.acl")


def client(port: int, user: str, password: str | None = None) -> redis.Redis:
    password = password or f"password of {user}"
    return redis.Redis(
        port=port,
        username=user,
        password=password,
        protocol=2,
        decode_responses=True,
        retry=Retry(NoBackoff(), 0),
    )


@pytest.fixture
def anybody(port: int) -> Iterator[redis.Redis]:
    with client(port, "test") as connection:
        yield connection


def verdict(anybody: redis.Redis, user: str, command: str) -> str:
    """What Redis would answer this user: OK, or why not."""
    return str(anybody.acl_dryrun(user, *command.split()))


@pytest.mark.parametrize(("user", "command"), pairs(ALLOWED))
def test_each_user_may_do_its_work(anybody: redis.Redis, user: str, command: str) -> None:
    assert verdict(anybody, user, command) == "OK"


@pytest.mark.parametrize(("user", "command"), pairs(REFUSED))
def test_each_user_may_do_nothing_else(anybody: redis.Redis, user: str, command: str) -> None:
    assert "no permissions" in verdict(anybody, user, command)


@pytest.mark.parametrize("user", [*USERS, "health", "default"])
def test_some_things_nobody_may_do(anybody: redis.Redis, user: str) -> None:
    for command in FOR_NOBODY:
        assert "no permissions" in verdict(anybody, user, command)


def test_a_client_without_a_name_may_do_nothing(port: int) -> None:
    with (
        redis.Redis(port=port, retry=Retry(NoBackoff(), 0)) as connection,
        pytest.raises(redis.AuthenticationError),
    ):
        connection.ping()


@pytest.mark.parametrize("user", USERS)
def test_only_the_password_from_the_secret_opens(port: int, user: str) -> None:
    with client(port, user) as connection:
        assert connection.ping()
    with client(port, user, f"change-me-{user}") as connection, pytest.raises(redis.AuthenticationError):
        connection.ping()


TAKE = "return redis.call('XREADGROUP', 'GROUP', 'workers', 'w', 'STREAMS', KEYS[1], '>')"


def test_a_job_is_published_taken_and_spoken_by_these_users(port: int) -> None:
    with client(port, "producer") as producer, client(port, "worker") as worker:
        entry = producer.xadd(JOBS, {"session_id": "s1", "text": "hello"})
        worker.xgroup_create(JOBS, "workers", "0", mkstream=True)
        taken: Any = worker.eval(TAKE, 1, JOBS)
        assert taken[0][1][0][0] == entry
        worker.hset(GATES, "s1", str(entry))
        worker.xadd(AUDIO, {"type": "begin"})
        with pytest.raises(redis.exceptions.NoPermissionError):
            producer.xrange(JOBS)
    with client(port, "operator") as operator:
        assert operator.xpending(JOBS, "workers")["pending"] == 1


def test_a_relay_listens_and_cancels_but_deletes_nothing(port: int) -> None:
    with client(port, "worker") as worker, client(port, "relay") as relay:
        worker.xadd(AUDIO, {"type": "begin"})
        assert relay.xread({AUDIO: "0"}, block=1000)
        with relay.pipeline(transaction=True) as cancel:
            cancel.xadd(CUT, {"type": "cancel"}, id="1-1", maxlen=1, approximate=False)
            cancel.pexpire(CUT, 600_000)
            cancel.xadd(AUDIO, {"type": "cancel", "upto": "1-1"}, nomkstream=True)
            assert len(cancel.execute()) == 3
        with pytest.raises(redis.exceptions.NoPermissionError):
            relay.delete(AUDIO)


def test_the_worker_may_call_every_command_its_scripts_call(anybody: redis.Redis) -> None:
    scripts = list((REPOSITORY / "worker" / "stream" / "scripts").glob("*.lua"))
    called = {
        name.upper()
        for script in scripts
        for name in re.findall(r"redis\.p?call\(\s*['\"](\w+)['\"]", script.read_text("utf-8"))
    }
    rules = (REPOSITORY / "deploy" / "redis" / "users.acl").read_text()
    worker = next(line for line in rules.splitlines() if line.startswith("user worker "))
    allowed = {word[1:].upper() for word in worker.split() if word.startswith("+")}
    assert scripts
    assert called <= allowed


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
def test_the_operators_redis_cli_lines_work_for_the_operator(port: int, busy: str, anybody: redis.Redis) -> None:
    cli = f"redis-cli -p {port} --user operator --pass 'password of operator' --no-auth-warning"
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
