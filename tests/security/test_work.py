"""Each user can do all of its work under its name and password."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.conftest import running
from tests.flow.listening import KEYS, until_ended
from tests.security.deployed import Access, Deployed
from tests.security.everybody import doctor_of, everybody, hear_trim_cancel_and_leave, look_redrive_and_cancel
from tests.shell import Run
from tests.stream.servers import needs_redis, needs_tls
from tests.tone import ToneEngine
from worker.stream.client import Client

pytestmark = needs_redis


@pytest.fixture(params=["plain", pytest.param("tls", marks=needs_tls)])
def access(request: pytest.FixtureRequest) -> Access:
    one: Deployed = request.getfixturevalue({"plain": "plain_server", "tls": "tls_only_server"}[request.param])
    with one.access.client("test") as anybody:
        anybody.flushall()
        anybody.acl_log_reset()
    return one.access


def refused(access: Access) -> list[Any]:
    """What Redis refused to anybody since it was looked for last."""
    with access.client("test") as anybody:
        log: Any = anybody.acl_log()
        return [(entry["username"], entry["reason"], entry["object"]) for entry in log]


async def test_a_job_is_published_spoken_heard_cancelled_and_operated_on(access: Access, run: Run) -> None:
    async with everybody(access, run) as who:
        await hear_trim_cancel_and_leave(who)
        await look_redrive_and_cancel(who)
    assert refused(access) == []


async def test_a_relay_hears_hints_and_texts_are_written(access: Access) -> None:
    text = KEYS.text("hinted", "j1")
    relay = access.client("relay", encoding_errors="surrogateescape")  # audio is no text
    with relay, access.client("producer") as producer, relay.pubsub() as reader:  # type: ignore[no-untyped-call]
        reader.subscribe(KEYS.audio("hinted"))
        for user in (relay, producer):
            assert user.xadd(text, {"text": "Hello."})
            assert user.pexpire(text, 600_000)
        async with running(access.settings("worker"), ToneEngine(1)):
            producer.xadd(KEYS.jobs, {"session_id": "hinted", "text": "Hello."})
            types = [await asyncio.to_thread(reader.get_message, timeout=10) for _ in range(3)]
        assert [one["type"] for one in types] == ["subscribe", "message", "message"]
        found: Any = relay.xread({KEYS.audio("hinted"): "0"})
        assert found[0][1][0][0] == types[1]["data"]
    assert refused(access) == []


async def test_a_relay_publishes_and_receives_as_one_user(access: Access) -> None:
    async def pieces() -> AsyncIterator[str]:
        for piece in ("Good ", "night."):
            yield piece

    address = access.address("relay")
    async with running(access.settings("worker"), ToneEngine(2)), Client(address, address, KEYS) as relay:
        await relay.publish({"session_id": "both", "job_id": "u1", "text": "Hello."})
        await relay.publish_text({"session_id": "both", "job_id": "u2", "text_from": "stream"}, pieces())
        await until_ended(relay, "both", n_jobs=2)
        await relay.leave("both")
    assert refused(access) == []


async def test_doctor_answers_the_operator_all_but_one_question(access: Access) -> None:
    found = await doctor_of(access, "operator")
    assert (found.pop("texts"), found.pop("hints")) == ("warn", "warn")  # the operator speaks no jobs
    assert found.pop("latency") in ("ok", "warn")  # the machine may be busy
    unknown = found.pop("proto-max-bulk-len")  # asked by CONFIG GET, which would show Redis' own passwords too
    assert unknown == "warn"
    assert set(found.values()) == {"ok"}
    assert found.keys() == {"server", "scripts", "appendonly", "maxmemory-policy", "clock", "queue"}


async def test_doctor_tells_a_worker_that_it_can_work(access: Access) -> None:
    found = await doctor_of(access, "worker")
    assert {found[name] for name in ("server", "scripts", "clock", "texts", "hints")} == {"ok"}
    assert "fail" not in found.values()
    assert found["queue"] == "warn"  # what lies in it is the operator's to look over
    asked_in_vain = {("worker", "command", name) for name in ("info", "config|get", "scan", "multi", "exec")}
    assert set(refused(access)) == asked_in_vain
