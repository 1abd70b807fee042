"""Advice by the class of an error: the same sentences in every message about a Redis."""

from __future__ import annotations

import pytest
import redis
from redis import exceptions as kinds

from tests.shell import Run, complaint
from tests.stream.servers import Server, needs_cli, needs_redis, server
from worker.commands.terminal import redis_problem
from worker.stream.transport.address import Address
from worker.stream.transport.advice import advice_on, sentence_on
from worker.stream.transport.open import open_link
from worker.stream.transport.refusal import refusal
from worker.stream.transport.retry import RetryPolicy, UnwillingError

SAID = {
    "NOPERM this user has no permissions to run the 'xadd' command": "users.acl",
    "MOVED 3999 127.0.0.1:6381": "redis+cluster://",
    "ASK 3999 127.0.0.1:6381": "redis+cluster://",
    "MOVED somewhere": "redis+cluster://",
    "CROSSSLOT Keys in request don't hash to the same slot": "redis+cluster://",
    "CLUSTERDOWN Hash slot not served": "CLUSTER INFO",
    "ERR This instance has cluster support disabled": "redis://",
    "ERR No such master with that name": "sentinel monitor",
    "ERR unknown command 'EVALSHA', with args beginning with: ": "rename-command",
    "ERR Unknown Redis command called from script script: 3ab": "rename-command",
    "ERR unknown subcommand 'SLOTS'. Try CLUSTER HELP.": "Redis 7.0 or later",
    "WRONGTYPE Operation against a key holding the wrong kind of value": "queue repair",
    "ERR max number of clients reached": "maxclients",
    "DENIED Redis is running in protected mode because protected mode is enabled": "protected-mode no",
    "NOAUTH Authentication required.": "MAKIMA_TTS_REDIS_PASSWORD_FILE",
    "WRONGPASS invalid username-password pair or user is disabled.": "MAKIMA_TTS_REDIS_PASSWORD_FILE",
    "ERR AUTH <password> called without any password configured for the default user.": "leave MAKIMA_TTS",
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.": "SCRIPT KILL",
    "OOM command not allowed when used memory > 'maxmemory'.": "maxmemory",
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.": "disk",
    "LOADING Redis is loading the dataset in memory": "wait",
    "READONLY You can't write against a read only replica.": "master",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.": "master",
    "NOREPLICAS Not enough good replicas to write.": "min-replicas-to-write",
}


@pytest.mark.parametrize(("words", "mends"), SAID.items(), ids=[words[:30] for words in SAID])
def test_each_refusal_of_a_server_has_its_remedy(words: str, mends: str) -> None:
    error = refusal(words)
    advice = advice_on(error)
    assert advice is not None
    assert mends in advice.remedy
    assert advice.remedy in sentence_on(error)
    assert sentence_on(error) in redis_problem(error)


@pytest.mark.parametrize(
    "words",
    [
        "NOPERM this user has no permissions to run the 'xadd' command",
        "ERR The user executing the script can't run this command or subcommand script: 3ab",  # Redis 7.0
        "ERR ACL failure in script: User u has no permissions to run the 'set' command script: 3ab",  # Valkey
    ],
)
def test_a_missing_right_is_one_within_a_script_too_and_keeps_the_servers_words(words: str) -> None:
    error = refusal(words)
    assert isinstance(error, kinds.NoPermissionError)
    assert str(error) == words


def test_what_was_behind_an_error_counts_too() -> None:
    error = redis.ConnectionError("no connection")
    error.__cause__ = kinds.NoPermissionError("this user has no permissions")
    assert "users.acl" in sentence_on(error)


def test_a_sentence_is_one_line_of_bounded_length() -> None:
    said = sentence_on(UnwillingError("BUSY Redis\n" + "very " * 1000))
    assert "\n" not in said
    assert len(said) < 600


async def test_the_log_and_the_health_check_say_the_same() -> None:
    retry = RetryPolicy("job")
    error = UnwillingError("MISCONF no disk")
    answers: list[Exception | None] = [error, None]

    async def call() -> None:
        if (failed := answers.pop(0)) is not None:
            raise failed

    await retry(call)
    assert retry.last_error == sentence_on(error)


@needs_redis
def test_a_command_that_a_server_has_renamed_is_told(tmp_path_factory: pytest.TempPathFactory, run: Run) -> None:
    with server(tmp_path_factory.mktemp("r") / "r", "--rename-command", "XADD", "") as one:
        line = complaint(run("speak", "Hello.", "--redis-url", one.url))
    assert "XADD" in line
    assert "rename-command" in line


@needs_cli
def test_one_node_of_a_cluster_is_told_by_a_command(nodes: list[Server], run: Run) -> None:
    assert "redis+cluster://" in complaint(run("queue", "status", "--redis-url", nodes[0].url))


@needs_redis
async def test_a_server_that_knows_no_cluster_command_may_be_used(tmp_path_factory: pytest.TempPathFactory) -> None:
    with server(tmp_path_factory.mktemp("r") / "r", "--rename-command", "CLUSTER", "") as one:
        link = open_link(Address(one.url))
        assert await link.call("ECHO", "x") == b"x"
        await link.close()
