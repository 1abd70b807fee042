"""`queue status`, `repair` and `redrive` beside a queue that holds what no worker wrote."""

from __future__ import annotations

import asyncio
import json
from hashlib import sha1
from typing import Any

import pytest
import redis

from tests.conftest import Server, eventually, running
from tests.shell import Done, Run, complaint
from worker.commands.queue.redrive import job_of
from worker.settings import Settings
from worker.stream.integrity import check as soundness
from worker.stream.integrity.check import TYPES
from worker.stream.keys import JOB_PLANE, Keys

KEYS = Keys()
TAG = "makima:{speak}:"
WHY = {"dead_reason": "engine_failed", "dead_attempts": "3", "dead_worker": "w", "dead_id": "1-1"}
JAPANESE = "日本語の文章を話す。" * 400


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soundness, "PAUSE_S", 0)  # nobody is at work beside these


@pytest.fixture
def at(valkey: redis.Redis, valkey_server: Server) -> list[str]:
    del valkey  # empties the server
    return ["--redis-url", valkey_server.url]


def letter(valkey: redis.Redis, fields: dict[Any, Any] | None = None, **more: Any) -> str:
    job = {"session_id": "s1", "text": "a secret text"} if fields is None else fields
    added: Any = valkey.xadd(KEYS.dead, WHY | job | more)
    return str(added.decode())


def said(done: Done) -> str:
    return done.stdout.decode()


# queue status


def test_status_says_that_a_queue_is_sound(at: list[str], run: Run) -> None:
    done = run("queue", "status", *at)
    assert done.returncode == 0
    assert "the queue is sound" in said(done)
    told = json.loads(run("queue", "status", "--json", *at).stdout)
    assert (told["sound"], told["damage"], told["unread"], told["notes"]) == (True, [], [], [])


def test_status_names_each_damage_in_one_printable_line(at: list[str], valkey: redis.Redis, run: Run) -> None:
    valkey.hset(f"{TAG}gates", "A", "oops")
    valkey.hset(f"{TAG}workers", b"\x1b[31mred\xff", b"not json \x1b]0;x\x07")
    valkey.rpush(f"{TAG}ready", *[f"x{n}" for n in range(7)])
    done = run("queue", "status", *at)
    assert done.returncode == 0
    shown = said(done).splitlines()
    assert f"{TAG}gates holds 1 field that no worker wrote: 'A' → 'oops'" in shown
    assert f"{TAG}ready holds 7 elements that no worker wrote: 'x0', 'x1', 'x2', …" in shown
    assert "\x1b" not in said(done)
    assert b"Traceback" not in done.stderr
    told = json.loads(run("queue", "status", "--json", *at).stdout)
    assert told["sound"] is False
    (gate,) = [one for one in told["damage"] if one["key"] == f"{TAG}gates"]
    assert (gate["kind"], gate["count"], gate["examples"]) == ("unwritten", 1, ["'A' → 'oops'"])
    assert gate["remedy"]


@pytest.mark.parametrize("name", JOB_PLANE)
def test_status_survives_a_key_of_another_type(name: str, at: list[str], valkey: redis.Redis, run: Run) -> None:
    if TYPES[name] == "string":
        valkey.rpush(TAG + name, "x")
    else:
        valkey.set(TAG + name, "x")
    done = run("queue", "status", *at)
    assert done.returncode == 0, done.stderr
    words = f"a {'list' if TYPES[name] == 'string' else 'string'} where a "
    assert f"{TAG}{name} is {words}" in said(done)
    told = json.loads(run("queue", "status", "--json", *at).stdout)
    depth = {"jobs": "unsettled", "bell": None, "gates": None, "attempts": None, "workers": None}.get(name, name)
    if depth in told:
        assert told[depth] is None
        assert f"{depth:>10} unreadable: {words}" in said(done)
    assert run("queue", "repair", "--yes", *at).returncode == 0
    assert "the queue is sound" in said(run("queue", "status", *at))


@pytest.mark.parametrize(
    "card",
    [
        "not json", "[]", "7", "null", '"x"', "{", '{"beat": "x"}', '{"beat": 1e999}', '{"beat": NaN}', "[" * 90_000,
        '{"beat": true}', b"\xff\x1b[2J", '{"beat": 1' + "0" * 400 + "}",
    ],
)  # fmt: skip
def test_status_shows_an_odd_card_as_odd(card: Any, at: list[str], valkey: redis.Redis, run: Run) -> None:
    valkey.hset(KEYS.workers, "w1", card)
    done = run("queue", "status", *at)
    assert done.returncode == 0, done.stderr
    assert f"{TAG}workers holds 1 worker's card that no worker wrote: 'w1' → '" in said(done)
    assert "unknown" in said(done) or "in the future" in said(done)
    assert "\x1b" not in said(done)
    assert json.loads(run("queue", "status", "--json", *at).stdout)["sound"] is False


# queue repair


def test_repair_lists_and_changes_nothing_without_yes(at: list[str], valkey: redis.Redis, run: Run) -> None:
    valkey.hset(f"{TAG}gates", "A", "oops")
    valkey.set(f"{TAG}ready", "x")
    done = run("queue", "repair", *at)
    assert done.returncode == 1
    assert "'A' → 'oops'" in said(done)
    assert "rename it to makima:{speak}:aside:<ms>:ready" in said(done)
    assert "--yes" in said(done)
    assert valkey.hgetall(f"{TAG}gates") == {b"A": b"oops"}
    assert valkey.get(f"{TAG}ready") == b"x"


def test_repair_mends_and_tells(at: list[str], valkey: redis.Redis, run: Run) -> None:
    valkey.hset(f"{TAG}gates", "A", "oops")
    valkey.xadd(KEYS.jobs, {"session_id": "A", "text": "Hello."})
    done = run("queue", "repair", "--yes", "--json", *at)
    assert done.returncode == 0
    told = json.loads(done.stdout)
    assert [one["key"] for one in told["found"]] == [f"{TAG}gates", f"{TAG}jobs"]
    assert (told["sound"], told["damage"], told["why"]) == (True, [], [])
    again = run("queue", "repair", "--yes", *at)
    assert (again.returncode, said(again)) == (0, "the queue is sound\n")
    assert valkey.xlen(KEYS.jobs) == 1


# queue redrive


@pytest.mark.parametrize("text", ["x" * 5000, JAPANESE[:4000], "\u202eodd \x00 text"])
def test_redrive_publishes_a_letter_whole(text: str, at: list[str], valkey: redis.Redis, run: Run) -> None:
    letter(valkey, text=text, x_unknown=b"\xff\x00")
    done = run("queue", "redrive", "--all", *at)
    assert done.returncode == 0, done.stderr
    assert said(done) == "published 1 dead jobs again\n"
    ((_, fields),) = valkey.xrange(KEYS.jobs)  # type: ignore[misc]
    assert fields == {b"session_id": b"s1", b"text": text.encode(), b"x_unknown": b"\xff\x00"}
    assert valkey.xlen(KEYS.dead) == 0


@pytest.mark.parametrize("text", ["x" * 5000, JAPANESE[:4000]])
async def test_a_long_text_comes_back_from_the_dead_letters_whole(
    text: str, at: list[str], valkey: redis.Redis, settings: Settings, run: Run
) -> None:
    async with running(settings):
        valkey.xadd(KEYS.jobs, {"session_id": "s1", "text": text, "voice": "nobody"})
        await eventually(lambda: valkey.xlen(KEYS.dead) == 1, within_s=20)
    done = await asyncio.to_thread(run, "queue", "redrive", "--all", *at)
    assert said(done) == "published 1 dead jobs again\n"
    ((_, fields),) = valkey.xrange(KEYS.jobs)  # type: ignore[misc]
    assert fields == {b"session_id": b"s1", b"text": text.encode(), b"voice": b"nobody"}


REFUSED: dict[str, tuple[dict[Any, Any], str]] = {
    "cut": ({"dead_cut": "text", "session_id": "s1", "text": "x" * 4096}, "its text was too long to be kept whole"),
    "without session": ({"text": "x"}, "session_id is missing"),
    "without text": ({"session_id": "s1"}, "text is missing"),
    "no UTF-8": ({"session_id": "s1", "text": b"\xff"}, "text is not UTF-8"),
    "odd session": ({"session_id": "\x1b[31m", "text": "x"}, "session_id is"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_redrive_refuses_what_cannot_be_spoken_and_goes_on(
    name: str, at: list[str], valkey: redis.Redis, run: Run
) -> None:
    fields, words = REFUSED[name]
    first, odd, last = letter(valkey), letter(valkey, fields), letter(valkey, session_id="s2")
    done = run("queue", "redrive", "--all", *at)
    assert done.returncode == 1
    assert said(done) == "published 2 dead jobs again\n"
    line = done.stderr.decode()
    assert line.startswith(f"makima-tts: {odd} stays: ")
    assert words in line
    assert line.rstrip("\n").isprintable()
    assert [entry_id.decode() for entry_id, _ in valkey.xrange(KEYS.dead)] == [odd]  # type: ignore[union-attr]
    assert first != last


def test_redrive_takes_no_letter_out_that_could_not_be_published(at: list[str], valkey: redis.Redis, run: Run) -> None:
    one = letter(valkey)
    valkey.set(KEYS.jobs, "x")
    done = run("queue", "redrive", "--all", *at)
    assert done.returncode == 1
    assert f"stopped at letter {one}" in done.stderr.decode()
    assert "queue repair" in done.stderr.decode()
    assert valkey.xlen(KEYS.dead) == 1
    valkey.delete(KEYS.jobs)
    assert run("queue", "redrive", one, *at).returncode == 0


def test_redrive_of_a_key_of_another_type_says_so(at: list[str], valkey: redis.Redis, run: Run) -> None:
    valkey.set(KEYS.dead, "x")
    for words in (["--all"], ["5-5"]):
        done = run("queue", "redrive", *words, *at)
        assert done.returncode == 1
        assert "queue repair" in done.stderr.decode()
    assert run("queue", "dead", *at).returncode == 1
    valkey.delete(KEYS.dead)


@pytest.mark.parametrize("odd", ["nonsense", "", "5", "5-5-5", "18446744073709551616-0", "\x1b[31m", "-"])
def test_redrive_of_what_is_no_id_does_nothing(odd: str, at: list[str], valkey: redis.Redis, run: Run) -> None:
    one = letter(valkey)
    done = run("queue", "redrive", one, *at, "--", odd)
    assert done.returncode == 2
    assert "is not an id" in complaint(done)
    assert complaint(done).isprintable()
    assert valkey.xlen(KEYS.dead) == 1
    valkey.delete(KEYS.dead)


def test_redrive_of_a_job_that_was_published_again_leaves_the_letter(
    at: list[str], valkey: redis.Redis, run: Run
) -> None:
    one = letter(valkey, job_id="j1")
    valkey.xadd(KEYS.jobs, {"session_id": "s1", "text": "x", "job_id": "j1"})
    jobs: Any = valkey.xrange(KEYS.jobs)
    ((entry_id, _),) = jobs
    valkey.set(KEYS.seen_prefix + sha1(b"s1 j1", usedforsecurity=False).hexdigest(), entry_id, ex=60)
    done = run("queue", "redrive", "--all", *at)
    assert f"{one} stays: " in done.stderr.decode()
    assert valkey.xlen(KEYS.jobs) == 1


def test_a_publishers_own_dead_fields_are_published_again() -> None:
    flat = [b"dead_reason", b"r", b"dead_attempts", b"1", b"dead_worker", b"w", b"dead_id", b"1-1"]
    job = [b"session_id", b"s", b"text", b"t", b"dead_reason", b"mine", b"dead_cut", b"text", b"dead_id", b"9"]
    assert job_of(flat + job) == (b"", job)
    assert job_of([*flat, b"dead_cut", b"text", *job]) == (b"text", job)
    by_hand = [b"session_id", b"s", b"dead_id", b"1-1", b"text", b"t", b"dead_id", b"mine"]
    assert job_of(by_hand) == (b"", [b"session_id", b"s", b"text", b"t", b"dead_id", b"mine"])
