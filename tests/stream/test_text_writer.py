"""The text of an open job reaches its stream once and in order, whatever happens to replies and servers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis

from schemas.jobs import job_fields
from tests import conftest
from tests.stream.servers import HOST, Server, needs_cli
from worker.stream.client import Client
from worker.stream.keys import SESSION_TTL_MS, Keys
from worker.stream.text_writer import MAX_PIECE_BYTES, TextConflict, TextWriter
from worker.stream.transport.address import Address
from worker.stream.transport.base import Word
from worker.stream.transport.cluster import ClusterLink
from worker.stream.transport.link import PipelinedLink
from worker.stream.transport.open import open_link

pytestmark = pytest.mark.usefixtures("quiet")
KEYS = Keys()
KEY = KEYS.text("s1", "u1")
OPEN_JOB = job_fields("s1", job_id="u1")


class Unreliable:
    """A link whose next XADDs fail: "before" they are sent, or "after", with the reply lost."""

    def __init__(self, link: PipelinedLink) -> None:
        self.link = link
        self.failures: list[str] = []
        self.is_connected = True
        self.scripts: set[str] = set()

    @property
    def n_breaks(self) -> int:
        return self.link.n_breaks

    async def call(self, *command: Word) -> Any:
        failure = self.failures.pop() if self.failures and command[0] == "XADD" else ""
        answer = None if failure == "before" else await self.link.call(*command)
        if failure:
            raise redis.ConnectionError("the connection broke")
        return answer

    async def transaction(self, *commands: tuple[Word, ...]) -> list[Any]:
        raise NotImplementedError

    async def close(self) -> None:
        await self.link.close()


@pytest.fixture
def valkey_server(servers: dict[str, conftest.Server]) -> conftest.Server:
    """One server will do: both kinds answer XADD alike."""
    return servers["valkey"]


@pytest.fixture
async def unreliable(valkey: redis.Redis, valkey_server: conftest.Server) -> AsyncIterator[Unreliable]:
    del valkey  # empties the server
    link = Unreliable(PipelinedLink(Address(valkey_server.url), 5.0))
    yield link
    await link.close()


@pytest.fixture
def text(unreliable: Unreliable) -> TextWriter:
    return TextWriter(unreliable, KEY)


def entries(valkey: redis.Redis) -> list[tuple[bytes, bytes]]:
    read: Any = valkey.xrange(KEY)
    return [pair for _, fields in read for pair in fields.items()]


def joined(valkey: redis.Redis) -> bytes:
    return b"".join(value for name, value in entries(valkey) if name == b"text")


async def pieces_of(*pieces: str, then: Exception | None = None) -> AsyncIterator[str]:
    for piece in pieces:
        await asyncio.sleep(0)
        yield piece
    if then is not None:
        raise then


async def test_a_text_is_written_as_the_contract_has_it(text: TextWriter, valkey: redis.Redis) -> None:
    await text.write("Good mor")
    await text.flush()
    await text.write("ning ☀".encode()[:-1])  # within a character
    await text.write("")
    await text.end()
    assert entries(valkey) == [
        (b"text", b"Good mor"), (b"flush", b"1"), (b"text", "ning ☀".encode()[:-1]), (b"end", b"1"),
    ]  # fmt: skip
    ttl: Any = valkey.pttl(KEY)
    assert SESSION_TTL_MS - 60_000 < ttl <= SESSION_TTL_MS


async def test_a_long_piece_becomes_several(text: TextWriter, valkey: redis.Redis) -> None:
    long = "日本語" * MAX_PIECE_BYTES
    await text.write(long)
    assert joined(valkey) == long.encode()
    assert max(len(value) for _, value in entries(valkey)) <= MAX_PIECE_BYTES


async def test_pieces_of_concurrent_callers_keep_the_order_of_their_calls(
    text: TextWriter, valkey: redis.Redis
) -> None:
    await asyncio.gather(*[text.write(f"{n} ") for n in range(50)])
    assert joined(valkey).split() == [b"%d" % n for n in range(50)]


@pytest.mark.parametrize("seed", range(3))
async def test_no_failure_repeats_or_loses_a_piece(
    seed: int, unreliable: Unreliable, text: TextWriter, valkey: redis.Redis
) -> None:
    draw = random.Random(seed)
    for n in range(20):
        unreliable.failures = [draw.choice(["before", "after"]) for _ in range(draw.choice([0, 0, 1, 2]))]
        if draw.random() < 0.2:
            valkey.flushall()  # a Redis that lost everything
        elif unreliable.failures and draw.random() < 0.5:  # a replica without the last entries becomes the master
            unreliable.failures.append("before")
            lose_last(valkey, draw.randrange(1, 4))
        await text.write(f"{n} ")
    assert joined(valkey).split() == [b"%d" % n for n in range(20)]


def lose_last(valkey: redis.Redis, n: int) -> None:
    read: Any = valkey.xrange(KEY)
    valkey.delete(KEY)
    for entry_id, fields in read[:-n]:
        valkey.xadd(KEY, fields, id=entry_id)
    valkey.expire(KEY, 60)


async def test_a_reader_goes_on_behind_what_it_has_read_when_the_stream_was_lost(
    text: TextWriter, valkey: redis.Redis
) -> None:
    for piece in ("one ", "two "):
        await text.write(piece)
    read: Any = valkey.xread({KEY: "0"})
    last_id = read[0][1][-1][0]
    valkey.delete(KEY)
    await text.write("three")
    again: Any = valkey.xread({KEY: last_id})
    assert [fields for _, fields in again[0][1]] == [{b"text": b"three"}]


async def test_a_text_expires_although_the_reply_to_its_first_piece_was_lost(
    unreliable: Unreliable, text: TextWriter, valkey: redis.Redis
) -> None:
    unreliable.failures = ["after"]
    await text.write("one")
    ttl: Any = valkey.pttl(KEY)
    assert ttl > 0


async def test_a_break_between_two_pieces_has_all_written_again(
    unreliable: Unreliable, text: TextWriter, valkey: redis.Redis
) -> None:
    for piece in ("one ", "two ", "three "):
        await text.write(piece)
    lose_last(valkey, 2)
    unreliable.link.renew()  # nobody waited for an answer, so no call fails
    await text.write("four")
    assert joined(valkey) == b"one two three four"


async def test_a_text_that_redis_lost_can_be_written_again(text: TextWriter, valkey: redis.Redis) -> None:
    await text.write("the whole text")
    await text.end()
    await text.write_again()
    valkey.flushall()
    await text.write_again()
    assert entries(valkey) == [(b"text", b"the whole text"), (b"end", b"1")]


async def test_a_stream_that_holds_another_text_is_a_conflict(unreliable: Unreliable, valkey: redis.Redis) -> None:
    await TextWriter(unreliable, KEY).write("one text")
    with pytest.raises(TextConflict, match="job_id"):
        await TextWriter(unreliable, KEY).write("another text")
    assert joined(valkey) == b"one text"


async def test_an_entry_of_somebody_else_is_a_conflict(text: TextWriter, valkey: redis.Redis) -> None:
    await text.write("mine ")
    valkey.xadd(KEY, {"text": "not mine"})
    with pytest.raises(TextConflict):
        await text.write("mine")


async def test_a_key_of_another_type_is_refused_at_once(text: TextWriter, valkey: redis.Redis) -> None:
    valkey.set(KEY, "no stream", ex=60)
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        await text.write("one")


async def test_a_call_that_gave_up_is_made_good_by_the_next(unreliable: Unreliable, valkey: redis.Redis) -> None:
    text = TextWriter(unreliable, KEY, repeat_s=0)
    await text.write("one ")
    unreliable.failures = ["before"]
    with pytest.raises(redis.ConnectionError):
        await text.write("two ")
    await text.write("three")
    assert joined(valkey) == b"one two three"


async def test_writing_needs_no_right_but_to_append_and_to_let_expire(
    valkey: redis.Redis, valkey_server: conftest.Server
) -> None:
    valkey.acl_setuser("writer", True, passwords=["+secret"], keys=[], reset=True)
    valkey.execute_command("ACL", "SETUSER", "writer", "%W~makima:{*}:text:*", "+xadd", "+pexpire")  # type: ignore[no-untyped-call]
    link = PipelinedLink(Address(valkey_server.url.replace("//", "//writer:secret@")), 5.0)
    try:
        text = TextWriter(link, KEY)
        await text.write("one ")
        await text.end()
    finally:
        await link.close()
        valkey.acl_deluser("writer")
    assert joined(valkey) == b"one "


@needs_cli
async def test_a_cluster_counts_the_breaks_of_all_its_servers(nodes: list[Server]) -> None:
    link = open_link(Address(f"redis+cluster://{HOST}:{nodes[0].port}"))
    assert isinstance(link, ClusterLink)
    try:
        text = TextWriter(link, KEY)
        await text.write("one ")
        await text.write("two ")
        n_breaks = link.n_breaks
        await link.call("DEL", KEY)
        for server in link._servers.values():
            server.renew()
        assert link.n_breaks > n_breaks
        await text.write("three")
        read = await link.call("XRANGE", KEY, "-", "+")
        await link.call("DEL", KEY)
    finally:
        await link.close()
    assert [fields[1] for _, fields in read] == [b"one ", b"two ", b"three"]


# The client.


async def test_publish_text_writes_the_job_then_each_piece_then_the_end(client: Client, valkey: redis.Redis) -> None:
    entry_id = await client.publish_text(OPEN_JOB, pieces_of("Hel", "lo."))
    jobs: Any = valkey.xrange(KEYS.jobs)
    assert jobs == [(entry_id.encode(), {b"session_id": b"s1", b"text_from": b"stream", b"job_id": b"u1"})]
    assert entries(valkey) == [(b"text", b"Hel"), (b"text", b"lo."), (b"end", b"1")]


async def test_an_iterator_that_raises_cancels_the_job(client: Client, valkey: redis.Redis) -> None:
    with pytest.raises(ZeroDivisionError):
        await client.publish_text(OPEN_JOB, pieces_of("Hel", then=ZeroDivisionError()))
    assert entries(valkey) == [(b"text", b"Hel")]
    (job,), (cut,) = _ids(valkey, KEYS.jobs), _ids(valkey, KEYS.cut("s1"))
    assert cut == job


async def test_cancelling_the_call_cancels_the_job(client: Client, valkey: redis.Redis) -> None:
    has_begun = asyncio.Event()

    async def endless() -> AsyncIterator[str]:
        yield "Hel"
        has_begun.set()
        await asyncio.Event().wait()

    speaking = asyncio.create_task(client.publish_text(OPEN_JOB, endless()))
    await has_begun.wait()
    speaking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await speaking
    assert _ids(valkey, KEYS.cut("s1")) == _ids(valkey, KEYS.jobs)


def _ids(valkey: redis.Redis, key: str) -> list[bytes]:
    read: Any = valkey.xrange(key)
    return [entry_id for entry_id, _ in read]
