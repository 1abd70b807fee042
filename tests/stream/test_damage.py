"""Damage is logged once and counted each time, whichever connection of a worker meets it."""

from __future__ import annotations

from collections import Counter

import pytest
import redis

from tests.conftest import Server, eventually, make_settings, running
from tests.flow.listening import KEYS, check_complete, read_session, until_ended
from tests.tone import ToneEngine
from worker.stream.client import Client
from worker.stream.integrity.damage_log import DamageLog


def test_what_is_found_again_is_counted_and_not_logged_again(caplog: pytest.LogCaptureFixture) -> None:
    counted: Counter[str] = Counter()
    damage = DamageLog(KEYS, lambda key: counted.update([key]))
    for _ in range(3):
        damage.report([b"gates", b"A = oops", b"ready", b"\xff"])
    assert counted == {"gates": 3, "ready": 3}
    assert [record.args[0] for record in caplog.records if record.args] == [  # type: ignore[index]
        "makima:{speak}:gates",
        "makima:{speak}:ready",
    ]


async def test_a_key_that_only_a_beat_meets_is_put_aside_and_counted(
    valkey: redis.Redis, valkey_server: Server, client: Client
) -> None:
    async with running(make_settings(valkey_server.url, slots=1), ToneEngine(1, frame_s=0.04)) as worker:
        entry_id = await client.publish({"session_id": "s", "text": "A sentence that is spoken for some time. " * 2})
        await eventually(lambda: valkey.xlen(KEYS.audio("s")) > 1)
        valkey.set(KEYS.job_plane_key("attempts"), "x")
        registry = worker.metrics.registry
        await eventually(lambda: bool(registry.get_sample_value("makima_tts_damage_total", {"key": "attempts"})))
        await until_ended(client, "s", within_s=30)
    check_complete(read_session(valkey, "s")[entry_id])
