"""A link whose connection breaks, hangs or is closed, and how it comes back."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from time import monotonic

import pytest
import redis

from tests.stream.links import outcome, talking
from worker.embedded import Embedded
from worker.stream.transport.address import Address
from worker.stream.transport.base import LinkClosedError
from worker.stream.transport.connection import PipelinedConnection
from worker.stream.transport.link import PipelinedLink, SharedAttempt
from worker.stream.transport.retry import PASSING

pytestmark = pytest.mark.usefixtures("quiet")


async def test_a_killed_server_fails_every_waiting_call_and_the_next_one_reconnects(
    patient: PipelinedLink, own_server: Embedded
) -> None:
    await patient.call("PING")
    os.kill(own_server.pid, signal.SIGSTOP)
    waiting = [asyncio.create_task(outcome(patient, "ECHO", n)) for n in range(100)]
    waiting.append(asyncio.create_task(_transaction(patient)))
    await asyncio.sleep(0.02)
    own_server.stop(hard=True)
    answers = await asyncio.gather(*waiting)
    assert all(isinstance(answer, redis.ConnectionError) for answer in answers)
    assert len({id(answer) for answer in answers}) == len(answers)
    with pytest.raises(redis.ConnectionError):
        await patient.call("PING")
    own_server.start()
    assert await patient.call("PING") == b"PONG"


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
        assert 0.25 < monotonic() - start < 3  # one after the other they would take 6 s
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
        link = PipelinedLink(Address(own_server.url), 5.0)
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


async def test_a_write_to_a_transport_that_is_closed_already_fails_its_call_and_no_other() -> None:
    class Closed(asyncio.Transport):
        """As uvloop's before it calls connection_lost."""

        def write(self, data: object) -> None:
            raise RuntimeError("the handler is closed")

        def abort(self) -> None: ...

    connection = PipelinedConnection("server", 1.0)
    connection.connection_made(Closed())
    with pytest.raises(redis.ConnectionError):
        await connection.send(b"PING")
    assert connection.is_broken


async def test_a_slow_answer_is_no_hung_server_while_something_comes() -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        for piece in (b"$1", b"0\r\n", b"01234", b"56789", b"\r\n"):
            writer.write(piece)
            await asyncio.sleep(0.15)

    async with talking(answer) as url:
        link = PipelinedLink(Address(url), 0.4)
        assert await link.call("ECHO", "") == b"0123456789"
        await link.close()


@pytest.mark.slow
async def test_a_blocked_read_is_not_cut_before_its_time(own_server: Embedded) -> None:
    """redis-py's own default would end it after 5 s."""
    doorbell = PipelinedLink(Address(own_server.url), 10.0)
    start = monotonic()
    assert await doorbell.call("XREAD", "BLOCK", 5200, "STREAMS", "nothing", "$") is None
    assert monotonic() - start > 5.1
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
        link = PipelinedLink(Address(url), 5.0)
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
        link = PipelinedLink(Address(url), 5.0)
        assert [await link.call("ECHO", "") for _ in range(3)] == [b"1", b"2", b"3"]
        await link.close()


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
