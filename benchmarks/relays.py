"""Running relays, for the benchmarks of both."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

CRATE = Path(__file__).parents[1] / "schemas" / "rust"
HOST = "127.0.0.1"
START_TIMEOUT_S = 60.0
RELAYS = ("rust", "python")
READING = ("own", "hints")  # a connection to Redis for each socket that speaks; one for all


@contextmanager
def relay(
    command: list[str], url: str, own_connections: int, more: Sequence[str] = ()
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A running relay, with its host and port."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    flags = ["--redis-url", url, "--port", str(port), "--own-connections", str(own_connections), *more]
    process = subprocess.Popen([*command, *flags], stdout=subprocess.DEVNULL)  # noqa: S603
    try:
        until_s = time.monotonic() + START_TIMEOUT_S
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > until_s:
                raise SystemExit(f"{command[0]} does not listen; its errors are above")
            time.sleep(0.05)
        yield process, f"{HOST}:{port}"
    finally:
        process.terminate()
        process.wait(START_TIMEOUT_S)


def built(names: Sequence[str]) -> tuple[str, dict[str, list[str]]]:
    """The program of benches/sockets and the command of each relay. Compiles what is Rust."""
    words = ["cargo", "build", "--release", "--features", "relay", "--bench", "sockets"]
    words += ["--bin", "makima-tts-relay", "--message-format", "json-render-diagnostics"]
    compiled = subprocess.run(words, cwd=CRATE, stdout=subprocess.PIPE, check=True, text=True)  # noqa: S603
    messages = map(json.loads, compiled.stdout.splitlines())
    programs = {it["target"]["name"]: it["executable"] for it in messages if it.get("executable")}
    python = [sys.executable, "-m", "worker", "relay", "--log-level", "warning"]
    commands = {"rust": [programs["makima-tts-relay"]], "python": python}
    return programs["sockets"], {name: commands[name] for name in names}


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0
