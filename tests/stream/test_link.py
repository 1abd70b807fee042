"""One connection for many callers: every caller gets its own answer."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from hashlib import sha1

import pytest
import redis

from tests import conftest
from tests.stream.links import outcome
from worker.embedded import Embedded
from worker.stream.scripts import Script
from worker.stream.transport.address import Address
from worker.stream.transport.base import run_script
from worker.stream.transport.link import PipelinedLink
from worker.stream.transport.retry import UnwillingError

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.fixture
async def link(valkey: redis.Redis, valkey_server: conftest.Server) -> AsyncIterator[PipelinedLink]:
    one = PipelinedLink(Address(valkey_server.url), 5.0)
    yield one
    await one.close()


async def test_every_caller_gets_its_own_answer(link: PipelinedLink) -> None:
    async def caller(n: int) -> None:
        draw = random.Random(n)
        for i in range(50):
            word = f"{n} {i}" * draw.choice([1, 100, 10_000])
            assert await link.call("ECHO", word) == word.encode()
            if i % 7 == n % 7:
                with pytest.raises(redis.ResponseError, match="unknown command"):
                    await link.call("NONSENSE", word)

    await asyncio.gather(*[caller(n) for n in range(64)])


async def test_a_caller_that_is_cancelled_shifts_nobodys_answer(link: PipelinedLink) -> None:
    async def caller(n: int) -> None:
        draw = random.Random(n)
        for i in range(30):
            with suppress(TimeoutError):
                async with asyncio.timeout(draw.choice([0, 0.001, 1])):
                    assert await link.call("ECHO", f"{n} {i}") == f"{n} {i}".encode()

    await asyncio.gather(*[caller(n) for n in range(64)])
    assert await link.call("ECHO", "last") == b"last"


async def test_answers_are_raw(link: PipelinedLink) -> None:
    entry_id = await link.call("XADD", "s", "*", "a", b"\x00\xff", "b", 1.5)
    try:
        assert await link.call("XRANGE", "s", "-", "+") == [[entry_id, [b"a", b"\x00\xff", b"b", b"1.5"]]]
        assert await link.call("XREAD", "STREAMS", "s", 0) == [[b"s", [[entry_id, [b"a", b"\x00\xff", b"b", b"1.5"]]]]]
        assert await link.call("EXISTS", "s", "t") == 1
        assert await link.call("GET", "t") is None
        assert len(await link.call("TIME")) == 2
    finally:
        await link.call("DEL", "s")


async def test_the_order_of_calls_is_the_order_on_the_server(link: PipelinedLink, valkey: redis.Redis) -> None:
    await asyncio.gather(*[link.call("RPUSH", "list", n) for n in range(500)])
    assert await link.call("LRANGE", "list", 0, -1) == [b"%d" % n for n in range(500)]
    valkey.delete("list")


async def test_words_that_cannot_be_sent_harm_nobody(link: PipelinedLink) -> None:
    fine = asyncio.create_task(link.call("ECHO", "before"))
    for word in (None, ["list"], "\ud800", object()):
        with pytest.raises((TypeError, UnicodeEncodeError)):
            await link.call("ECHO", word)  # type: ignore[arg-type]
        with pytest.raises((TypeError, UnicodeEncodeError)):
            await link.transaction(("ECHO", "a"), ("ECHO", word))  # type: ignore[arg-type]
    assert await fine == b"before"
    assert await link.call("ECHO", "after") == b"after"


# --- scripts and transactions


def script(source: str) -> Script:
    return Script("test", source, sha1(source.encode()).hexdigest())


async def test_a_script_that_the_server_lost_is_sent_again(link: PipelinedLink) -> None:
    double = script("return {KEYS[1], ARGV[1] * 2}")
    for _ in range(2):
        assert await run_script(link, double, ("k",), 21) == [b"k", 42]
        assert await run_script(link, double, ("k",), 4) == [b"k", 8]
        await link.call("SCRIPT", "FLUSH")
    found = await asyncio.gather(*[run_script(link, double, ("k",), n) for n in range(100)])
    assert found == [[b"k", 2 * n] for n in range(100)]


async def test_a_scripts_error_is_raised_and_not_sent_again(link: PipelinedLink, valkey: redis.Redis) -> None:
    wrong = script(
        "redis.call('INCR', KEYS[1]); redis.call('PEXPIRE', KEYS[1], 9000); return redis.call('LPOP', KEYS[1])"
    )
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        await run_script(link, wrong, ("k",))
    assert valkey.get("k") == b"1"


async def test_transactions_of_many_callers_do_not_mix(link: PipelinedLink, valkey: redis.Redis) -> None:
    async def caller(n: int) -> None:
        for _ in range(20):
            answers = await link.transaction(("SET", "k", n, "PX", 9000), ("GET", "k"), ("ECHO", n))
            assert answers == [b"OK", b"%d" % n, b"%d" % n]
            await link.call("SET", "k", -1, "PX", 9000)

    await asyncio.gather(*[caller(n) for n in range(32)])


async def test_a_command_refused_at_exec_stands_in_its_place(link: PipelinedLink) -> None:
    first, second, third = await link.transaction(("SET", "k", "text", "PX", 9000), ("LPOP", "k"), ("GET", "k"))
    assert (first, third) == (b"OK", b"text")
    assert isinstance(second, redis.ResponseError)


async def test_a_command_refused_when_queued_undoes_the_transaction(link: PipelinedLink) -> None:
    with pytest.raises(redis.ResponseError, match="wrong number of arguments"):
        await link.transaction(("SET", "k", "text", "PX", 9000), ("GET",))
    assert await link.call("GET", "k") is None


async def test_a_transaction_whose_caller_is_cancelled_is_whole_all_the_same(link: PipelinedLink) -> None:
    await link.call("PING")
    task = asyncio.create_task(link.transaction(("INCR", "k"), ("PEXPIRE", "k", 9000)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await link.call("GET", "k") == b"1"


async def test_a_server_that_is_busy_or_cannot_write_is_waited_for(link: PipelinedLink, own_server: Embedded) -> None:
    other = PipelinedLink(Address(own_server.url), 5.0)
    helper = PipelinedLink(Address(own_server.url), 5.0)
    await other.call("CONFIG", "SET", "busy-reply-threshold", "10")
    endless = asyncio.create_task(outcome(helper, "EVAL", "while true do end", 0))
    await asyncio.sleep(0.1)
    with pytest.raises(UnwillingError):
        await other.call("GET", "k")
    await other.call("SCRIPT", "KILL")
    assert isinstance(await endless, redis.ResponseError)
    await other.call("CONFIG", "SET", "min-replicas-to-write", "1")
    with pytest.raises(UnwillingError):
        await other.call("SET", "k", "v")
    await other.call("CONFIG", "SET", "min-replicas-to-write", "0")
    await asyncio.gather(other.close(), helper.close())
