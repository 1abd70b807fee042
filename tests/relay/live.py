"""Real workers that speak at the pace of a loaded GPU, and the samples of the same texts without any disturbance."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from schemas import Audio, Complete
from schemas.wire import read_entry
from tests.conftest import Process
from tests.relay.callers import PATIENCE_S
from worker.embedded import Embedded, embedded_valkey
from worker.stream.keys import Keys

N_WORKERS = 2
PACED = ("--pace", "1", "--lease-ms", "1000", "--slots", "40")


@dataclass
class Stage:
    """A server whose contents outlast a restart, and workers at one times real time."""

    server: Embedded
    workers: list[Process] = field(default_factory=list)

    def fill(self) -> None:
        """Start workers where some are missing."""
        self.workers = [worker for worker in self.workers if worker.popen.poll() is None]
        fresh = [Process(self.server.url, *PACED) for _ in range(N_WORKERS - len(self.workers))]
        self.workers += fresh
        for worker in fresh:
            worker.wait_until_ready()

    def kill_worker(self) -> None:
        self.workers[0].popen.kill()
        self.workers[0].popen.communicate()

    def empty(self) -> None:
        """Restart without anything of what was written."""
        with redis.Redis.from_url(self.server.url, decode_responses=True) as valkey:
            folder: Any = valkey.config_get("dir")
        self.server.stop(hard=True)
        shutil.rmtree(Path(folder["dir"]) / "appendonlydir")
        self.server.start()

    def kill_connections(self) -> None:
        with redis.Redis.from_url(self.server.url) as valkey:
            for kind in ("normal", "pubsub"):
                valkey.client_kill_filter(_type=kind, skipme=True)


@contextmanager
def stage() -> Iterator[Stage]:
    with ExitStack() as stack:
        one = Stage(stack.enter_context(embedded_valkey(aof=True)))
        stack.callback(lambda: [worker.end() for worker in one.workers])
        one.fill()
        yield one


class Undisturbed:
    """The samples of texts as they stand in Redis, spoken by a worker of their own."""

    def __init__(self, url: str) -> None:
        self._keys = Keys("undisturbed")
        self._valkey = redis.Redis.from_url(url, protocol=2)
        self._worker = Process(url, "--prefix", "undisturbed")
        self._worker.wait_until_ready()
        self._known: dict[str, bytes] = {}

    def __call__(self, text: str) -> bytes:
        if text not in self._known:
            session_id = f"s{len(self._known)}"
            self._valkey.xadd(self._keys.jobs, {"session_id": session_id, "text": text})
            self._known[text] = self._read(self._keys.audio(session_id))
        return self._known[text]

    def _read(self, key: str) -> bytes:
        deadline_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline_s:
            entries: Any = self._valkey.xrange(key)
            messages = [read_entry(fields).message for _, fields in entries]
            if any(isinstance(message, Complete) for message in messages):
                return b"".join(message.data for message in messages if isinstance(message, Audio))
            time.sleep(0.01)
        raise AssertionError("the undisturbed worker did not speak")

    def end(self) -> None:
        self._worker.end()
        self._valkey.close()
