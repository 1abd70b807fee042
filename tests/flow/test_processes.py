"""Workers as operators run them: several processes, killed, stopped, drained and reloaded."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis

from tests.conftest import REPOSITORY, Process, Server, eventually
from tests.flow.listening import KEYS, Heard, check_complete, check_queue_is_empty, read_session, until_ended
from worker.stream.client import Client

StartWorker = Callable[..., Process]
LONG = "This is a rather long story about a worker that does not live to see its end. " * 10


async def test_three_workers_and_a_hundred_sessions_keep_every_session_in_order(
    valkey: redis.Redis, client: Client, start_worker: StartWorker
) -> None:
    for _ in range(3):
        start_worker("--slots", "16")
    draw = random.Random(7)
    sessions = [f"session-{n}" for n in range(100)] * 5
    draw.shuffle(sessions)
    published: dict[str, list[str]] = {}
    for n, session_id in enumerate(sessions):
        text = draw.choice(["Yes.", f"This is sentence number {n}.", "Good morning, Makima speaking."])
        entry_id = await client.publish({"session_id": session_id, "text": text, "ttl_ms": "300000"})
        published.setdefault(session_id, []).append(entry_id)
    await eventually(lambda: valkey.xlen(KEYS.jobs) == 0, within_s=90)
    check_queue_is_empty(valkey)
    for session_id, ids in published.items():
        heard = read_session(valkey, session_id)
        assert list(heard) == ids
        for job in heard.values():
            check_complete(job)


async def test_a_killed_workers_utterance_goes_on_at_the_same_sample_with_another(
    valkey: redis.Redis, client: Client, start_worker: StartWorker
) -> None:
    undisturbed = await _spoken_undisturbed(valkey, client, start_worker)
    doomed = start_worker("--pace", "2", "--lease-ms", "1000")
    entry_id = await client.publish({"session_id": "s", "text": LONG, "seed": "1"})
    await eventually(lambda: _n_chunks(valkey, "s", entry_id) > 3)
    start_worker("--pace", "20", "--lease-ms", "1000")
    doomed.send(signal.SIGKILL)
    killed_at, n_chunks = time.monotonic(), _n_chunks(valkey, "s", entry_id)
    await eventually(lambda: _n_chunks(valkey, "s", entry_id) > n_chunks)
    taken_over_s = time.monotonic() - killed_at
    await until_ended(client, "s", within_s=30)
    job = read_session(valkey, "s")[entry_id]
    check_complete(job)
    assert [begin.attempt for _, begin in job.begins] == [1, 2]
    assert job.begins[1][1].resumed_at > 0
    assert job.begins[1][1].resumed_by == "regenerated"
    assert job.data == undisturbed
    assert taken_over_s < 2.5 + 5, "a lease and a half, a second, and what a busy machine adds"


async def test_orphans_go_on_with_a_worker_whose_slots_are_taken_before_any_of_its_own_utterances_ends(
    valkey: redis.Redis, client: Client, start_worker: StartWorker
) -> None:
    flags = ("--pace", "1", "--slots", "2", "--lease-ms", "2000")
    workers = [start_worker(*flags), start_worker(*flags)]
    entry_ids = {f"s{n}": await client.publish({"session_id": f"s{n}", "text": LONG}) for n in range(4)}

    def n_chunks() -> dict[str, int]:
        return {session_id: _n_chunks(valkey, session_id, entry_id) for session_id, entry_id in entry_ids.items()}

    await eventually(lambda: min(n_chunks().values()) > 2, within_s=20)
    workers[0].send(signal.SIGKILL)
    doomed = f":{workers[0].popen.pid}:"
    pending: Any = valkey.xpending_range(KEYS.jobs, "workers", "-", "+", 9)
    lost = {one["message_id"].decode() for one in pending if doomed in one["consumer"].decode()}
    orphans = {session_id for session_id, entry_id in entry_ids.items() if entry_id in lost}
    assert len(orphans) == 2
    before = n_chunks()

    def go_on() -> bool:
        now = n_chunks()
        return all(now[session_id] > before[session_id] for session_id in orphans)

    await eventually(go_on, within_s=20)
    heard = {session_id: _heard(valkey, session_id, entry_id) for session_id, entry_id in entry_ids.items()}
    assert not any(job.ends for job in heard.values())
    assert {session_id: len(job.begins) for session_id, job in heard.items()} == {
        session_id: 2 if session_id in orphans else 1 for session_id in entry_ids
    }
    for session_id in entry_ids:
        await client.cancel(session_id)
    await eventually(lambda: valkey.xlen(KEYS.jobs) == 0, within_s=20)
    check_queue_is_empty(valkey)


async def test_a_worker_that_stood_still_takes_no_running_job_over(
    valkey: redis.Redis, client: Client, start_worker: StartWorker
) -> None:
    """Not its own either: when it goes on, renewals and the search for orphans are due at once."""
    worker = start_worker("--pace", "1", "--slots", "4", "--lease-ms", "1000")
    entry_ids = {f"s{n}": await client.publish({"session_id": f"s{n}", "text": LONG}) for n in range(4)}
    for n_chunks in (2, 4, 6):
        for session_id, entry_id in entry_ids.items():
            await eventually(lambda s=session_id, e=entry_id, n=n_chunks: _n_chunks(valkey, s, e) >= n, within_s=20)  # type: ignore[misc]
        worker.send(signal.SIGSTOP)
        await asyncio.sleep(0.9)
        worker.send(signal.SIGCONT)
    await asyncio.sleep(1)
    for session_id, entry_id in entry_ids.items():
        assert len(_heard(valkey, session_id, entry_id).begins) == 1
        await client.cancel(session_id)
    await eventually(lambda: valkey.xlen(KEYS.jobs) == 0, within_s=20)
    check_queue_is_empty(valkey)


async def test_a_worker_stopped_past_its_lease_writes_nothing_when_it_wakes(
    valkey: redis.Redis, client: Client, start_worker: StartWorker
) -> None:
    stale = start_worker("--pace", "2", "--lease-ms", "2000")
    entry_id = await client.publish({"session_id": "s", "text": LONG})
    await eventually(lambda: _n_chunks(valkey, "s", entry_id) > 2)
    start_worker("--pace", "4", "--lease-ms", "2000")
    stale.send(signal.SIGSTOP)
    await eventually(lambda: len(_heard(valkey, "s", entry_id).begins) == 2)
    stale.send(signal.SIGCONT)
    await until_ended(client, "s", within_s=60)
    await eventually(lambda: valkey.xlen(KEYS.jobs) == 0)
    job = read_session(valkey, "s")[entry_id]  # contiguous, and nothing of a lower epoch after a higher one
    check_complete(job)
    assert len(job.begins) == 2


async def test_sigterm_gives_a_long_utterance_back_at_once(
    valkey: redis.Redis, client: Client, start_worker: StartWorker
) -> None:
    leaving = start_worker("--pace", "2", "--lease-ms", "30000", env={"MAKIMA_TTS_GRACE_S": "0.1"})
    entry_id = await client.publish({"session_id": "s", "text": LONG})
    await eventually(lambda: _n_chunks(valkey, "s", entry_id) > 2)
    start_worker("--lease-ms", "30000")
    assert leaving.end() == 0
    await until_ended(client, "s", within_s=10)
    job = read_session(valkey, "s")[entry_id]
    check_complete(job)
    assert [begin.attempt for _, begin in job.begins] == [1, 1]


def _heard(valkey: redis.Redis, session_id: str, entry_id: str) -> Heard:
    return read_session(valkey, session_id).get(entry_id, Heard())


def _n_chunks(valkey: redis.Redis, session_id: str, entry_id: str) -> int:
    return len(_heard(valkey, session_id, entry_id).chunks)


async def _spoken_undisturbed(valkey: redis.Redis, client: Client, start_worker: StartWorker) -> bytes:
    worker = start_worker()
    entry_id = await client.publish({"session_id": "undisturbed", "text": LONG, "seed": "1"})
    await until_ended(client, "undisturbed", within_s=30)
    await asyncio.to_thread(worker.end)
    return read_session(valkey, "undisturbed")[entry_id].data


async def test_a_worker_without_the_rights_says_so_in_one_line_and_ends(
    valkey: redis.Redis, valkey_server: Server
) -> None:
    valkey.acl_setuser("nobody", enabled=True, passwords=["+secret"], keys=["*"], commands=["+ping"])
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "worker.cli", "worker", "--redis-url", valkey_server.url, "--engine", "preview",
            stderr=asyncio.subprocess.PIPE, cwd=REPOSITORY,
            env={**os.environ, "MAKIMA_TTS_REDIS_USERNAME": "nobody", "MAKIMA_TTS_REDIS_PASSWORD": "secret"},
        )  # fmt: skip
        async with asyncio.timeout(30):
            _, said = await process.communicate()
    finally:
        valkey.acl_deluser("nobody")
    assert process.returncode == 1
    assert b"users.acl" in said.splitlines()[-1]
    assert b"Traceback" not in said
    assert b"secret" not in said


async def test_sighup_reads_the_voices_anew_and_keeps_the_old_ones_when_a_card_is_broken(
    valkey: redis.Redis, client: Client, start_worker: StartWorker, tmp_path: Path
) -> None:
    shutil.copytree(REPOSITORY / "voices" / "placeholder", tmp_path / "placeholder")
    worker = start_worker("--voices-dir", str(tmp_path))
    assert await _speaks_with(valkey, client, "second", "s1") == "unknown_voice"
    shutil.copytree(tmp_path / "placeholder", tmp_path / "second")
    card = tmp_path / "second" / "voice.toml"
    card.write_text(card.read_text("utf-8").replace('name = "placeholder"', 'name = "second"'), "utf-8")
    worker.send(signal.SIGHUP)
    worker.wait_for("voices reloaded")
    assert await _speaks_with(valkey, client, "second", "s2") == "complete"
    card.write_text("name = ", "utf-8")
    worker.send(signal.SIGHUP)
    worker.wait_for("not reloaded")
    assert await _speaks_with(valkey, client, "second", "s3") == "complete"


async def _speaks_with(valkey: redis.Redis, client: Client, voice: str, session_id: str) -> str:
    entry_id = await client.publish({"session_id": session_id, "text": "Hello.", "voice": voice})
    await until_ended(client, session_id)
    [end] = read_session(valkey, session_id)[entry_id].ends
    return str(getattr(end, "code", end.type))
