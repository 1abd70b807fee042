"""Sessions with damaged keys: what is damaged, which jobs may fail, and which may not."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
import redis

from tests.chaos.ledger import PLANTED, Ledger, Published
from tests.chaos.load import Load
from tests.chaos.victims import ABSURD_ID, Victims
from tests.conftest import Server
from worker.stream.keys import Keys

KEYS = Keys()
N_TEXT_DAMAGES = 9


@pytest.fixture
def valkey_server(servers: dict[str, Server]) -> Server:
    """One server will do."""
    return servers["valkey"]


@pytest.fixture
def valkey(valkey: redis.Redis) -> Iterator[redis.Redis]:
    """Nothing of the damage stays."""
    yield valkey
    valkey.flushall()


class Story:
    """Victims without workers: what is put off is done when the test says so; every stream has one entry."""

    def __init__(self, valkey: redis.Redis, seed: int) -> None:
        self.valkey = valkey
        self.ledger = Ledger()
        self.recorder: list[str] = []
        self.notes: list[str] = []
        self.put_off: list[Callable[[], bool | None]] = []
        recorder = SimpleNamespace(
            skip=lambda session_id: self.recorder.append(f"skip {session_id}"),
            begin_again=lambda session_id: self.recorder.append(f"again {session_id}"),
        )
        load = SimpleNamespace(
            ledger=self.ledger, recorder=recorder, publish_for=self._publish, next_job_id=self._next_job_id
        )
        self.victims = Victims(
            valkey, random.Random(seed), cast(Load, load), lambda name, what: self.notes.append(f"{name}: {what}"),
            lambda seconds, do: self.put_off.append(do),
        )  # fmt: skip

    def _next_job_id(self, session_id: str) -> str:
        return f"{session_id}-{len(self.ledger.by_session().get(session_id, []))}"

    def _publish(self, session_id: str, draw: random.Random, open_share: float = 0.0) -> Published:
        job_id = self._next_job_id(session_id)
        job = Published(session_id, job_id, f"{len(self.ledger.jobs) + 1}-0", {"job_id": job_id}, 0.0)
        self.ledger.jobs.append(job)
        if not self.valkey.exists(KEYS.audio(session_id)):
            self.valkey.xadd(KEYS.audio(session_id), {"type": "begin"})
        return job

    def go_on(self) -> bool | None:
        """Do the next thing that was put off."""
        return self.put_off.pop(0)()

    def type_of(self, key: str) -> str:
        return str(self.valkey.type(key), "ascii")  # type: ignore[arg-type]

    @property
    def excepted(self) -> dict[str, tuple[bool, bool]]:
        return {job_id: (one.is_spoilt, one.may_vanish) for job_id, one in self.ledger.excepted.items()}


def test_each_key_of_a_session_is_replaced_and_later_deleted_and_the_next_job_may_not_fail(valkey: redis.Redis) -> None:
    told = {}
    for seed in range(30):
        valkey.flushall()
        story = Story(valkey, seed)
        assert story.victims.odd_session_key()
        assert not story.ledger.excepted, "nothing is damaged yet"
        story.go_on()
        [key] = [key for key in (*_keys("victim-1"),) if story.type_of(key) not in ("none", _right_type(key))]
        story.valkey.type(key)
        story.go_on()
        story.go_on()
        assert story.type_of(key) == "none"
        story.go_on()
        assert len(story.ledger.jobs) == 3
        assert not story.put_off
        told[key.split("}:")[1].split(":")[0]] = (story.excepted, story.recorder)
    assert told == {
        "audio": (
            {"victim-1-0": (True, True), "victim-1-1": (True, True)},
            ["skip victim-1", "again victim-1"],
        ),
        "cut": ({"victim-1-0": (False, False), "victim-1-1": (False, False)}, []),
        "job": ({"victim-1-0": (True, True)}, []),
    }


def _keys(session_id: str) -> tuple[str, str, str]:
    return KEYS.audio(session_id), KEYS.cut(session_id), KEYS.job(session_id, "1-0")


def _right_type(key: str) -> str:
    return "hash" if ":job:" in key else "stream"


def test_each_field_of_a_jobs_hash_is_damaged(valkey: redis.Redis) -> None:
    for seed in range(12):
        valkey.flushall()
        story = Story(valkey, seed)
        for n in range(4):
            assert story.victims.odd_job_field()
            story.go_on()
            first, second = (f"victim-{n + 1}-{i}" for i in range(2))
            assert first in story.excepted
            assert second not in story.excepted
        keys: Any = valkey.keys("*:job:*")
        assert {field for key in keys for field in cast(Any, valkey.hkeys(key))} == {
            b"fence",
            b"began",
            b"end",
            b"base",
        }
        assert all(valkey.ttl(key) > 0 for key in keys)
        vanish = {
            note.split()[2].rstrip(":"): one
            for note, (_, one) in zip(story.notes, story.excepted.values(), strict=True)
        }
        assert vanish == {"fence": False, "began": True, "end": True, "base": False}


def test_odd_entries_are_marked_and_only_an_absurd_id_ends_a_stream(valkey: redis.Redis) -> None:
    for seed in range(6):
        valkey.flushall()
        story = Story(valkey, seed)
        for n in range(6):
            story.victims.odd_entry()
            assert story.go_on() is None
            entries: Any = valkey.xrange(KEYS.audio(f"victim-{n + 1}"))
            stream_id, fields = entries[-1]
            assert PLANTED in fields
            kind = story.notes[-1].split(": ")[2]
            job_id = f"victim-{n + 1}-0"
            assert (job_id in story.excepted) == (kind != "unknown type")
            assert f"victim-{n + 1}-1" not in story.excepted
            if kind == "absurd id":
                assert stream_id == ABSURD_ID.encode()
                story.go_on()
                assert not valkey.exists(KEYS.audio(f"victim-{n + 1}"))
                story.go_on()
            else:
                assert fields[b"type"] in (b"audio", b"news")
        assert len({note.split(": ")[2] for note in story.notes}) == 6


def test_an_odd_entry_waits_for_a_stream(valkey: redis.Redis) -> None:
    story = Story(valkey, 1)
    story.victims.odd_entry()
    valkey.flushall()
    assert story.go_on() is False
    assert not story.ledger.excepted


def test_a_job_that_another_program_has_seen_may_fail_only_where_that_looks_true(valkey: redis.Redis) -> None:
    failing = set()
    for seed in range(60):
        valkey.flushall()
        story = Story(valkey, seed)
        assert story.victims.odd_seen()
        [key] = cast(Any, valkey.keys("*:seen:*"))
        assert ("seen", key) in story.ledger.planted
        failing.add(bool(story.excepted))
        if story.excepted:
            assert story.type_of(key) == "string"
    assert failing == {True, False}


def test_each_text_is_damaged_in_its_turn_and_only_its_own_job_may_fail(valkey: redis.Redis) -> None:
    story = Story(valkey, 1)
    for n in range(1, N_TEXT_DAMAGES + 1):
        key = KEYS.text(f"victim-{n}", f"victim-{n}-0")
        valkey.xadd(key, {"text": "Hello."})
        valkey.expire(key, 60)
        assert story.victims.odd_text()
        assert story.excepted.keys() == {f"victim-{one}-0" for one in range(1, n)}, "nothing is damaged yet"
        story.go_on()
        entries: Any = valkey.xrange(key) if story.type_of(key) == "stream" else []
        assert entries != [(b"1-0", {b"text": b"Hello."})]
        assert story.excepted[f"victim-{n}-0"] == (True, False)
        assert valkey.ttl(key) != -1
    whats = {note.rpartition(": ")[2] for note in story.notes}
    assert {"deleted", "expired", "trimmed", "exhausted"} < whats
    assert len(whats) == N_TEXT_DAMAGES
