"""A worker whose stderr is a full pipe."""

from __future__ import annotations

import asyncio
import sys

import pytest
import redis

from tests.conftest import REPOSITORY, Server, eventually, http_status
from tests.flow.listening import KEYS, read_session, until_ended
from tests.processes import full_pipe
from tests.stream.servers import free_port
from worker.stream.client import Client


@pytest.fixture
def valkey_server(servers: dict[str, Server]) -> Server:
    """One server will do: this is about the worker's own files."""
    return servers["valkey"]


async def test_it_speaks_answers_and_ends_at_sigterm(
    valkey: redis.Redis, valkey_server: Server, client: Client
) -> None:
    port = free_port()
    command = [
        sys.executable, "-m", "worker.cli", "worker", "--redis-url", valkey_server.url, "--engine", "preview",
        "--voice", "placeholder", "--log-level", "debug", "--health-port", str(port),
    ]  # fmt: skip
    with full_pipe() as pipe:
        process = await asyncio.create_subprocess_exec(*command, cwd=REPOSITORY, stdout=pipe, stderr=pipe)
        try:
            for n in range(300):
                await client.publish({"session_id": f"s{n}", "text": "Hello.", "voice": "nobody"})
            good = await client.publish({"session_id": "good", "text": "Hello.", "ttl_ms": "300000"})
            await until_ended(client, "good", within_s=60)
            await eventually(lambda: valkey.xlen(KEYS.jobs) == 0, within_s=60)
            assert await http_status(port, "/healthz") == 200
            process.terminate()
            assert await asyncio.wait_for(process.wait(), 30) == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert read_session(valkey, "good")[good].complete
