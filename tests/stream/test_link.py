"""One connection for many callers: whose answer is whose, and what happens when it breaks."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from hashlib import sha1
from time import monotonic

import pytest
import redis

from tests import conftest
from worker.embedded import Embedded, embedded_valkey
from worker.stream.scripts import Script
from worker.stream.transport.address import Address
from worker.stream.transport.base import LinkClosedError, run_script
from worker.stream.transport.link import PipelinedLink, SharedAttempt
from worker.stream.transport.retry import PASSING, UnwillingError


@pytest.fixture(autouse=True)
async def quiet() -> AsyncIterator[None]:
    """Fails a test that leaves an exception nobody saw, or a task or connection behind."""
    complaints: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what["message"]))
    tasks = asyncio.all_tasks()
    yield
    gc.collect()
    await asyncio.sleep(0)
    assert complaints == []
    assert asyncio.all_tasks() - tasks <= {asyncio.current_task()}


@pytest.fixture
async def link(valkey: redis.Redis, valkey_server: conftest.Server) -> AsyncIterator[PipelinedLink]:
    one = PipelinedLink(Address(valkey_server.url), 5.0)
    yield one
    await one.close()


@pytest.fixture(scope="module")
def own_server() -> Iterator[Embedded]:
    """A Valkey to kill and to stop."""
    with embedded_valkey() as server:
        yield server


@pytest.fixture
async def fragile(own_server: Embedded) -> AsyncIterator[PipelinedLink]:
    """A link to it; an answer that takes longer than 0.3 s breaks it."""
    one = PipelinedLink(Address(own_server.url), 0.3)
    yield one
    await one.close()


async def outcome(link: PipelinedLink, *command: str | int) -> object:
    try:
        return await link.call(*command)
    except redis.RedisError as error:
        return error


# --- answers


async def test_every_caller_gets_its_own_answer(link: PipelinedLink) -> None:
    async def caller(n: int) -> None:
        for i in range(50):
            word = f"{n} {i}" * random.choice([1, 100, 10_000])
            assert await link.call("ECHO", word) == word.encode()
            if i % 7 == n % 7:
                with pytest.raises(redis.ResponseError, match="unknown command"):
                    await link.call("NONSENSE", word)

    await asyncio.gather(*[caller(n) for n in range(64)])


async def test_a_caller_that_is_cancelled_shifts_nobodys_answer(link: PipelinedLink) -> None:
    async def caller(n: int) -> None:
        for i in range(30):
            with suppress(TimeoutError):
                async with asyncio.timeout(random.choice([0, 0.001, 1])):
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


# --- breaking and coming back


async def test_a_killed_server_fails_every_waiting_call_and_the_next_one_reconnects(
    fragile: PipelinedLink, own_server: Embedded
) -> None:
    await fragile.call("PING")
    os.kill(own_server.pid, signal.SIGSTOP)
    waiting = [asyncio.create_task(outcome(fragile, "ECHO", n)) for n in range(100)]
    waiting.append(asyncio.create_task(_transaction(fragile)))
    await asyncio.sleep(0.02)
    own_server.stop(hard=True)
    answers = await asyncio.gather(*waiting)
    assert all(isinstance(answer, redis.ConnectionError) for answer in answers)
    assert len({id(answer) for answer in answers}) == len(answers)
    with pytest.raises(redis.ConnectionError):
        await fragile.call("PING")
    own_server.start()
    assert await fragile.call("PING") == b"PONG"


async def _transaction(link: PipelinedLink) -> object:
    try:
        return await link.transaction(("PING",), ("PING",))
    except redis.RedisError as error:
        return error


async def test_calls_go_on_while_the_server_is_killed_again_and_again(
    fragile: PipelinedLink, own_server: Embedded
) -> None:
    is_over = False

    async def caller(n: int) -> int:
        i = 0
        while not is_over:
            with suppress(*PASSING):
                i += 1
                assert await fragile.call("ECHO", f"{n} {i}") == f"{n} {i}".encode()
            if i % 10 == 0:
                await asyncio.sleep(0.001)
        return i

    callers = [asyncio.create_task(caller(n)) for n in range(16)]
    for _ in range(5):
        await asyncio.sleep(0.05)
        await asyncio.to_thread(own_server.restart, True)
    await asyncio.sleep(0.05)
    is_over = True
    assert min(await asyncio.gather(*callers)) > 10


async def test_a_hung_server_times_out_and_is_used_again_when_it_wakes(
    fragile: PipelinedLink, own_server: Embedded
) -> None:
    await fragile.call("PING")
    os.kill(own_server.pid, signal.SIGSTOP)
    try:
        start = monotonic()
        answers = await asyncio.gather(*[outcome(fragile, "ECHO", n) for n in range(20)])
        assert all(isinstance(answer, redis.TimeoutError) for answer in answers)
        assert 0.25 < monotonic() - start < 1
    finally:
        os.kill(own_server.pid, signal.SIGCONT)
    assert await fragile.call("ECHO", "again") == b"again"


async def test_a_server_that_hangs_in_the_handshake_fails_all_callers_at_once(
    fragile: PipelinedLink, own_server: Embedded
) -> None:
    os.kill(own_server.pid, signal.SIGSTOP)
    try:
        start = monotonic()
        answers = await asyncio.gather(*[outcome(fragile, "ECHO", n) for n in range(20)])
        assert all(isinstance(answer, (redis.TimeoutError, redis.ConnectionError)) for answer in answers)
        assert 0.25 < monotonic() - start < 3
    finally:
        os.kill(own_server.pid, signal.SIGCONT)
    assert await fragile.call("ECHO", "again") == b"again"


async def test_a_caller_cancelled_while_it_connects_leaves_the_connecting_to_the_others(
    own_server: Embedded,
) -> None:
    for delay_s in (0, 0.0005, 0.001, 0.002, 0.005):
        link = PipelinedLink(Address(own_server.url), 1.0)
        first = asyncio.create_task(link.call("ECHO", "first"))
        others = [asyncio.create_task(link.call("ECHO", n)) for n in range(5)]
        await asyncio.sleep(delay_s)
        first.cancel()
        assert await asyncio.gather(*others) == [b"%d" % n for n in range(5)]
        await asyncio.gather(first, return_exceptions=True)
        await link.close()


async def test_a_caller_cancelled_in_the_moment_of_the_break_leaves_no_complaint(fragile: PipelinedLink) -> None:
    await fragile.call("PING")
    tasks = [asyncio.create_task(fragile.call("XREAD", "BLOCK", 200, "STREAMS", "s", "$")) for _ in range(5)]
    await asyncio.sleep(0.01)
    assert fragile._pipeline is not None
    fragile._pipeline.give_up(redis.ConnectionError("now"))
    for task in tasks:
        task.cancel()
    assert all(
        isinstance(found, asyncio.CancelledError) for found in await asyncio.gather(*tasks, return_exceptions=True)
    )


async def test_a_slow_answer_is_no_hung_server_while_something_comes() -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        for piece in (b"$1", b"0\r\n", b"01234", b"56789", b"\r\n"):
            writer.write(piece)
            await asyncio.sleep(0.15)

    async with talking(answer) as url:
        link = PipelinedLink(Address(url), 0.4)
        assert await link.call("ECHO", "") == b"0123456789"
        await link.close()


@asynccontextmanager
async def talking(answer: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[str]:
    """A server that greets as a Redis does and answers ECHO in its own way."""
    ended = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(10_000):
            if b"PING" in data:
                writer.write(b"+PONG\r\n-ERR This instance has cluster support disabled\r\n")
            if b"ECHO" in data:
                await answer(writer)
        writer.close()
        ended.set()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
        await asyncio.wait_for(ended.wait(), 2)


async def test_a_blocked_read_is_not_cut_before_its_time(own_server: Embedded) -> None:
    """redis-py's own default would end it after 5 s."""
    doorbell = PipelinedLink(Address(own_server.url), 10.0)
    start = monotonic()
    assert await doorbell.call("XREAD", "BLOCK", 5200, "STREAMS", "nothing", "$") is None
    assert 5.1 < monotonic() - start < 6
    await doorbell.close()


async def test_connections_that_the_server_closes_one_by_one_are_replaced(
    link: PipelinedLink, valkey: redis.Redis
) -> None:
    for _ in range(5):
        client_id = await link.call("CLIENT", "ID")
        valkey.client_kill_filter(_id=client_id)
        with suppress(redis.ConnectionError):
            await link.call("PING")
        assert await link.call("CLIENT", "ID") != client_id


async def test_a_server_that_talks_nonsense_is_left() -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"what?\r\n")

    async with talking(answer) as url:
        link = PipelinedLink(Address(url), 1.0)
        for _ in range(2):
            with pytest.raises(redis.ConnectionError, match="cannot be read"):
                await link.call("ECHO", "")
        await link.close()


async def test_an_answer_to_nothing_breaks_the_connection() -> None:
    """Else each later caller would get its neighbour's answer."""
    n_asked = 0

    async def answer(writer: asyncio.StreamWriter) -> None:
        nonlocal n_asked
        n_asked += 1
        writer.write(b"+%d\r\n" % n_asked + b"+unasked\r\n")

    async with talking(answer) as url:
        link = PipelinedLink(Address(url), 1.0)
        assert [await link.call("ECHO", "") for _ in range(3)] == [b"1", b"2", b"3"]
        await link.close()


# --- closing


async def test_closing_fails_what_waits_and_all_that_comes_after(own_server: Embedded) -> None:
    link = PipelinedLink(Address(own_server.url), 5.0)
    waiting = asyncio.create_task(outcome(link, "XREAD", "BLOCK", 4000, "STREAMS", "s", "$"))
    await asyncio.sleep(0.05)
    await link.close()
    assert isinstance(await waiting, redis.ConnectionError)
    with pytest.raises(LinkClosedError):
        await link.call("PING")
    with pytest.raises(LinkClosedError):
        await link.transaction(("PING",))
    await link.close()


async def test_closing_during_the_connecting_leaves_nothing_open(own_server: Embedded) -> None:
    link = PipelinedLink(Address(own_server.url), 5.0)
    waiting = asyncio.create_task(link.call("PING"))
    await asyncio.sleep(0)
    await link.close()
    with pytest.raises(LinkClosedError):
        await waiting


async def test_a_link_that_was_never_used_closes(own_server: Embedded) -> None:
    await PipelinedLink(Address(own_server.url), 5.0).close()


# --- one attempt for many


async def test_those_who_wait_for_an_attempt_share_its_failure() -> None:
    n_attempts = 0

    async def attempt() -> None:
        nonlocal n_attempts
        n_attempts += 1
        await asyncio.sleep(0.01)
        raise redis.ConnectionError("nobody there")

    once = SharedAttempt()
    failures = await asyncio.gather(*[once(attempt) for _ in range(10)], return_exceptions=True)
    assert n_attempts == 1
    assert all(isinstance(failure, redis.ConnectionError) for failure in failures)
    with pytest.raises(redis.ConnectionError):
        await once(attempt)
    assert n_attempts == 2
