"""A relay in this process between sockets, a Redis and a worker: what becomes of each utterance in trouble."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest
import redis

from tests.conftest import Server, eventually, make_settings, running
from tests.flow.listening import KEYS, replayed
from tests.relay.callers import CANCELLED, Caller, Utterance, started
from tests.tone import ToneEngine
from worker.audio.chain import Chain
from worker.relay import outlet, session
from worker.relay.server import RelayServer

TEXT = "This is spoken in two segments, and it takes a while. Then it ends."


@pytest.fixture
def valkey_server(servers: dict[str, Server]) -> Server:
    """One server will do: the relay sends nothing that the two kinds answer differently."""
    return servers["valkey"]


@pytest.fixture(params=[64, 0], ids=["own connections", "hints"])
def n_own(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def relay_for(url: str, n_own: int = 64) -> RelayServer:
    return RelayServer(make_settings(url, relay_port=0, relay_own_connections=n_own, relay_pace_ahead_ms=0))


@asynccontextmanager
async def relaying(url: str, n_own: int = 64) -> AsyncIterator[str]:
    """The address of the relay's sockets."""
    async with relay_for(url, n_own).running() as relay:
        yield relay.address.replace("http", "ws") + "api/v1/speak"


def is_whole(heard: Utterance, caller: Caller, utterance: int, text: str = TEXT) -> bool:
    """Whether these are the samples that an undisturbed worker makes."""
    return heard.whole() == replayed(Chain(24_000, "pcm_s16le"), text, f"u{utterance}", caller.session_id)


def lose_everything(valkey: redis.Redis) -> None:
    """Empty the server and break all connections to it but this one."""
    valkey.flushall()
    for kind in ("normal", "pubsub"):
        valkey.client_kill_filter(_type=kind, skipme=True)


async def test_what_a_redis_lost_is_published_again_and_received_exactly_once(
    valkey: redis.Redis, valkey_server: Server, n_own: int
) -> None:
    async with (
        running(make_settings(valkey_server.url, lease_ms=500), ToneEngine(4, frame_s=0.02)),
        relaying(valkey_server.url, n_own) as address,
        started(address) as whole,
        started(address) as written,
    ):
        for _ in range(2):
            await whole.send("speak", text=TEXT)
        for at in range(0, len(TEXT), 9):
            await written.send("text", text=TEXT[at : at + 9])
        await written.send("end")
        heard = [await one.first_chunk() for one in (whole, written)]
        lose_everything(valkey)
        for caller, begun in zip((whole, written), heard, strict=True):
            assert is_whole(await caller.utterance(begun), caller, 1)
        assert is_whole(await whole.utterance(), whole, 2)


async def test_a_stop_holds_although_redis_lost_it(valkey: redis.Redis, valkey_server: Server, n_own: int) -> None:
    async with (
        running(make_settings(valkey_server.url, lease_ms=500), ToneEngine(4, frame_s=0.05)),
        relaying(valkey_server.url, n_own) as address,
        started(address) as caller,
    ):
        await caller.send("speak", text=TEXT)
        heard = await caller.first_chunk()
        await caller.send("stop", played_ms=0)
        lose_everything(valkey)
        await caller.send("speak", text="The next one.")
        while not heard.n_final:
            heard.take(await caller.receive())
        assert (await caller.receive())["type"] == "text_heard"
        assert (await caller.utterance(heard)).answer == CANCELLED
        assert is_whole(await caller.utterance(), caller, 2, "The next one.")
        await eventually(lambda: valkey.xlen(KEYS.jobs) == 0, 30)


async def test_a_stop_that_is_repeated_spares_what_came_after_it(
    valkey: redis.Redis, valkey_server: Server, n_own: int
) -> None:
    async with (
        running(make_settings(valkey_server.url, lease_ms=500), ToneEngine(4, frame_s=0.05)),
        relaying(valkey_server.url, n_own) as address,
        started(address) as caller,
    ):
        for _ in range(3):
            await caller.send("speak", text=TEXT)
        heard = await caller.first_chunk()
        await caller.send("stop")
        await caller.send("speak", text="The next one.")
        for kind in ("normal", "pubsub"):
            valkey.client_kill_filter(_type=kind, skipme=True)
        for begun in (heard, None, None):
            assert (await caller.utterance(begun)).answer == CANCELLED
        assert is_whole(await caller.utterance(), caller, 4, "The next one.")


async def test_a_job_that_was_given_up_is_cancelled_when_it_turns_up(
    valkey: redis.Redis, valkey_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "PUBLISH_WITHIN_S", 0.2)
    engine = ToneEngine(4, frame_s=0.05)
    async with (
        running(make_settings(valkey_server.url), engine),
        relaying(valkey_server.url) as address,
        started(address) as caller,
    ):
        await caller.send("speak", text="The first one is spoken.")
        first = await caller.first_chunk()
        valkey.execute_command("CLIENT", "PAUSE", 60_000, "WRITE")  # type: ignore[no-untyped-call]
        await caller.send("speak", text=TEXT * 10)
        while (message := await caller.receive())["type"] != "error":
            first.take(message)
        assert message["code"] == "unavailable"
        valkey.execute_command("CLIENT", "UNPAUSE")  # type: ignore[no-untyped-call]
        assert is_whole(await caller.utterance(first), caller, 1, "The first one is spoken.")
        await caller.send("speak", text="The third one.")
        assert is_whole(await caller.utterance(), caller, 3, "The third one.")
        assert engine.n_frames < len(TEXT) * 10 / 4


@pytest.mark.parametrize("is_stopped", [True, False])
async def test_without_redis_every_utterance_is_answered_and_a_stop_at_once(
    is_stopped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "PUBLISH_WITHIN_S", 60.0 if is_stopped else 0.1)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        async with relaying(f"redis://127.0.0.1:{nobody.getsockname()[1]}/0") as address, started(address) as caller:
            for _ in range(2):
                await caller.send("speak", text="Hello.")
            await caller.send("text", text="An open")
            await caller.send("text", text=" one.")
            if is_stopped:
                await caller.send("stop")
            for _ in range(3):
                message = await caller.receive()
                assert message == CANCELLED if is_stopped else message["code"] == "unavailable"


async def test_a_job_that_redis_refuses_is_unavailable_at_once(valkey: redis.Redis, valkey_server: Server) -> None:
    async with relaying(valkey_server.url) as address, started(address) as caller:
        valkey.config_set("maxmemory", "1")
        try:
            await caller.send("speak", text="Hello.")
            assert (await caller.receive(within_s=session.PUBLISH_WITHIN_S / 2))["code"] == "unavailable"
        finally:
            valkey.config_set("maxmemory", "0")


async def test_a_client_that_leaves_costs_nothing_more(valkey: redis.Redis, valkey_server: Server, n_own: int) -> None:
    engine = ToneEngine(4, frame_s=0.02)
    async with running(make_settings(valkey_server.url), engine), relaying(valkey_server.url, n_own) as address:
        async with started(address) as idle:
            await idle.send("speak", text="Hello.")
            await idle.utterance()
        await eventually(lambda: 0 < valkey.pttl(KEYS.audio(idle.session_id)) <= 10_000, 30)
        async with started(address) as speaking:
            for _ in range(3):
                await speaking.send("speak", text=TEXT * 20)
            await speaking.first_chunk()
        await eventually(lambda: valkey.xlen(KEYS.jobs) == 0, 30)
        assert engine.n_frames < len(TEXT) * 20


@contextmanager
def deaf_client(address: str) -> Iterator[None]:
    """A socket that has sent start and a long speak, and never reads."""
    host, port = address.removeprefix("http://").rstrip("/").split(":")
    with socket.create_connection((host, int(port))) as raw:
        raw.sendall(
            f"GET /api/v1/speak HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        start = {"type": "start", "sample_rate": 48000, "encoding": "pcm_f32le"}
        for message in (start, {"type": "speak", "text": TEXT * 60}):
            data = json.dumps(message).encode()
            size = bytes([0x80 | 126]) + len(data).to_bytes(2, "big") if len(data) > 125 else bytes([0x80 | len(data)])
            raw.sendall(b"\x81" + size + bytes(4) + data)
        yield


async def test_a_client_that_takes_nothing_for_long_is_closed(
    valkey: redis.Redis, valkey_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outlet, "STALLED_S", 0.3)
    monkeypatch.setattr(outlet, "CLOSE_S", 0.3)
    async with running(make_settings(valkey_server.url)), relay_for(valkey_server.url).running() as relay:

        def n_sockets() -> float | None:
            return relay.metrics.registry.get_sample_value("makima_tts_relay_sockets")

        with deaf_client(relay.address):
            await eventually(lambda: n_sockets() == 1, 30)
            await eventually(lambda: n_sockets() == 0, 30)
        await eventually(lambda: valkey.xlen(KEYS.jobs) == 0, 30)


async def test_a_relay_leaves_no_thread_and_no_task(valkey: redis.Redis, valkey_server: Server, n_own: int) -> None:
    before, n_threads = asyncio.all_tasks(), threading.active_count()
    async with relaying(valkey_server.url, n_own) as address, started(address) as caller:
        await caller.send("speak", text="Nobody speaks this.")
        await eventually(lambda: valkey.xlen(KEYS.jobs) == 1, 30)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() - before == set()
    assert threading.active_count() == n_threads
