"""A worker whose connections go to two masters takes no job over, and reconnects."""

from __future__ import annotations

import pytest
import redis

from tests.conftest import Server, eventually, make_settings, running
from tests.flow.listening import KEYS, check_complete, read_session, until_ended
from tests.tone import ToneEngine
from worker.stream.client import Client
from worker.stream.heartbeat import Heartbeat


async def test_a_worker_that_finds_two_masters_connects_again_and_loses_nothing(
    valkey: redis.Redis,
    valkey_server: Server,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running(make_settings(valkey_server.url), ToneEngine(2, frame_s=0.03)) as worker:
        entry_id = await client.publish({"session_id": "s", "text": "A sentence that is spoken for some time. " * 2})
        await eventually(lambda: valkey.xlen(KEYS.audio("s")) > 1)
        assert worker._masters.has_one_master
        connection = worker._links.job_link._pipeline  # type: ignore[attr-defined]
        with monkeypatch.context() as elsewhere:
            elsewhere.setattr(Heartbeat, "server", "another:6379")
            assert not worker._masters.has_one_master
            await eventually(lambda: worker._links.job_link._pipeline is not connection)
        await eventually(lambda: worker._masters.has_one_master)
        await until_ended(client, "s", within_s=30)
    check_complete(read_session(valkey, "s")[entry_id])
    assert "different masters" in caplog.text
