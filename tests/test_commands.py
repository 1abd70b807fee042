"""The commands at work: speak, cancel and the queue, on real servers with a worker of its own process."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
import soundfile

from tests.conftest import Process, Server
from tests.processes import until
from tests.shell import Run, audible_s, complaint, start
from worker.stream.keys import Keys

KEYS = Keys()
LONG = "This is a long story that nobody will hear to its end. " * 20


@pytest.fixture
def valkey_server(servers: dict[str, Server]) -> Server:
    """One server will do: what the commands send is tried on both kinds by the flows."""
    return servers["valkey"]


def last_of(valkey: redis.Redis, session_id: str) -> bytes:
    """The type of the last entry that a session was sent."""
    last: Any = valkey.xrevrange(KEYS.audio(session_id), count=1)
    kind: bytes = last[0][1][b"type"]
    return kind


@pytest.fixture
def at(valkey: redis.Redis, valkey_server: Server, start_worker: Callable[..., Process]) -> list[str]:
    """The flags that lead to a Redis with a worker."""
    start_worker()
    return ["--redis-url", valkey_server.url]


def test_speak_writes_a_wav_file_of_the_rate_asked_for(at: list[str], run: Run, tmp_path: Path) -> None:
    out = tmp_path / "new" / "hello.wav"
    done = run("speak", "Hello, this is a file.", "--out", str(out), "--sample-rate", "16000", *at)
    assert done.returncode == 0, done.stderr
    assert done.stdout == b""
    assert b"preview" in done.stderr
    wav = soundfile.info(out)
    assert (wav.samplerate, wav.channels, wav.subtype) == (16_000, 1, "PCM_16")
    assert audible_s(out) > 0.5


@pytest.mark.parametrize("encoding", ["mulaw", "pcm_f32le"])
def test_speak_decodes_every_encoding_into_its_wav_file(encoding: str, at: list[str], run: Run, tmp_path: Path) -> None:
    done = run("speak", "Hello.", "--out", "hello.wav", "--sample-rate", "8000", "--encoding", encoding, *at)
    assert done.returncode == 0, done.stderr
    assert soundfile.info(tmp_path / "hello.wav").samplerate == 8000
    assert audible_s(tmp_path / "hello.wav") > 0.2


def test_speak_writes_an_empty_wav_file_of_a_text_with_nothing_to_speak(
    at: list[str], run: Run, tmp_path: Path
) -> None:
    done = run("speak", ":)", "--out", str(tmp_path / "s.wav"), *at)
    assert done.returncode == 0, done.stderr
    assert soundfile.info(tmp_path / "s.wav").frames == 0
    assert b"nothing to speak" in done.stderr


def test_speak_sends_raw_samples_to_a_pipe(at: list[str], run: Run, shell: Run) -> None:
    raw = shell("speak", "The same samples twice.", "--seed", "1", "--session", "s1", *at)
    assert raw.returncode == 0, raw.stderr
    again = run("speak", "The same samples twice.", "--seed", "1", "--out", "x.wav", *at)
    assert again.returncode == 0
    pcm, _ = soundfile.read(
        io.BytesIO(raw.stdout), samplerate=24_000, channels=1, subtype="PCM_16", format="RAW", dtype="int16"
    )
    assert abs(pcm).max() > 1000
    assert len(raw.stdout) == 2 * len(pcm)


def test_speak_tells_its_events_as_json(at: list[str], run: Run) -> None:
    done = run("speak", "Hello.", "--json", "--session", "s7", *at)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["type"] for event in events if event["type"] != "audio"] == ["begin", "segment", "complete"]
    assert {event["session_id"] for event in events} == {"s7"}
    chunks = [event for event in events if event["type"] == "audio"]
    assert [chunk["seq"] for chunk in chunks] == list(range(len(chunks)))
    assert sum(chunk["n_bytes"] for chunk in chunks) == 2 * events[-1]["samples"]
    assert [chunk["is_final"] for chunk in chunks] == [False] * (len(chunks) - 1) + [True]


def test_speak_reports_the_workers_error(at: list[str], run: Run) -> None:
    done = run("speak", "Hello.", "--voice", "nobody", *at)
    assert done.returncode == 1
    assert "unknown_voice" in complaint(done)
    assert "makima, placeholder" in complaint(done)


def test_speak_into_a_folder_that_cannot_be_says_so(at: list[str], run: Run, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file", "utf-8")
    done = run("speak", "Hello.", "--out", "taken/x.wav", *at)
    assert done.returncode == 1
    assert "taken" in done.stderr.decode().splitlines()[-1]
    assert b"Traceback" not in done.stderr


def test_speak_gives_up_where_no_worker_is(valkey_server: Server, valkey: redis.Redis, run: Run) -> None:
    done = run("speak", "Hello.", "--timeout-s", "0.3", "--redis-url", valkey_server.url)
    assert done.returncode == 1
    assert "queue status" in complaint(done)
    assert valkey.xlen(KEYS.jobs) == 1


def test_cancel_stops_a_speak_with_status_3(
    valkey: redis.Redis, valkey_server: Server, start_worker: Callable[..., Process], run: Run, tmp_path: Path
) -> None:
    start_worker("--pace", "2")
    at = ["--redis-url", valkey_server.url]
    words = ["speak", LONG, "--session", "s1", "--out", "part.wav", *at]
    speaking = start(tmp_path, *words)
    assert until(lambda: valkey.xlen(KEYS.audio("s1")) > 3, within_s=20)
    cancelled = run("cancel", "s1", *at)
    assert cancelled.returncode == 0, cancelled.stderr
    assert b"session s1" in cancelled.stdout
    _, complaints = speaking.communicate(timeout=20)
    assert speaking.returncode == 3
    assert complaints == b"makima-tts: the job was cancelled\n"
    assert audible_s(tmp_path / "part.wav") > 0.05


def test_cancel_up_to_a_job_leaves_the_later_ones(at: list[str], valkey: redis.Redis, run: Run) -> None:
    job: Any = valkey.xadd(KEYS.jobs, {"session_id": "s1", "text": "First."})
    done = run("cancel", "s1", "--upto", job.decode(), *at)
    assert done.returncode == 0, done.stderr
    assert job in done.stdout
    valkey.xadd(KEYS.jobs, {"session_id": "s1", "text": "Second."})
    assert until(lambda: valkey.xlen(KEYS.jobs) == 0, within_s=20)
    assert last_of(valkey, "s1") == b"complete"


def test_a_closed_pipe_ends_speak_quietly_and_cancels_the_job(
    valkey: redis.Redis, valkey_server: Server, start_worker: Callable[..., Process], tmp_path: Path
) -> None:
    start_worker("--pace", "4")
    words = ["speak", LONG, "--session", "s1", "--redis-url", valkey_server.url]
    speaking = start(tmp_path, *words, stdout=subprocess.PIPE)
    assert speaking.stdout is not None
    assert speaking.stderr is not None
    assert speaking.stdout.read(1000)
    speaking.stdout.close()
    complaints = speaking.stderr.read()
    speaking.stderr.close()
    assert speaking.wait(20) == 1
    assert complaints == b""
    assert until(lambda: valkey.xlen(KEYS.jobs) == 0, within_s=20)
    assert last_of(valkey, "s1") == b"cancelled"


# The queue.


def dead_letter(valkey: redis.Redis, **fields: str) -> str:
    letter = {"session_id": "s1", "text": "a secret text", "job_id": "j1", **fields}
    why = {"dead_reason": "engine_failed", "dead_attempts": "3", "dead_worker": "w", "dead_id": "1-1"}
    letter_id: Any = valkey.xadd(KEYS.dead, letter | why)  # type: ignore[arg-type]
    return str(letter_id.decode())


def test_queue_status_counts_the_jobs_and_names_the_workers(at: list[str], valkey: redis.Redis, run: Run) -> None:
    dead_letter(valkey)
    assert until(lambda: valkey.hlen(KEYS.workers) == 1)  # with its first beat
    done = run("queue", "status", "--json", *at)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["dead"] == 1
    assert told["unsettled"] == told["running"] == 0
    (worker,) = told["workers"]
    words = run("queue", "status", *at).stdout.decode()
    assert "unsettled 0" in words
    assert worker in words
    assert "preview" in words


def test_queue_status_of_a_redis_that_never_saw_a_worker(valkey: redis.Redis, valkey_server: Server, run: Run) -> None:
    valkey.xadd(KEYS.jobs, {"session_id": "s1", "text": "Hello."})
    done = run("queue", "status", "--redis-url", valkey_server.url)
    assert done.returncode == 0, done.stderr
    assert b"unsettled 1" in done.stdout
    assert b"no workers" in done.stdout


def test_queue_dead_shows_the_newest_and_never_their_texts(
    valkey: redis.Redis, valkey_server: Server, run: Run
) -> None:
    first = dead_letter(valkey)
    second = dead_letter(valkey, session_id="[/red]\x1b[31m")
    at = ["--redis-url", valkey_server.url]
    done = run("queue", "dead", *at)
    assert done.returncode == 0, done.stderr
    table = done.stdout.decode()
    assert table.index(second) < table.index(first)
    assert "engine_failed" in table
    assert r"[/red]\x1b[31m" in table
    assert "\x1b" not in table
    one = run("queue", "dead", "--count", "1", "--json", *at)
    (row,) = json.loads(one.stdout)
    assert row["id"] == second
    assert "secret" not in table + one.stdout.decode()


def test_queue_dead_of_an_empty_queue(valkey: redis.Redis, valkey_server: Server, run: Run) -> None:
    at = ["--redis-url", valkey_server.url]
    assert run("queue", "dead", *at).stdout == b"no dead letters\n"
    assert json.loads(run("queue", "dead", "--json", *at).stdout) == []


def test_queue_redrive_publishes_a_dead_job_anew_and_it_is_spoken(at: list[str], valkey: redis.Redis, run: Run) -> None:
    letter_id = dead_letter(valkey)
    dead_letter(valkey, session_id="s2", job_id="j2")
    done = run("queue", "redrive", letter_id, *at)
    assert done.returncode == 0, done.stderr
    assert b"published 1 dead jobs" in done.stdout
    assert until(lambda: valkey.xlen(KEYS.audio("s1")) > 0 and valkey.xlen(KEYS.jobs) == 0, within_s=20)
    assert last_of(valkey, "s1") == b"complete"
    assert valkey.xlen(KEYS.dead) == 1
    assert run("queue", "redrive", "--all", *at).returncode == 0
    assert until(lambda: valkey.xlen(KEYS.audio("s2")) > 0 and valkey.xlen(KEYS.jobs) == 0, within_s=20)
    assert valkey.xlen(KEYS.dead) == 0


def test_queue_redrive_of_an_unknown_letter_fails(valkey: redis.Redis, valkey_server: Server, run: Run) -> None:
    at = ["--redis-url", valkey_server.url]
    absent = run("queue", "redrive", "5-5", *at)
    assert absent.returncode == 1
    assert absent.stderr == b"makima-tts: there is no dead letter 5-5\n"
    assert b"is not an id" in run("queue", "redrive", "nonsense", *at).stderr
    assert valkey.xlen(KEYS.jobs) == 0


def test_commands_keep_to_their_prefix(valkey: redis.Redis, valkey_server: Server, run: Run) -> None:
    valkey.xadd(KEYS.jobs, {"session_id": "s1", "text": "Hello."})
    done = run("queue", "status", "--json", "--prefix", "other", "--redis-url", valkey_server.url)
    assert json.loads(done.stdout)["unsettled"] == 0
