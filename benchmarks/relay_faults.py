"""Faults under twelve sockets: `python -m benchmarks.relay_faults`, JSON on stdout; needs cargo and websockets.

Each trial starts an embedded Valkey, two preview workers in real time and a relay. Twelve sockets speak two texts each
while a fault happens. Their bytes are compared with those of the same texts without a fault. The program fails where
one byte differs.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from os import kill
from pathlib import Path
from typing import Any

import redis
from websockets.asyncio.client import ClientConnection, connect

from benchmarks.relays import READING, RELAYS, built, relay
from worker.embedded import Embedded, embedded_valkey

N_SOCKETS = 12
FAULT_AFTER_S = 3.0
SILENCE_S = 90.0
UNREAD = "a socket that does not read"
UNREAD_S = 15.0
WORKERS = 2
PHRASES = ("the harbour lights", "a quiet garden", "seven grey stones", "an open window", "the morning train")
LONG = "Beside {0} there were {1}, and behind them {2}. Nobody had counted them before. " * 2
SHORT = "That was {0} and {1}."
LONGEST = " ".join(LONG.format(*PHRASES) for _ in range(20))  # some five minutes


@dataclass(slots=True)
class Scene:
    """What a fault may reach."""

    server: Embedded
    client: redis.Redis
    workers: list[subprocess.Popen[bytes]]


@dataclass(slots=True)
class Listener:
    """What one socket received: the samples of each utterance, and the longest time without any."""

    audio: list[bytes] = field(default_factory=list)
    gap_s: float = 0.0


Fault = Callable[[Scene], Awaitable[None]]


async def nothing(scene: Scene) -> None: ...


async def worker_killed(scene: Scene) -> None:
    scene.workers[0].kill()


async def redis_killed(scene: Scene) -> None:
    """Without an append-only file all is lost."""
    scene.server.stop(hard=True)
    await asyncio.sleep(1.0)
    await asyncio.to_thread(scene.server.start)


async def connections_killed(scene: Scene) -> None:
    for _ in range(6):
        for kind in ("normal", "pubsub"):
            scene.client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")  # type: ignore[no-untyped-call]
        await asyncio.sleep(0.6)


async def redis_frozen(scene: Scene) -> None:
    kill(scene.server.pid, signal.SIGSTOP)
    await asyncio.sleep(12.0)
    kill(scene.server.pid, signal.SIGCONT)


FAULTS: dict[str, tuple[Fault, bool]] = {  # with whether Redis has an append-only file
    "nothing": (nothing, False),
    "worker killed": (worker_killed, False),
    "Redis killed": (redis_killed, True),
    "Redis emptied": (redis_killed, False),
    "connections killed six times": (connections_killed, False),
    "Redis frozen for 12 s": (redis_frozen, False),
    UNREAD: (nothing, False),
}


def texts(index: int) -> tuple[str, str]:
    """The texts of a socket; every socket has others."""
    phrases = [PHRASES[(index + shift) % len(PHRASES)] for shift in range(3)]
    return f"Number {index}. {LONG.format(*phrases)}", SHORT.format(*phrases)


async def listen(address: str, start: dict[str, object], spoken: Sequence[str], unread_s: float = 0.0) -> Listener:
    """Speak texts at once, one behind the other, and read nothing for some time."""
    async with connect(f"ws://{address}/api/v1/speak", compression=None, max_queue=1, max_size=None) as web:
        await web.send(json.dumps({"type": "start"} | start))
        await web.recv()
        for text in spoken:
            await web.send(json.dumps({"type": "speak", "text": text}))
        await asyncio.sleep(unread_s)
        return await _received(web, len(spoken))


async def _received(web: ClientConnection, n_utterances: int) -> Listener:
    listener, audio, last_s = Listener(), bytearray(), None
    while len(listener.audio) < n_utterances:
        message = json.loads(await asyncio.wait_for(web.recv(), SILENCE_S))
        now_s = time.monotonic()
        match message:
            case {"type": "audio_chunk", "data": data}:
                listener.gap_s = max(listener.gap_s, now_s - (last_s or now_s))
                last_s = now_s
                audio += base64.b64decode(data)
            case {"type": "complete"} if "cancelled" not in message:
                listener.audio.append(bytes(audio))
                audio.clear()
            case _:
                raise SystemExit(f"an utterance was answered with {message}")
    return listener


@contextmanager
def workers(url: str, flags: list[str]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Workers that are ready."""
    words = ["worker", "--redis-url", url, "--engine", "preview", "--voice", "placeholder"]
    words += ["--preview-voices", "espeak-ng", *flags]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        logs = [Path(folder, f"{number}.log") for number in range(WORKERS)]
        started = [_process([sys.executable, "-m", "worker", *words], path, stack) for path in logs]
        while not all("ready; voices" in path.read_text("utf-8") for path in logs):
            if any(it.poll() is not None for it in started):
                raise SystemExit("".join(path.read_text("utf-8") for path in logs))
            time.sleep(0.05)
        yield started


def _process(words: list[str], path: Path, stack: ExitStack) -> subprocess.Popen[bytes]:
    with path.open("wb") as log:
        process = subprocess.Popen(words, stderr=log)  # noqa: S603
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process


def trial(relay_command: list[str], own_connections: int, fault: str, unread_s: float = 0.0) -> list[Listener]:
    """The listeners of one trial. Beside UNREAD another socket speaks a long text in four times as many bytes."""
    happens, is_kept = FAULTS[fault]
    worker_flags, relay_flags = ["--pace", "1"], ["--pace-ahead-ms", "0"]
    if fault == UNREAD:
        worker_flags, relay_flags = [], [*relay_flags, "--ahead-ms", "0"]
    with (
        embedded_valkey(aof=is_kept) as server,
        redis.Redis.from_url(server.url, protocol=2) as client,
        workers(server.url, worker_flags) as working,
        relay(relay_command, server.url, own_connections, relay_flags) as (_, address),
    ):
        speaking = [listen(address, {}, texts(index)) for index in range(N_SOCKETS)]
        if fault == UNREAD:
            speaking.append(listen(address, {"sample_rate": 48_000, "encoding": "pcm_f32le"}, [LONGEST], unread_s))
        return asyncio.run(_during(happens, Scene(server, client, working), speaking))


async def _during(fault: Fault, scene: Scene, speaking: list[Coroutine[Any, Any, Listener]]) -> list[Listener]:
    async def later() -> None:
        await asyncio.sleep(FAULT_AFTER_S)
        await fault(scene)

    *listeners, _ = await asyncio.gather(*speaking, later())
    return [it for it in listeners if it is not None]


def measure(command: list[str], own_connections: int, faults: list[str]) -> Iterator[dict[str, Any]]:
    """A row for each fault."""
    plain = trial(command, own_connections, "nothing")
    for fault in faults:
        undisturbed = trial(command, own_connections, UNREAD) if fault == UNREAD else plain
        received = trial(command, own_connections, fault, UNREAD_S)
        yield {
            "fault": fault,
            "sockets": len(received),
            "equal": sum(one.audio == other.audio for one, other in zip(undisturbed, received, strict=True)),
            "bytes": sum(len(part) for it in received for part in it.audio),
            "longest_gap_s": round(max(it.gap_s for it in received[:N_SOCKETS]), 2),
        }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.relay_faults", description=__doc__)
    parser.add_argument("--relays", default=",".join(RELAYS))
    parser.add_argument("--reading", default=",".join(READING), help="own: a connection a socket. hints: few.")
    parser.add_argument("--faults", default=",".join(FAULTS))
    options = parser.parse_args()
    _, commands = built(options.relays.split(","))
    rows: list[dict[str, Any]] = []
    for name, command in commands.items():
        for reading in options.reading.split(","):
            own_connections = N_SOCKETS + 1 if reading == "own" else 0
            for row in measure(command, own_connections, options.faults.split(",")):
                rows.append({"relay": name, "reading": reading} | row)
                print(rows[-1], file=sys.stderr)
    print(json.dumps(rows, indent=2))
    if any(row["equal"] != row["sockets"] for row in rows):
        raise SystemExit("bytes differ from those without a fault")


if __name__ == "__main__":
    main()
