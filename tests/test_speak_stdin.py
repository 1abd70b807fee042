"""`speak -`: what arrives on standard input is on its way to the worker at once, and every end of it is clean."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis

from schemas.errors import MakimaError
from schemas.messages import Begin, Complete, Error, Message
from schemas.wire import stream_fields
from tests.conftest import Server, eventually, make_settings, running
from tests.processes import until
from tests.shell import BIN, ENVIRONMENT, Done, Run, audible_s, complaint
from tests.tone import ToneEngine
from worker.commands.arriving import arriving
from worker.engine.preview.engine import PreviewEngine
from worker.engine.preview.espeak import Espeak
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


async def test_a_file_is_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"From a file. " * 5000)
    with (tmp_path / "text").open("rb") as file:
        read = [got async for got in arriving(file.fileno())]
    assert b"".join(read) == b"From a file. " * 5000


async def test_what_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with (tmp_path / "text").open("wb") as file, pytest.raises(MakimaError, match="standard input"):
        await anext(arriving(file.fileno()))


# In this process.


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Keyboard]:
    one = Keyboard()
    monkeypatch.setattr("worker.commands.speak.arriving", lambda: arriving(one.reader))
    yield one
    one.close()
    assert until(lambda: all(thread.name != "stdin" for thread in threading.enumerate()))
    os.close(one.reader)


class Keyboard:
    """Where the text of a `speak` in this process comes from."""

    def __init__(self) -> None:
        self.reader, self._writer = os.pipe()
        self._is_open = True

    def write(self, data: bytes) -> None:
        os.write(self._writer, data)

    def close(self) -> None:
        if self._is_open:
            os.close(self._writer)
        self._is_open = False


def speaking_of(run: Run, url: str, *words: str) -> asyncio.Task[Done]:
    words = ("speak", "-", "--session", "s1", "--redis-url", url, *words)
    return asyncio.create_task(asyncio.to_thread(run, *words))


async def test_each_write_is_sent_on_at_once_without_lines_or_whole_characters(
    valkey: redis.Redis, valkey_server: Server, keyboard: Keyboard, run: Run
) -> None:
    speaking = speaking_of(run, valkey_server.url, "--json")
    worker = await asyncio.to_thread(Pretender, valkey)
    worker.begin()
    written: list[tuple[bytes, bytes]] = []
    for piece in (b"Good mor", b"ning \xf0\x9f", b"\x98\x80"):
        keyboard.write(piece)
        written.append((b"text", piece))
        await eventually(lambda: worker.entries() == written)
    keyboard.close()
    await eventually(lambda: worker.entries() == [*written, (b"end", b"1")])
    worker.complete()
    assert (await speaking).returncode == 0
    assert worker.fields[b"text_from"] == b"stream"
    assert b"ahead_ms" not in worker.fields


async def test_a_text_that_comes_slowly_is_spoken_while_it_comes(
    valkey: redis.Redis, valkey_server: Server, keyboard: Keyboard, run: Run, tmp_path: Path
) -> None:
    async with running(make_settings(valkey_server.url), PreviewEngine(2, synthesiser=Espeak())):
        speaking = speaking_of(run, valkey_server.url, "--out", "slow.wav")
        for piece in (b"The first sen", b"tence is done. The second one \xe2\x80", b"\x94 is not."):
            keyboard.write(piece)
            await asyncio.sleep(0.02)
        await eventually(lambda: valkey.xlen(KEYS.audio("s1")) > 2, within_s=20)  # the text is still open
        keyboard.close()
        done = await speaking
    assert done.returncode == 0, done.stderr
    assert audible_s(tmp_path / "slow.wav") > 1


async def test_a_text_may_pause_for_longer_than_the_time_without_an_entry(
    valkey: redis.Redis, valkey_server: Server, keyboard: Keyboard, run: Run
) -> None:
    speaking = speaking_of(run, valkey_server.url, "--timeout-s", "0.3", "--out", "x.wav")
    worker = await asyncio.to_thread(Pretender, valkey)
    assert worker.fields[b"ahead_ms"] == b"0"  # a file has no listener
    worker.begin()
    keyboard.write(b"Hello")
    await asyncio.wait({speaking}, timeout=1)
    assert not speaking.done()
    keyboard.close()
    done = await speaking  # the text is whole and no entry follows
    assert done.returncode == 1
    assert "queue status" in complaint(done)
    assert valkey.xlen(KEYS.cut("s1")) == 1


@pytest.mark.parametrize(
    ("text", "code"), [(b"not \xff UTF-8", "invalid_field"), (b"", "text_empty"), (None, "text_stalled")]
)
async def test_a_text_that_cannot_be_spoken_ends_with_the_workers_error(
    text: bytes | None, code: str, valkey_server: Server, keyboard: Keyboard, run: Run
) -> None:
    if text is not None:
        keyboard.write(text)
        keyboard.close()
    async with running(make_settings(valkey_server.url, text_wait_s=0.2)):
        done = await speaking_of(run, valkey_server.url, "--out", "x.wav")
    assert done.returncode == 1
    assert done.stderr.decode().splitlines()[-1].startswith(f"makima-tts: {code}: ")  # the worker logs it too


async def test_json_shows_the_segments(valkey_server: Server, keyboard: Keyboard, run: Run) -> None:
    text = "The first sentence is here. " * 8
    keyboard.write(text.encode())
    keyboard.close()
    async with running(make_settings(valkey_server.url)):
        done = await speaking_of(run, valkey_server.url, "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    segments = [event for event in events if event["type"] == "segment"]
    assert " ".join(segment["text"] for segment in segments) == text.strip()
    assert [segment["index"] for segment in segments] == list(range(len(segments)))


async def test_a_closed_pipe_ends_speak_quietly_although_its_text_goes_on(
    valkey: redis.Redis, valkey_server: Server, speak: Start
) -> None:
    async with running(make_settings(valkey_server.url), ToneEngine(frame_s=0.01)):
        speaking = speak()
        give(speaking, b"This is a story. It has no end. " * 20)
        assert speaking.stdout is not None
        assert await asyncio.to_thread(speaking.stdout.read, 1000)
        speaking.stdout.close()
        assert await asyncio.to_thread(speaking.wait, 20) == 1
        await eventually(lambda: valkey.xlen(KEYS.jobs) == 0, within_s=20)
    assert speaking.stderr is not None
    assert speaking.stderr.read() == b""
    last: Any = valkey.xrevrange(KEYS.audio("s1"), count=1)
    assert last[0][1][b"type"] == b"cancelled"
