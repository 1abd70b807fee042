"""`speak -`: what arrives on standard input is on its way to the worker at once, and every end of it is clean."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis

from schemas.errors import MakimaError
from schemas.messages import Begin, Complete, Error, Message
from schemas.wire import stream_fields
from tests.conftest import Server
from tests.processes import until
from tests.shell import BIN, ENVIRONMENT
from worker.commands.arriving import arriving
from worker.stream.keys import Keys

KEYS = Keys()
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def valkey_server(servers: dict[str, Server]) -> Server:
    return servers["valkey"]


@pytest.fixture
def speak(valkey_server: Server, tmp_path: Path) -> Iterator[Start]:
    """Start `makima-tts speak -` in session s1 with these words more; stdin is a pipe."""

    def start(*words: str, **more: Any) -> subprocess.Popen[bytes]:
        command: list[Any] = [
            BIN / "makima-tts",
            "speak",
            "-",
            "--session",
            "s1",
            "--redis-url",
            valkey_server.url,
            *words,
        ]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | more
        process = stack.enter_context(subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, **pipes))
        stack.callback(process.kill)
        return process

    with ExitStack() as stack:
        yield start


class Pretender:
    """Writes the entries of a worker for the one job of session s1."""

    def __init__(self, valkey: redis.Redis) -> None:
        self._valkey = valkey
        assert until(lambda: bool(valkey.xlen(KEYS.jobs)), within_s=20)
        read: Any = valkey.xrange(KEYS.jobs)
        entry_id, self.fields = read[0]
        self.entry_id, self.job_id = entry_id.decode(), self.fields[b"job_id"].decode()
        self.text_key = KEYS.text("s1", self.job_id)

    def write(self, message: Message) -> None:
        fields = stream_fields(message, self.entry_id, 0)
        self._valkey.xadd(KEYS.audio("s1"), dict(zip(fields[::2], fields[1::2], strict=True)))
        self._valkey.expire(KEYS.audio("s1"), 60)

    def begin(self) -> None:
        names: dict[str, Any] = {"job_id": self.job_id, "session_id": "s1", "voice": "v", "model": "m"}
        self.write(Begin(**names, sample_rate=24_000, encoding="pcm_s16le", attempt=1))

    def complete(self) -> None:
        names: dict[str, Any] = {"job_id": self.job_id, "session_id": "s1", "voice": "v", "model": "m"}
        names |= dict.fromkeys(("samples", "chunks", "audio_ms", "queue_ms", "first_audio_ms", "leading_silence_ms"), 0)
        self.write(Complete(**names, finish="silent", rtf=0.0, seed=0, text_spoken=""))

    def fail(self) -> None:
        names: dict[str, Any] = {"job_id": self.job_id, "session_id": "s1"}
        self.write(Error(**names, code="text_stalled", message="no further piece; write end", retryable=True))

    def entries(self) -> list[tuple[bytes, bytes]]:
        read: Any = self._valkey.xrange(self.text_key)
        return [pair for _, fields in read for pair in fields.items()]

    def has(self, *entries: tuple[bytes, bytes]) -> bool:
        return until(lambda: self.entries() == list(entries))


def give(process: subprocess.Popen[bytes], data: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(data)
    process.stdin.flush()


def test_each_write_is_sent_on_at_once_without_lines_or_whole_characters(speak: Start, valkey: redis.Redis) -> None:
    speaking = speak("--json")
    worker = Pretender(valkey)
    worker.begin()
    give(speaking, b"Good mor")
    assert worker.has((b"text", b"Good mor"))
    give(speaking, b"ning \xf0\x9f")
    give(speaking, b"\x98\x80")
    assert until(lambda: b"".join(value for _, value in worker.entries()) == "Good morning 😀".encode())
    assert speaking.stdin is not None
    speaking.stdin.close()
    assert until(lambda: worker.entries()[-1] == (b"end", b"1"))
    worker.complete()
    assert speaking.wait(20) == 0
    assert worker.fields[b"text_from"] == b"stream"
    assert b"ahead_ms" not in worker.fields


def test_the_end_of_the_job_does_not_wait_for_the_end_of_the_text(speak: Start, valkey: redis.Redis) -> None:
    speaking = speak()
    worker = Pretender(valkey)
    worker.begin()
    give(speaking, b"Hello")
    assert worker.has((b"text", b"Hello"))
    worker.fail()
    assert speaking.wait(20) == 1
    assert speaking.stderr is not None
    assert b"text_stalled" in speaking.stderr.read()


def test_ctrl_c_cancels_the_job_while_the_text_is_awaited(speak: Start, valkey: redis.Redis) -> None:
    speaking = speak()
    worker = Pretender(valkey)
    give(speaking, b"Hello")
    assert worker.has((b"text", b"Hello"))
    speaking.send_signal(signal.SIGINT)
    assert speaking.wait(20) == -signal.SIGINT
    cut: Any = valkey.xrange(KEYS.cut("s1"))
    assert [entry_id.decode() for entry_id, _ in cut] == [worker.entry_id]


def test_a_text_may_pause_for_longer_than_the_time_without_an_entry(speak: Start, valkey: redis.Redis) -> None:
    speaking = speak("--timeout-s", "0.3", "--out", "x.wav")
    worker = Pretender(valkey)
    assert worker.fields[b"ahead_ms"] == b"0"  # a file has no listener
    worker.begin()
    give(speaking, b"Hello")
    assert worker.has((b"text", b"Hello"))
    with pytest.raises(subprocess.TimeoutExpired):
        speaking.wait(1)
    assert speaking.stdin is not None
    speaking.stdin.close()
    assert speaking.wait(20) == 1  # the text is whole and no entry follows
    assert speaking.stderr is not None
    assert b"queue status" in speaking.stderr.read()
    assert valkey.xlen(KEYS.cut("s1")) == 1


async def test_a_file_is_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"From a file. " * 5000)
    with (tmp_path / "text").open("rb") as file:
        read = [got async for got in arriving(file.fileno())]
    assert b"".join(read) == b"From a file. " * 5000


async def test_what_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with (tmp_path / "text").open("wb") as file, pytest.raises(MakimaError, match="standard input"):
        await anext(arriving(file.fileno()))
