"""Two workers go on speaking while every key of the job plane is damaged in turn, the job stream too."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.chaos.damage import PLANE, Damage
from tests.chaos.fleet import Fleet
from tests.chaos.ledger import Ledger
from tests.chaos.nursery import Nursery
from tests.conftest import Server
from tests.flow.listening import KEYS, read_session
from tests.processes import until

SESSIONS = ("a", "b", "c")
LONG = "A sentence that takes its time, and another one behind it. " * 8
APART_S = 0.2
WITHIN_S = 90.0


@pytest.fixture
def valkey_server(servers: dict[str, Server]) -> Server:
    """One server will do."""
    return servers["valkey"]


@pytest.fixture
def valkey(valkey: redis.Redis) -> Iterator[redis.Redis]:
    """Nothing of the damage stays."""
    yield valkey
    valkey.flushall()


@pytest.fixture
def fleet(valkey: redis.Redis, valkey_server: Server, tmp_path: Path) -> Iterator[Fleet]:
    with Nursery() as nursery, Fleet(nursery, valkey_server.url, 2, tmp_path, ["--pace", "2"]) as two:
        yield two


def _speak(valkey: redis.Redis, text: str) -> None:
    for session_id in SESSIONS:
        valkey.xadd(KEYS.jobs, {"session_id": session_id, "text": text})


def _ends(valkey: redis.Redis) -> list[str]:
    return [
        end.type for session_id in SESSIONS for job in read_session(valkey, session_id).values() for end in job.ends
    ]


def _are_speaking(valkey: redis.Redis) -> bool:
    return all(valkey.xlen(KEYS.audio(session_id)) > 1 for session_id in SESSIONS)


def _check_fleet(fleet: Fleet) -> None:
    fleet.find_fallen()
    assert [member.log.read_text() for member in fleet.fallen] == []


@pytest.mark.slow
def test_three_sessions_complete_while_every_key_is_damaged_in_turn(fleet: Fleet, valkey: redis.Redis) -> None:
    damage = Damage(valkey, random.Random(1), Ledger(), lambda name, what: None)
    _speak(valkey, LONG)
    assert until(lambda: _are_speaking(valkey), WITHIN_S)
    for do in (damage.odd_member, damage.other_type, damage.odd_member):
        for _ in range(len(PLANE)):
            assert until(lambda do=do: _is_done(do), WITHIN_S)  # type: ignore[misc]
            time.sleep(APART_S)
    assert until(lambda: len(_ends(valkey)) == len(SESSIONS), WITHIN_S)
    _speak(valkey, "Once more.")
    assert until(lambda: len(_ends(valkey)) == 2 * len(SESSIONS), WITHIN_S)
    assert set(_ends(valkey)) == {"complete"}
    _check_fleet(fleet)


def _is_done(do: Any) -> bool:
    """False while a key has another type yet, which some worker is to put aside."""
    try:
        return bool(do())
    except redis.ResponseError:
        return False


@pytest.mark.slow
def test_what_is_spoken_completes_when_the_stream_of_jobs_is_replaced(fleet: Fleet, valkey: redis.Redis) -> None:
    """What waited is lost by that; what comes later is spoken."""
    _speak(valkey, LONG)
    assert until(lambda: _are_speaking(valkey), WITHIN_S)
    valkey.set(KEYS.jobs, "odd")
    assert until(lambda: len(_ends(valkey)) == len(SESSIONS), WITHIN_S)
    assert until(lambda: valkey.type(KEYS.jobs) != b"string", WITHIN_S)
    _speak(valkey, "Once more.")
    assert until(lambda: len(_ends(valkey)) == 2 * len(SESSIONS), WITHIN_S)
    assert set(_ends(valkey)) == {"complete"}
    _check_fleet(fleet)
