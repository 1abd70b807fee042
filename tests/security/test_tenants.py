"""A relay that is given some sessions only: the rules of docs/operations.md, on a real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from tests.conftest import running
from tests.flow.listening import KEYS, until_ended
from tests.security.deployed import Access, acl_of_operations, deployed
from tests.stream.servers import needs_redis
from tests.tone import ToneEngine
from worker.stream.client import Client
from worker.stream.transport.open import open_link
from worker.stream.transport.retry import MissingRight

pytestmark = needs_redis

OURS = ("a.1", "a.x:y-z_9", "a.")
OTHERS = ("b.1", "a", "a1", "a-1", "ab.1", "aa.1", "A.1", ".a.1", "x.a.1", "speak")


@pytest.fixture(scope="module")
def access(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Access]:
    with deployed(tmp_path_factory.mktemp("tenants"), more=acl_of_operations("user relay-a ")) as one:
        yield one.access


def calls(session_id: str) -> list[list[str]]:
    """All that a relay sends for a session."""
    audio, cut, text = KEYS.audio(session_id), KEYS.cut(session_id), KEYS.text(session_id, "j1")
    lines = (
        "XADD {cut} MAXLEN 1 1-1 type cancel",
        "PEXPIRE {cut} 600000",
        "XADD {audio} 2-0 type cancel upto 1-1",
        "XREAD COUNT 1 STREAMS {audio} 0",
        "XREVRANGE {audio} + - COUNT 1",
        "XTRIM {audio} MINID 1-1",
        "PEXPIRE {audio} 10000",
        "XADD {text} * text Hello.",
        "PEXPIRE {text} 600000",
    )
    return [line.format(audio=audio, cut=cut, text=text).split() for line in lines]


@pytest.mark.parametrize("session_id", OURS)
def test_its_own_sessions_are_open_to_it(access: Access, session_id: str) -> None:
    with access.client("relay-a") as relay:
        for words in calls(session_id):
            relay.execute_command(*words)


def test_it_hears_the_hints_of_its_own_sessions_alone(access: Access) -> None:
    with access.client("relay-a") as relay, relay.pubsub() as reader:
        for session_id in OURS:
            reader.subscribe(KEYS.audio(session_id))
            assert reader.get_message(timeout=5)["type"] == "subscribe"
        for session_id in OTHERS:
            with pytest.raises(redis.exceptions.NoPermissionError):
                relay.execute_command("SUBSCRIBE", KEYS.audio(session_id))


@pytest.mark.parametrize("session_id", OTHERS)
def test_every_other_session_is_shut(access: Access, session_id: str) -> None:
    ours = KEYS.audio("a.1")
    with access.client("relay-a") as relay:
        for words in [*calls(session_id), ["XREAD", "STREAMS", ours, KEYS.audio(session_id), "0", "0"]]:
            with pytest.raises(redis.exceptions.NoPermissionError):
                relay.execute_command(*words)


async def test_a_tenants_relay_hears_its_own_audio_while_another_session_speaks(access: Access) -> None:
    address = access.address("relay-a")
    producer = open_link(access.address("producer"))
    async with (
        running(access.settings("worker"), ToneEngine(4)),
        Client(address, address, KEYS) as tenant,
        Client(access.address("relay"), access.address("relay"), KEYS) as relay,
    ):
        for session_id in ("a.2", "b.2"):
            await producer.call("XADD", KEYS.jobs, "*", "session_id", session_id, "text", "Hello.")
        await until_ended(tenant, "a.2")
        await until_ended(relay, "b.2")
        with pytest.raises(MissingRight):
            await until_ended(tenant, "b.2")
        for attempt in (tenant.cancel, tenant.leave):
            with pytest.raises(MissingRight):
                await attempt("b.2")
    await producer.close()
