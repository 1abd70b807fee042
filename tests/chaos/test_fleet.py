"""Forked workers are workers like any other, and none outlives its owner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.chaos.fleet import Fleet, Member
from tests.chaos.nursery import REPOSITORY, Nursery
from tests.conftest import Server
from tests.flow.listening import KEYS, check_queue_is_empty, read_session
from tests.processes import is_running, until


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as warm:
        yield warm


@pytest.fixture
def valkey_server(servers: dict[str, Server]) -> Server:
    """One server will do."""
    return servers["valkey"]


@pytest.fixture
def fleet(nursery: Nursery, valkey: redis.Redis, valkey_server: Server, tmp_path: Path) -> Iterator[Fleet]:
    with Fleet(nursery, valkey_server.url, 2, tmp_path, ["--lease-ms", "300", "--pace", "4"]) as two:
        yield two


def _speak(valkey: redis.Redis, session_id: str, text: str = "Hello there.") -> None:
    valkey.xadd(KEYS.jobs, {"session_id": session_id, "text": text})


def _n_ended(valkey: redis.Redis, session_id: str) -> int:
    return sum(len(job.ends) for job in read_session(valkey, session_id).values())


def _names(valkey: redis.Redis) -> list[str]:
    names: Any = valkey.hkeys(KEYS.workers)
    return sorted(name.decode() for name in names)


def _command(pid: int) -> dict[str, str]:
    """What ps knows of a process."""
    names = ("sid", "nlwp", "ppid")
    shown = subprocess.run(
        ["ps", "-o", ",".join(f"{name}=" for name in names), "-p", str(pid)], capture_output=True, text=True, check=True
    )
    return dict(zip(names, shown.stdout.split(), strict=True))


def test_each_member_speaks_in_a_session_of_its_own_under_a_name_of_its_own(fleet: Fleet, valkey: redis.Redis) -> None:
    one, other = fleet.members
    for n in range(6):
        _speak(valkey, f"s{n}")
    assert until(lambda: all(_n_ended(valkey, f"s{n}") for n in range(6)))
    assert until(lambda: valkey.hlen(KEYS.workers) == 2)
    names = _names(valkey)
    assert all(any(name.startswith(member.name_prefix) for name in names) for member in fleet.members)
    assert names[0].split(":")[2] != names[1].split(":")[2], "the secret part is drawn after the fork"
    assert _command(one.pid)["sid"] == str(one.pid)
    assert one.log != other.log


def test_a_drained_member_ends_with_0_and_leaves_nothing(fleet: Fleet, valkey: redis.Redis) -> None:
    _speak(valkey, "s", "A sentence that takes its time. " * 3)
    assert until(lambda: bool(valkey.xlen(KEYS.audio("s"))))
    assert [fleet.drain(member) for member in list(fleet.members)] == [0, 0]
    assert fleet.members == fleet.fallen == []
    assert _n_ended(valkey, "s") == 1
    assert not valkey.hlen(KEYS.workers)
    check_queue_is_empty(valkey)


def test_a_member_killed_is_gone_at_once_and_its_utterance_goes_on(fleet: Fleet, valkey: redis.Redis) -> None:
    _speak(valkey, "s", "A sentence that takes its time. " * 3)
    doomed = _speaker_of_s(fleet, valkey)
    before_s = time.monotonic()
    assert before_s <= fleet.kill(doomed) <= time.monotonic()
    assert not is_running(doomed.pid)
    assert doomed not in fleet.members
    assert until(lambda: _n_ended(valkey, "s") == 1, 20)


def test_a_stopped_member_stands_still_until_it_is_resumed(fleet: Fleet, valkey: redis.Redis) -> None:
    fleet.kill(fleet.members[1])
    [member] = fleet.members
    fleet.stop(member)
    _speak(valkey, "s")
    time.sleep(0.2)
    assert member.is_stopped
    assert not valkey.exists(KEYS.audio("s"))
    fleet.resume(member)
    assert until(lambda: bool(valkey.exists(KEYS.audio("s"))))
    fleet.stop(member)
    assert fleet.drain(member) == 0


def test_a_worker_that_cannot_start_says_why(nursery: Nursery, tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match=r"ended with 1 before it was ready:\n.*--redis-url"),
        Fleet(nursery, "unknown-scheme://", 1, tmp_path),
    ):
        pass


def test_a_nursery_that_died_is_told_of(tmp_path: Path) -> None:
    with Nursery() as nursery:
        worker = nursery.fork(["--help"], tmp_path / "log")
        assert until(lambda: nursery.ended(worker) == 0)
        os.kill(nursery.pid, signal.SIGKILL)
        with pytest.raises(RuntimeError, match="ended with status -9"):
            nursery.ended(worker)
        with pytest.raises(RuntimeError, match="ended with status -9"):
            nursery.fork(["--help"], tmp_path / "log")


OWNER = """
import sys, time
from pathlib import Path
from tests.chaos.fleet import Fleet
from tests.chaos.nursery import Nursery
with Nursery() as nursery, Fleet(nursery, sys.argv[1], 2, Path(sys.argv[2])) as fleet:
    fleet.stop(fleet.members[0])
    print(nursery.pid, *(member.pid for member in fleet.members), flush=True)
    time.sleep(60)
"""


@pytest.mark.slow
def test_nothing_outlives_an_owner_killed_without_a_word(
    valkey: redis.Redis, valkey_server: Server, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", OWNER, valkey_server.url, str(tmp_path)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pids = [int(pid) for pid in owner.stdout.readline().split()]
        assert len(pids) == 3
        owner.kill()
    assert until(lambda: not any(map(is_running, pids)))


def _speaker_of_s(fleet: Fleet, valkey: redis.Redis) -> Member:
    """The member that speaks the only job there is, of the session s."""
    assert until(lambda: bool(valkey.exists(KEYS.audio("s"))))
    [consumer] = valkey.xpending(KEYS.jobs, "workers")["consumers"]
    name = consumer["name"].decode()
    return next(member for member in fleet.members if name.startswith(member.name_prefix))


def test_a_member_that_ends_by_itself_is_found_and_replaced_once(fleet: Fleet) -> None:
    doomed, other = fleet.members
    os.kill(doomed.pid, signal.SIGKILL)
    assert until(lambda: not is_running(doomed.pid) or not fleet.is_alive(doomed))
    assert fleet.replace_fallen() == 1
    assert fleet.fallen == [doomed]
    assert len(fleet.members) == 2
    assert other in fleet.members
    assert fleet.replace_fallen() == 0
    fleet.kill(other)
    assert fleet.fallen == [doomed], "who was killed did not end by itself"
