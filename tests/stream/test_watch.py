"""The watch of a session: what wakes an utterance that waits, and what becomes of its connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis

from tests.conftest import eventually
from tests.flow.listening import KEYS
from tests.stream.servers import HOST, Server, Service, cli, needs_cli
from worker.stream.transport.address import Address
from worker.stream.transport.retry import Refusal, RetryPolicy
from worker.stream.watch import COUNT, SessionWatch, WatchAnswer, WatchLinks, WrongTextKey

AUDIO, TEXT = KEYS.audio("s"), KEYS.text("s", "j1")
EPOCH = b"1700000000000"
LONG_S, SHORT_S = 30.0, 0.02
NOTHING = WatchAnswer()


@asynccontextmanager
async def watching(url: str, most: int = 2, text: str | None = TEXT) -> AsyncIterator[SessionWatch]:
    links = WatchLinks(Address(url), RetryPolicy("session"), most)
    watch = SessionWatch(links, AUDIO, text)
    try:
        yield watch
    finally:
        await watch.close()
        await links.close()


@pytest.fixture
def valkey(valkey: redis.Redis) -> Iterator[redis.Redis]:
    """An empty server. Deletes the keys, which get no TTL here."""
    yield valkey
    valkey.flushall()


@pytest.fixture
async def watch(url: str, quiet: None) -> AsyncIterator[SessionWatch]:
    del quiet
    async with watching(url) as one:
        yield one


def blocked(valkey: redis.Redis) -> int:
    info: Any = valkey.info("clients")
    return int(info["blocked_clients"])


def n_clients(valkey: redis.Redis) -> int:
    return len([one for one in valkey.client_list() if one["cmd"].startswith("xread")])


async def woken(
    watch: SessionWatch, valkey: redis.Redis, write: Callable[[], object], text_after: str | None = "0"
) -> WatchAnswer:
    """What a wait that blocks already returns after the write."""
    waiting = asyncio.create_task(watch.wait(LONG_S, EPOCH, text_after))
    await eventually(lambda: blocked(valkey) == 1)
    write()
    async with asyncio.timeout(5):
        return await waiting


async def test_text_wakes_with_its_fields(watch: SessionWatch, valkey: redis.Redis) -> None:
    answer = await woken(watch, valkey, lambda: valkey.xadd(TEXT, {"text": "Good mor", "flush": "1"}, id="5-1"))
    assert answer == WatchAnswer(((b"5-1", [b"text", b"Good mor", b"flush", b"1"]),))


async def test_text_that_was_there_before_is_returned_at_once_in_pages(
    watch: SessionWatch, valkey: redis.Redis
) -> None:
    for n in range(1, COUNT + 4):
        valkey.xadd(TEXT, {"text": str(n)}, id=f"{n}-0")
    first = await watch.wait(LONG_S, EPOCH, "0")
    assert [fields[1] for _, fields in first.text] == [b"%d" % n for n in range(1, COUNT + 1)]
    rest = await watch.wait(LONG_S, EPOCH, first.text[-1][0].decode())
    assert [entry_id for entry_id, _ in rest.text] == [b"%d-0" % n for n in range(COUNT + 1, COUNT + 4)]


async def test_another_writers_entry_wakes_and_the_writers_own_do_not(watch: SessionWatch, valkey: redis.Redis) -> None:
    def write() -> None:
        valkey.xadd(AUDIO, {"type": "begin"}, id=f"{EPOCH.decode()}-0")
        valkey.xadd(AUDIO, {"type": "audio"}, id=f"{EPOCH.decode()}-1")
        valkey.xadd(AUDIO, {"type": "cancel"}, id=f"{int(EPOCH) + 1}-0")
        valkey.xadd(AUDIO, {"type": "begin"}, id=f"{int(EPOCH) + 2}-0")

    answer = await woken(watch, valkey, write)
    assert answer == WatchAnswer((), (b"%d-0" % (int(EPOCH) + 1), [b"type", b"cancel"]))


async def test_a_watch_without_interest_in_text_sleeps_over_it(watch: SessionWatch, valkey: redis.Redis) -> None:
    def write() -> None:
        valkey.xadd(TEXT, {"text": "Hello."})
        valkey.xadd(AUDIO, {"type": "cancel"}, id=f"{int(EPOCH) + 1}-0")

    answer = await woken(watch, valkey, write, text_after=None)
    assert answer.text == ()
    assert answer.foreign is not None


async def test_nothing_comes_of_a_wait_in_vain(watch: SessionWatch) -> None:
    assert await watch.wait(SHORT_S, EPOCH, "0") == NOTHING


async def test_a_cancelled_wait_loses_no_text_and_spoils_no_connection(
    watch: SessionWatch, valkey: redis.Redis
) -> None:
    waiting = asyncio.create_task(watch.wait(LONG_S, EPOCH, "0"))
    await eventually(lambda: blocked(valkey) == 1)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    valkey.xadd(TEXT, {"text": "one"}, id="1-0")
    await eventually(lambda: blocked(valkey) == 0)
    valkey.xadd(TEXT, {"text": "two"}, id="2-0")
    assert (await watch.wait(LONG_S, EPOCH, "0")).text == ((b"1-0", [b"text", b"one"]),)
    assert (await watch.wait(LONG_S, EPOCH, "1-0")).text == ((b"2-0", [b"text", b"two"]),)
    assert n_clients(valkey) == 1


async def test_a_wait_that_asks_for_something_else_does_not_get_the_reply_to_an_earlier_one(
    watch: SessionWatch, valkey: redis.Redis
) -> None:
    assert await watch.wait(SHORT_S, EPOCH, "0") == NOTHING
    valkey.xadd(TEXT, {"text": "Hello."})
    assert await watch.wait(SHORT_S, EPOCH) == NOTHING
    assert len((await watch.wait(LONG_S, EPOCH, "0")).text) == 1


async def test_a_connection_that_breaks_is_made_again(watch: SessionWatch, valkey: redis.Redis) -> None:
    def write() -> None:
        for one in valkey.client_list():
            if one["cmd"].startswith("xread"):
                valkey.client_kill(one["addr"])
        valkey.xadd(TEXT, {"text": "Hello."})

    assert len((await woken(watch, valkey, write)).text) == 1


async def test_a_text_key_of_another_type_is_told_apart_from_an_audio_key(
    watch: SessionWatch, valkey: redis.Redis
) -> None:
    valkey.set(TEXT, "mine")
    with pytest.raises(WrongTextKey):
        await watch.wait(LONG_S, EPOCH, "0")
    valkey.delete(TEXT)
    valkey.set(AUDIO, "mine")
    with pytest.raises(Refusal, match="WRONGTYPE"):
        await watch.wait(LONG_S, EPOCH, "0")


async def test_watches_share_few_connections(url: str, valkey: redis.Redis, quiet: None) -> None:
    del quiet
    links = WatchLinks(Address(url), RetryPolicy("session"), most=2)
    watches = [SessionWatch(links, KEYS.audio(f"s{n}"), KEYS.text(f"s{n}", "j")) for n in range(6)]
    assert await asyncio.gather(*[watch.wait(SHORT_S, EPOCH, "0") for watch in watches]) == [NOTHING] * 6
    for n in range(6):
        valkey.xadd(KEYS.text(f"s{n}", "j"), {"text": str(n)})
    answers = await asyncio.gather(*[watch.wait(LONG_S, EPOCH, "0") for watch in watches])
    assert [answer.text[0][1][1] for answer in answers] == [b"%d" % n for n in range(6)]
    assert n_clients(valkey) <= 2
    for watch in watches:
        await watch.close()
    await links.close()
    await eventually(lambda: n_clients(valkey) == 0)


@needs_cli
async def test_a_session_is_watched_on_its_node_of_a_cluster(nodes: list[Server]) -> None:
    url = f"redis+cluster://{HOST}:{nodes[0].port}"
    await watched_by(url, lambda: cli(nodes[0].port, "-c", "XADD", TEXT, "*", "text", "Hello."))
    cli(nodes[0].port, "-c", "DEL", TEXT)


@needs_cli
async def test_a_session_is_watched_on_a_sentinels_master(service: Service) -> None:
    await watched_by(service.url, lambda: cli(service.master.port, "XADD", TEXT, "*", "text", "Hello."))
    cli(service.master.port, "DEL", TEXT)


async def watched_by(url: str, write: Callable[[], object]) -> None:
    async with watching(url) as watch:
        assert await watch.wait(SHORT_S, EPOCH, "0") == NOTHING
        waiting = asyncio.create_task(watch.wait(LONG_S, EPOCH, "0"))
        await asyncio.to_thread(write)
        assert (await waiting).text[0][1] == [b"text", b"Hello."]
