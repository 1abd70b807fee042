"""A URL of another kind of server: the worker waits, logs the URL to write, and claims no jobs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis

from tests.conftest import eventually, make_settings, running, sample
from tests.flow.listening import KEYS
from tests.stream.servers import HOST, Server, cluster, needs_cli, sentinel_service
from tests.tone import ToneEngine
from worker.embedded import Embedded, embedded_valkey
from worker.stream.client import Client
from worker.stream.keys import Keys
from worker.stream.transport.address import addresses


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    with cluster(tmp_path_factory.mktemp("cluster"), "--cluster-node-timeout", "15000") as found:
        yield found


@pytest.fixture
def jobs() -> Iterator[Embedded]:
    with embedded_valkey() as one:
        yield one


def says(problems: list[str], words: str) -> bool:
    return any(words in problem for problem in problems)


@needs_cli
async def test_one_node_of_a_cluster_for_the_sessions_is_said_and_no_job_is_taken(
    jobs: Embedded, nodes: list[Server]
) -> None:
    settings = make_settings(jobs.url, session_redis_url=nodes[0].url, lease_ms=60_000)
    own = redis.Redis.from_url(jobs.url, protocol=2)
    async with running(settings, ToneEngine(2)) as worker:
        async with Client(*addresses(make_settings(jobs.url)), Keys()) as client:
            await client.publish({"session_id": "s", "text": "Nobody can hear this."})
        await eventually(lambda: says(worker.problems(), "redis+cluster://"))  # and not only after a lease
        await asyncio.sleep(0.2)
        assert own.xlen(KEYS.jobs) == 1
        assert sample(worker, "slots_busy") == 0
    own.close()


@needs_cli
async def test_one_node_of_a_cluster_for_the_jobs_is_waited_for(nodes: list[Server]) -> None:
    async with running(make_settings(nodes[0].url), ToneEngine(2)) as worker:
        await eventually(lambda: says(worker.problems(), "redis+cluster://"), within_s=20)


@needs_cli
async def test_a_sentinel_for_the_jobs_is_waited_for(tmp_path: Path) -> None:
    with sentinel_service(tmp_path, 1) as service:
        async with running(make_settings(service.sentinels[0].url), ToneEngine(2)) as worker:
            await eventually(lambda: says(worker.problems(), "redis+sentinel://"), within_s=20)


@asynccontextmanager
async def web_server() -> AsyncIterator[int]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, HOST, 0) as one:
        yield one.sockets[0].getsockname()[1]
        await asyncio.sleep(0.1)


async def test_a_balancers_answer_is_waited_out_without_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async with web_server() as port:
        settings = make_settings(f"redis://{HOST}:{port}/0", lease_ms=400)
        async with running(settings, ToneEngine(2)) as worker:
            await eventually(lambda: says(worker.problems(), "not a Redis server"), within_s=20)
    assert "Traceback" not in caplog.text
    assert "not a Redis server" in caplog.text


async def test_a_host_whose_name_is_no_text_can_be_a_worker(jobs: Embedded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "h\udcff\udc80st")
    own = redis.Redis.from_url(jobs.url, protocol=2)
    async with running(make_settings(jobs.url), ToneEngine(2)) as worker:
        await eventually(lambda: own.hexists(KEYS.workers, worker.name))
        assert "h\ufffd" in worker.name
    own.close()
