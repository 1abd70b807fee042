"""`makima-tts dev --web-port` and `makima-tts relay` as processes: the page is there, a text is spoken, all ends."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.relay.callers import started
from tests.shell import BIN, ENVIRONMENT, Run
from tests.stream.servers import free_port
from worker.relay.http import page


@contextmanager
def process(folder: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A command that serves, and the address that it prints. It must have ended with status 0 behind the block."""
    with subprocess.Popen(
        [BIN / "makima-tts", *words], cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True,
    ) as running:  # fmt: skip
        try:
            assert running.stdout is not None
            lines = (re.search(r"http://[0-9.]+:[0-9]+/", line) for line in running.stdout)
            address = next(found[0] for found in lines if found)
            yield running, address
            assert running.wait(30) == 0
        finally:
            running.kill()


def fetched(address: str) -> tuple[str, bytes]:
    """(type, body) of a page."""
    with urllib.request.urlopen(address) as answer:
        return answer.headers["Content-Type"], answer.read()


async def test_two_commands_on_a_laptop_speak(tmp_path: Path) -> None:
    words = ("dev", "--port", str(free_port()), "--web-port", "0", "--voice", "placeholder")
    with process(tmp_path, *words) as (running, address):
        assert await asyncio.to_thread(fetched, address) == ("text/html; charset=utf-8", page())
        async with started(address.replace("http", "ws") + "api/v1/speak") as caller:
            await caller.send("speak", text="Hello, I am Makima.")
            assert any((await caller.utterance()).whole())
            await caller.send("speak", text="A long text that is stopped. " * 50)
            await caller.first_chunk()
            running.send_signal(signal.SIGTERM)
            assert await caller.status() == 1001


@pytest.mark.parametrize("command", ["relay", "dev"])
def test_a_port_that_is_taken_is_named(command: str, shell: Run) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        own = ("--port", port) if command == "relay" else ("--port", str(free_port()), "--web-port", port)
        done = shell(command, *own)
    assert done.returncode == 1
    assert port.encode() in done.stderr
    assert b"Traceback" not in done.stderr
