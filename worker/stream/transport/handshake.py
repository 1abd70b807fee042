"""The handshake: from an address to a connection that has logged in and has its first reply.

Every error on the way counts as a failed connection and is retried: a file that is being replaced, a name that cannot
be looked up, a web server or load balancer in the place of Redis, a server that accepts no clients.
"""

from __future__ import annotations

import asyncio
from typing import Any

import hiredis
import redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS
from redis.exceptions import NoPermissionError, ResponseError

from schemas.errors import MakimaError
from worker.stream.transport.address import Address
from worker.stream.transport.connection import OnMessage, PipelinedConnection
from worker.stream.transport.retry import PASSING, UnwillingError

CONNECT_TIMEOUT_S = 5.0


class WrongServerError(MakimaError, redis.ConnectionError):
    """The server is one node of a Cluster, or a Sentinel, and the URL is of another kind."""


async def open_connection(
    address: Address, timeout_s: float, on_message: OnMessage | None = None
) -> PipelinedConnection:
    """Connect, log in and check the server. timeout_s: for each reply, now and later.

    Raises redis-py's ConnectionError or TimeoutError, or another of PASSING; the original error is its cause.
    """
    try:
        if address.kind == "sentinel":
            address = await _find_master(address, timeout_s)
        return await _open(address, timeout_s, on_message)
    except PASSING:
        raise
    except Exception as error:
        raise redis.ConnectionError(f"no connection: {type(error).__name__}: {error}") from error


async def _open(address: Address, timeout_s: float, on_message: OnMessage | None = None) -> PipelinedConnection:
    pipeline = await _connect(address, timeout_s, on_message)
    try:
        await _greet(pipeline, address)
    except BaseException as error:
        pipeline.give_up(error if isinstance(error, Exception) else redis.ConnectionError("cancelled"))
        raise
    return pipeline


async def _connect(address: Address, timeout_s: float, on_message: OnMessage | None) -> PipelinedConnection:
    """A connection over TCP, TLS or a Unix socket, before the log-in. TCP and TLS together have `timeout_s` twice."""
    target = address.target
    server = target if isinstance(target, str) else f"{target[0]}:{target[1]}"
    loop = asyncio.get_running_loop()
    within_s = min(2 * timeout_s, max(CONNECT_TIMEOUT_S, timeout_s))

    def make() -> PipelinedConnection:
        return PipelinedConnection(server, timeout_s, on_message)

    try:
        async with asyncio.timeout(within_s):
            if isinstance(target, str):
                _, pipeline = await loop.create_unix_connection(make, target)
            else:
                _, pipeline = await loop.create_connection(make, *target, ssl=address.tls())
    except TimeoutError as error:
        raise redis.TimeoutError(f"no connection within {within_s:g} s to {server}") from error
    except OSError as error:
        raise redis.ConnectionError(f"no connection to {server}: {error}") from error
    return pipeline


async def _greet(pipeline: PipelinedConnection, address: Address) -> None:
    """Log in, and check that the server is a Redis of the kind in the URL, in one round trip."""
    commands = [*address.login(), ("PING",)]
    if not address.is_part:
        commands.append(("CLUSTER", "SLOTS"))
    answers = await asyncio.gather(*[_query(pipeline, *words) for words in commands], return_exceptions=True)
    for words, answer in zip(commands, answers, strict=True):
        if words[0] == "CLUSTER":
            await _check_kind(pipeline, answer)
        elif isinstance(answer, (NoPermissionError, UnwillingError)) and words[0] == "PING":
            continue  # only a Redis sends these
        elif type(answer) is redis.ConnectionError:  # the connection broke
            raise redis.ConnectionError(f"no first answer: {answer}")
        elif isinstance(answer, BaseException):
            raise answer
        elif answer != (b"PONG" if words[0] == "PING" else b"OK"):
            raise redis.ConnectionError(f"not a Redis server: it does not know {words[0]}")


async def _check_kind(pipeline: PipelinedConnection, slots: Any) -> None:
    """slots: the reply to CLUSTER SLOTS. A Cluster of one server can be used as a single server."""
    if isinstance(slots, list) and not _is_all(slots):
        raise WrongServerError(f"this server is one node of a Cluster of {max(1, len(_masters(slots)))} masters")
    if isinstance(slots, ResponseError) and "unknown command" in str(slots).lower():
        masters = await asyncio.gather(_query(pipeline, "SENTINEL", "MASTERS"), return_exceptions=True)
        if isinstance(masters[0], list):
            raise WrongServerError("this server is a Sentinel, which keeps no keys")
    if isinstance(slots, (redis.ConnectionError, redis.TimeoutError)):
        raise slots


def _masters(slots: list[Any]) -> set[Any]:
    return {repr(one[2][:2]) for one in slots if isinstance(one, list) and len(one) > 2 and isinstance(one[2], list)}


def _is_all(slots: list[Any]) -> bool:
    """Whether one master owns every slot."""
    try:
        n_slots = sum(last - first + 1 for first, last, *_ in slots)
    except (TypeError, ValueError):
        return True  # not the reply of a Cluster
    return len(_masters(slots)) == 1 and n_slots == REDIS_CLUSTER_HASH_SLOTS


async def _find_master(address: Address, timeout_s: float) -> Address:
    """Query all Sentinels at once, since some may be away; the first that reports a live master counts."""
    queries = [asyncio.create_task(_master_by(address.sentinel(*place), address.service, timeout_s))
              for place in address.hosts]  # fmt: skip
    problems = []
    try:
        for answer in asyncio.as_completed(queries):
            try:
                return address.master(*await answer)
            except Exception as error:
                problems.append(f"{type(error).__name__}: {error}")
    finally:
        for one in queries:
            one.cancel()
        await asyncio.gather(*queries, return_exceptions=True)
    raise redis.ConnectionError(f"No master found for {address.service!r}: {'; '.join(problems)}")


async def _master_by(sentinel: Address, service: str, timeout_s: float) -> tuple[str, int]:
    pipeline = await _open(sentinel, timeout_s)
    try:
        flat = [word.decode() for word in await _query(pipeline, "SENTINEL", "MASTER", service)]
    finally:
        pipeline.give_up(redis.ConnectionError("the query is done"))
    state = dict(zip(flat[::2], flat[1::2], strict=False))
    flags = state["flags"].split(",")
    if "master" not in flags or {"s_down", "o_down"} & set(flags):
        raise redis.ConnectionError(f"the master is down ({state['flags']})")
    return state["ip"], int(state["port"])


def _query(pipeline: PipelinedConnection, *words: str) -> asyncio.Future[Any]:
    packed: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]
    return pipeline.send(packed)
