"""Old and new sides of the contract meet: bytes, workers and readers of 0.3."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import msgpack
import pytest

import schemas
from schemas import ErrorCode, JobError, job_fields, parse_job, read_entry, what_was_heard
from schemas.golden import JOBS

FOLDER = Path(schemas.__file__).parent / "vectors"
HASHES = (Path(__file__).parent / "vectors_0_3.sha256").read_text().splitlines()
ADDED_JOB_FIELDS = {"text_from", "ahead_ms"}
KEYS_0_3 = {
    "begin": "voice model sample_rate encoding attempt resumed_at resumed_by",
    "audio": "seq pos data is_final",
    "complete": "finish samples chunks audio_ms queue_ms first_audio_ms leading_silence_ms rtf seed voice model"
    " text_spoken",
    "cancelled": "samples text_spoken",
    "error": "code message field retryable",
}


@pytest.mark.parametrize("line", HASHES, ids=lambda line: line.split()[1])
def test_the_golden_bytes_of_0_3_are_unchanged(line: str) -> None:
    wanted, name = line.split()
    assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == wanted


class OldReader:
    """A relay of 0.3 in pcm_s16le: five types, the fields and keys that it knows by name, one position."""

    def __init__(self) -> None:
        self.samples: dict[str, bytes] = {}
        self.ends: list[tuple[str, str]] = []
        self._is_interrupted = False

    def take(self, fields: dict[str, bytes]) -> None:
        kind = fields.get("type", b"").decode()
        if kind == "cancel":
            self._is_interrupted = True
        if kind not in KEYS_0_3:
            return
        message = msgpack.unpackb(fields["data"])
        known = {key: message[key] for key in ("v", "type", "job_id", "session_id", *KEYS_0_3[kind].split())}
        job_id = str(known["job_id"])
        if kind == "audio":
            heard = self.samples.setdefault(job_id, b"")
            if not self._is_interrupted:
                self.samples[job_id] = heard + known["data"][max(0, len(heard) - 2 * known["pos"]) :]
            return
        self._is_interrupted = False
        if kind != "begin":
            self.ends.append((job_id, kind))


def entries(name: str) -> list[tuple[dict[str, bytes], list[Any]]]:
    steps = json.loads((FOLDER / "streams" / f"{name}.json").read_text())["steps"]
    return [
        (
            {
                name: base64.b64decode(value["base64"]) if isinstance(value, dict) else value.encode()
                for name, value in step["entry"]["fields"]
            },
            step["sends"],
        )
        for step in steps
        if "entry" in step
    ]


@pytest.mark.parametrize("name", ["two_jobs", "takeover", "takeover_in_a_gap", "heard", "unknown_type", "failed"])
def test_a_reader_of_0_3_reads_todays_streams(name: str) -> None:
    reader = OldReader()
    sent = b""
    for fields, sends in entries(name):
        reader.take(fields)
        sent += b"".join(base64.b64decode(message["data"]) for message in sends if message["type"] == "audio_chunk")
    assert b"".join(reader.samples.values()) == sent
    assert len({job_id for job_id, _ in reader.ends}) == len(reader.ends) > 0


@pytest.mark.parametrize("name", ["takeover", "heard"])
def test_entries_of_a_worker_of_0_3_are_read(name: str) -> None:
    """It writes neither segments nor times; then it is not known what was heard."""
    n_read, made = 0, 0
    for fields, _ in entries(name):
        if fields["type"] != b"segment":
            entry = read_entry({key.encode(): value for key, value in fields.items() if key != "at"})
            assert entry.at is None
            n_read, made = n_read + 1, entry.delivered
    assert n_read > 3
    assert what_was_heard([], made, True, made).text == ""


def test_a_worker_of_0_3_refuses_an_open_text_and_ignores_how_far_ahead() -> None:
    def as_read_by_0_3(fields: dict[str, str]) -> list[bytes]:
        known = {name: value for name, value in fields.items() if name not in ADDED_JOB_FIELDS}
        return [item.encode() for pair in known.items() for item in pair]

    with pytest.raises(JobError) as caught:
        parse_job("1-0", as_read_by_0_3(job_fields("s1", job_id="u1")))
    assert caught.value.code is ErrorCode.TEXT_EMPTY
    assert parse_job("1-0", as_read_by_0_3(job_fields("s1", "Hi.", ahead_ms=3000))).text == "Hi."
    named = {name for fields in JOBS.values() for name, _ in fields}
    assert named >= ADDED_JOB_FIELDS
