"""The text of a job appears in no log, metric or health page."""

from __future__ import annotations

import asyncio
import io
import logging
import urllib.request
from collections.abc import Iterator

import pytest
import redis

from tests.conftest import eventually, running
from tests.flow.listening import KEYS, read_session, until_ended
from tests.tone import ToneEngine
from worker.observe.health import HealthServer
from worker.observe.logs import OURS, configure
from worker.settings import Settings
from worker.stream.client import Client

SECRET = "Marzipan"


@pytest.fixture(params=["text", "json"])
def written(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    """What a worker writes at its usual level."""
    stream, root = io.StringIO(), logging.getLogger()
    handlers, level = list(root.handlers), root.level
    levels = {name: logging.getLogger(name).level for name in OURS}
    configure("info", request.param, stream)
    yield stream
    for handler in [handler for handler in root.handlers if handler not in handlers]:
        root.removeHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(False)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


JOBS = {
    "complete": {},
    "unknown_voice": {"voice": "nobody"},
    "invalid_field": {"ttl_ms": "soon"},
    "text_too_long": {"text": f"{SECRET} " * 1000},
    "no_audio": {"text": f"silent {SECRET}"},
}


def page(port: int, path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=5) as answer:
        return bytes(answer.read())


async def test_no_text_is_logged_or_measured(
    valkey: redis.Redis, settings: Settings, client: Client, written: io.StringIO
) -> None:
    engine = ToneEngine(2)
    worker_settings = settings.model_copy(update={"max_attempts": 1})
    async with running(worker_settings, engine) as worker:
        with HealthServer(worker, worker.metrics, 0) as health:
            for name, fields in JOBS.items():
                await client.publish({"session_id": name, "text": f"{SECRET} is sweet.", **fields})
                await until_ended(client, name)
            engine.fail = 1
            await client.publish({"session_id": "engine_failed", "text": f"{SECRET} is sweet."})
            await until_ended(client, "engine_failed")
            await eventually(lambda: valkey.xlen(KEYS.jobs) == 0)
            for path in ("healthz", "readyz", "metrics"):
                assert SECRET.encode() not in await asyncio.to_thread(page, health.port, path)
    for name in [*JOBS, "engine_failed"]:
        ((_, job),) = read_session(valkey, name).items()
        assert getattr(job.ends[0], "code", "complete") == name
    lines = written.getvalue()
    assert "unknown_voice" in lines
    assert "engine_failed" in lines
    assert SECRET not in lines
