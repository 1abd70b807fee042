"""The usual commands of the four users, each under its name and password, and a list of those refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from schemas.messages import Cancelled, Complete, Error
from schemas.wire import Entry
from tests.conftest import running
from tests.flow.listening import KEYS
from tests.security.deployed import Access
from tests.shell import Run
from tests.tone import ToneEngine
from worker.commands.doctor.redis import check_redis
from worker.stream.client import TERMINAL, Client
from worker.stream.transport.base import Link
from worker.stream.transport.open import open_link

LONG = "This is a long story that nobody will hear to its end. " * 20
FRAME_S = 0.01


@dataclass(frozen=True, slots=True)
class Everybody:
    """A producer, and a relay with its client; a worker speaks, and the operator has the command line."""

    access: Access
    producer: Link
    relay: Client
    relays_link: Link
    run: Run

    async def publish(self, session_id: str, text: str, *more: str) -> str:
        words = ("session_id", session_id, "text", text, "ttl_ms", "300000", *more)
        entry_id: bytes = await self.producer.call("XADD", KEYS.jobs, "*", *words)
        return entry_id.decode()

    async def until(self, session_id: str, *types: str) -> tuple[str, Entry]:
        """The session's first entry of one of these types, as its relay hears it."""
        async with asyncio.timeout(20):
            async for stream_id, entry in self.relay.listen(session_id):
                if entry.type in types:
                    return stream_id, entry
        raise AssertionError("the stream ended")

    async def operate(self, *words: str) -> str:
        """What a command of the operator's prints."""
        done = await asyncio.to_thread(self.run, *words, env=self.access.environment("operator"))
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()


@asynccontextmanager
async def everybody(access: Access, run: Run) -> AsyncIterator[Everybody]:
    address = access.address("relay")
    producer, link = open_link(access.address("producer")), open_link(address)
    async with running(access.settings("worker"), ToneEngine(4, FRAME_S)), Client(address, address, KEYS) as relay:
        try:
            yield Everybody(access, producer, relay, link, run)
        finally:
            await producer.close()
            await link.close()


async def hear_trim_cancel_and_leave(who: Everybody) -> None:
    await who.publish("heard", "Hello.")
    end_id, end = await who.until("heard", *TERMINAL)
    assert isinstance(end.message, Complete)
    assert await who.relays_link.call("XTRIM", KEYS.audio("heard"), "MINID", end_id) > 0

    entry_id = await who.publish("cancelled", LONG)
    await who.until("cancelled", "audio")
    await who.relay.cancel("cancelled", entry_id)
    assert isinstance((await who.until("cancelled", *TERMINAL))[1].message, Cancelled)

    await who.publish("left", LONG)
    await who.until("left", "audio")
    await who.relay.leave("left")
    assert isinstance((await who.until("left", *TERMINAL))[1].message, Cancelled)


async def look_redrive_and_cancel(who: Everybody) -> None:
    await who.publish("dead", "Hello.", "voice", "nobody", "job_id", "j1")
    assert isinstance((await who.until("dead", *TERMINAL))[1].message, Error)
    await who.publish("long", LONG)
    await who.until("long", "audio")
    status = json.loads(await who.operate("queue", "status", "--json"))
    assert (status["unsettled"], status["running"], status["dead"]) == (1, 1, 1)
    (letter,) = json.loads(await who.operate("queue", "dead", "--json"))
    assert letter["dead_reason"] == "unknown_voice"
    assert "published 1" in await who.operate("queue", "redrive", letter["id"])
    assert "the queue is sound" in await who.operate("queue", "status")
    await who.operate("cancel", "long")
    assert isinstance((await who.until("long", *TERMINAL))[1].message, Cancelled)
    async with asyncio.timeout(10):
        while "unknown_voice" not in await who.operate("queue", "dead"):  # noqa: ASYNC110
            await asyncio.sleep(0.05)  # until it has died again


async def doctor_of(access: Access, user: str) -> dict[str, str]:
    """What doctor finds of Redis as this user: {row: state}."""
    found = await asyncio.to_thread(lambda: list(check_redis(access.settings(user))))
    return {finding.what.removeprefix("redis "): str(finding.state) for finding in found}
