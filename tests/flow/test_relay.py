"""A relay without input and output beside a real worker: each speak is answered once, whatever is done to Redis."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import redis

from schemas import Heard
from schemas.jobs import derived_seed
from tests.conftest import Server, eventually, make_settings, running
from tests.flow.listening import KEYS, replayed
from tests.tone import ToneEngine
from worker.audio.chain import Chain
from worker.embedded import embedded_valkey
from worker.settings import Settings
from worker.stream.client import Client
from worker.stream.hearing import Hearing, ReadEntry, as_messages

N_SESSIONS, N_JOBS = 10, 2


class Relay:
    """One session: publishes jobs, reads the stream by polling, and keeps what a client would receive.

    Jobs whose job_id begins with "w" are texts that are written in pieces.
    """

    def __init__(self, valkey: redis.Redis, session_id: str, sessions: redis.Redis | None = None) -> None:
        self._valkey = valkey
        self._sessions = sessions or valkey
        self.session_id = session_id
        self.hearing = Hearing()
        self.published: dict[str, str] = {}
        self.sent: list[dict[str, Any]] = []
        self._last_id = "0"

    def speak(self, job_id: str, text: str) -> str:
        self.published[job_id] = text
        self.hearing.published(job_id)
        fields: Any = {"session_id": self.session_id, "job_id": job_id, "seed": derived_seed("s", "")}
        if job_id.startswith("w"):
            fields["text_from"] = "stream"
            self.write(job_id, text)
        else:
            fields["text"] = text
        entry_id: Any = self._valkey.xadd(KEYS.jobs, fields)
        return str(entry_id.decode())

    def write(self, job_id: str, text: str) -> None:
        """Write the whole text in pieces of seven characters; entries that are there already are refused."""
        key = KEYS.text(self.session_id, job_id)
        pieces = [{"text": text[at : at + 7]} for at in range(0, len(text), 7)]
        for number, piece in enumerate([*pieces, {"end": "1"}], 1):
            with suppress(redis.ResponseError):
                self._sessions.xadd(key, piece, id=f"{number}-0")  # type: ignore[arg-type]
        self._sessions.pexpire(key, 600_000)

    def publish_again(self) -> None:
        for job_id in list(self.hearing.unfinished):
            self.speak(job_id, self.published[job_id])

    def read(self) -> None:
        read: Any = self._sessions.xread({KEYS.audio(self.session_id): self._last_id}, count=16)
        for entry_id, fields in read[0][1] if read else ():
            self._last_id = entry_id.decode()
            self.sent += as_messages(self.hearing.take(ReadEntry.of(fields)))

    def samples(self) -> bytes:
        return b"".join(base64.b64decode(message["data"]) for message in self.sent if "data" in message)

    def answers(self) -> list[str]:
        return [message["type"] for message in self.sent if message["type"] != "audio_chunk"]


def text_of(session: int, job: int) -> str:
    return f"Session {session} speaks its {job + 1}. text, and it takes a while. Then it ends."


async def finished(relays: list[Relay]) -> None:
    async with asyncio.timeout(60):
        while any(relay.hearing.unfinished for relay in relays):
            for relay in relays:
                relay.read()
            await asyncio.sleep(0.01)


@pytest.fixture(params=["all", "sessions"])
def losing(
    request: pytest.FixtureRequest, valkey: redis.Redis, valkey_server: Server
) -> Iterator[tuple[Settings, redis.Redis]]:
    """Settings, and the Redis of the sessions that a test empties: that of the jobs too, or one of their own."""
    if request.param == "all":
        yield make_settings(valkey_server.url), valkey
        return
    with embedded_valkey() as sessions, redis.Redis.from_url(sessions.url, protocol=2) as client:
        yield make_settings(valkey_server.url, session_redis_url=sessions.url), client


async def test_jobs_that_a_redis_lost_are_published_again_and_received_exactly_once(
    valkey: redis.Redis, losing: tuple[Settings, redis.Redis]
) -> None:
    settings, sessions = losing
    relays = [Relay(valkey, f"s{number}", sessions) for number in range(N_SESSIONS)]
    async with running(settings, ToneEngine(8, frame_s=0.01)):
        for number, relay in enumerate(relays):
            for job in range(N_JOBS):
                relay.speak(f"{'uw'[number % 2]}{job}", text_of(number, job))
        await eventually(lambda: sessions.xlen(KEYS.audio("s0")) > 3)
        for relay in relays:
            relay.read()
        sessions.flushall()
        for relay in relays:
            relay.publish_again()
        await finished(relays)
        await eventually(lambda: valkey.xlen(KEYS.jobs) == 0)
    for number, relay in enumerate(relays):
        assert relay.answers() == ["complete"] * N_JOBS
        assert "cancelled" not in relay.sent[-1]
        wanted = b"".join(replayed(Chain(24_000, "pcm_s16le"), text_of(number, job)) for job in range(N_JOBS))
        assert relay.samples() == wanted
        for job_id, text in relay.published.items():
            received = relay.hearing.jobs[job_id]
            assert received.heard(received.made) == Heard(text, 1, False)
            assert received.heard(received.segments[-1].pos) == Heard(text.rpartition(" Then")[0], 0, False)


async def test_a_job_that_is_published_again_while_it_waits_is_spoken_and_after_its_end_is_answered_once(
    valkey: redis.Redis, valkey_server: Server
) -> None:
    relay = Relay(valkey, "s0")
    async with running(make_settings(valkey_server.url), ToneEngine(2, frame_s=0.01)):
        for job in range(3):
            relay.speak(f"u{job}", text_of(0, job))
        for _ in range(5):
            relay.publish_again()
            await eventually(lambda: valkey.xlen(KEYS.audio("s0")) > len(relay.sent))
            relay.read()
        await finished([relay])
        relay.speak("u3", "The last one.")
        for job_id in ("u0", "u1", "u2"):
            valkey.xadd(KEYS.jobs, {"session_id": "s0", "job_id": job_id, "text": relay.published[job_id]})
        await eventually(lambda: valkey.xlen(KEYS.jobs) == 0)
        relay.read()
        await finished([relay])
    assert relay.answers() == ["complete"] * 4


async def test_a_stop_silences_at_once_and_the_next_job_is_received_whole(
    valkey: redis.Redis, valkey_server: Server, client: Client
) -> None:
    relay = Relay(valkey, "s0")
    async with running(make_settings(valkey_server.url), ToneEngine(2, frame_s=0.02)):
        relay.speak("u0", text_of(0, 0))
        upto = relay.speak("u1", text_of(0, 1))

        def has_chunk() -> bool:
            relay.read()
            return bool(relay.sent)

        await eventually(has_chunk)
        relay.sent += as_messages(relay.hearing.stop())
        assert relay.sent[-1] == {"type": "audio_chunk", "data": "", "is_final": True}
        n_sent = len(relay.sent)
        await client.cancel("s0", upto)
        relay.speak("u2", text_of(0, 2))
        await finished([relay])
    cancelled = {"type": "complete", "cancelled": True}
    assert relay.sent[n_sent : n_sent + 2] == [cancelled, cancelled]
    assert relay.sent[-1] == {"type": "complete"}
    relay.sent = relay.sent[n_sent:]
    assert relay.samples() == replayed(Chain(24_000, "pcm_s16le"), text_of(0, 2))
