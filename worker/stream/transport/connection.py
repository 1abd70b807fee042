"""One live connection: commands go out together once per turn of the event loop, answers come back in order.

redis-py connects (`worker.stream.transport.handshake`), and this takes over the transport: no task reads or writes,
the event loop calls. A command then costs its sender one future, which is what lets one core settle thousands of jobs
a second.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import hiredis
import redis
from redis.asyncio.connection import AbstractConnection, DefaultParser
from redis.exceptions import InvalidResponse, NoPermissionError, ReadOnlyError, ResponseError

from worker.stream.transport.retry import UnwillingError

IDLE_S = 15.0  # after which a connection is asked whether it lives
_INCOMPLETE = object()
_PING: bytes = hiredis.pack_command(("PING",))


class PipelinedConnection(asyncio.Protocol):
    """A connection until it breaks; then every command on its way fails, and it is of no more use.

    It breaks when the server closes it, when nothing comes for `timeout_s` though an answer is due, or when the server
    says that it is no master any more. One that is not used is asked whether it lives: a network may forget a
    connection and tell nobody, which the next command would wait for.
    """

    def __init__(self, connection: AbstractConnection, timeout_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._timeout_s = timeout_s
        self._reader = hiredis.Reader(protocolError=InvalidResponse, replyError=_refusal, notEnoughData=_INCOMPLETE)
        self._unsent: list[bytes] = []
        self._unanswered: deque[asyncio.Future[Any]] = deque()
        self._stirred_at = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self._idle = self._loop.call_later(IDLE_S, self._ask_when_idle)
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self.is_broken = False
        self.server = f"{getattr(connection, 'host', 'a socket')}:{getattr(connection, 'port', '')}"
        assert connection._writer is not None
        self._transport: asyncio.WriteTransport = connection._writer.transport
        self._transport.set_protocol(self)
        if early := _left_unread(connection):
            self._loop.call_soon(self.data_received, early)

    def send(self, packed: bytes) -> asyncio.Future[Any]:
        """Send one command; its answer comes in the future. Not to be called any more when `is_broken`.

        Commands sent without an await between them follow each other on the server.
        """
        answer: asyncio.Future[Any] = self._loop.create_future()
        if not self._unsent:
            self._loop.call_soon(self._flush)
        if not self._unanswered:
            self._stirred_at = self._loop.time()
            if self._watch is None:
                self._watch = self._loop.call_later(self._timeout_s, self._check)
        self._unsent.append(packed)
        self._unanswered.append(answer)
        return answer

    async def close(self) -> None:
        self.give_up(redis.ConnectionError("the connection was closed"))
        await self._closed

    def give_up(self, error: Exception) -> None:
        """Break: fail what was not answered and let go of the connection."""
        if self.is_broken:
            return
        self.is_broken = True
        self._transport.abort()
        self._connection._close()  # type: ignore[no-untyped-call]
        self._idle.cancel()
        if self._watch is not None:
            self._watch.cancel()
        for answer in self._unanswered:
            if not answer.done():
                _fail(answer, _as_connection_error(error))
        self._unanswered.clear()

    def data_received(self, data: bytes) -> None:
        self._stirred_at = self._loop.time()
        try:
            self._reader.feed(data)
            while not self.is_broken and (answer := self._reader.gets()) is not _INCOMPLETE:
                self._answer(answer)
        except Exception as error:  # InvalidResponse, and what hiredis makes of bytes that nobody foresaw
            self.give_up(redis.ConnectionError(f"what the server sent cannot be read: {error}"))

    def connection_lost(self, error: Exception | None) -> None:
        self.give_up(error or redis.ConnectionError("the server closed the connection"))
        self._closed.set_result(None)

    def _flush(self) -> None:
        unsent, self._unsent = self._unsent, []
        if not self.is_broken:
            self._transport.write(b"".join(unsent))  # 3.12's writelines fails on a connection that just broke

    def _answer(self, answer: Any) -> None:
        if not self._unanswered:  # a server's reason to close, or a server that counts otherwise
            why = answer if isinstance(answer, Exception) else "the server answered what nobody asked"
            self.give_up(redis.ConnectionError(str(why)))
            return
        future = self._unanswered.popleft()
        if isinstance(answer, Exception):
            if not future.done():
                _fail(future, answer)
            if isinstance(answer, (redis.ConnectionError, ReadOnlyError)):
                self.give_up(answer)  # a demoted master: the next connection asks the Sentinels anew
        elif not future.done():  # else its caller was cancelled
            future.set_result(answer)

    def _ask_when_idle(self) -> None:
        self._idle = self._loop.call_later(IDLE_S, self._ask_when_idle)
        if not self._unanswered and self._loop.time() - self._stirred_at >= IDLE_S / 2:
            self.send(_PING)

    def _check(self) -> None:
        self._watch = None
        if not self._unanswered:
            return
        left_s = self._stirred_at + self._timeout_s - self._loop.time()
        if left_s <= 0:
            self.give_up(redis.TimeoutError(f"no answer within {self._timeout_s} s"))
        else:
            self._watch = self._loop.call_later(left_s, self._check)


def _fail(answer: asyncio.Future[Any], error: Exception) -> None:
    answer.set_exception(error)
    answer.exception()  # seen: a caller that is cancelled in this very moment leaves no complaint behind


def _as_connection_error(error: Exception) -> redis.RedisError:
    """One for each caller: an exception raised in many tasks would gather all their tracebacks."""
    kind = redis.TimeoutError if isinstance(error, redis.TimeoutError) else redis.ConnectionError
    return kind(f"the connection broke: {error}")


_UNWILLING = ("MISCONF ", "NOREPLICAS ", "BUSY ")
# What Redis and Valkey say, by their version, where a command within a script is not allowed to this user.
_MISSING_RIGHT = ("The user executing the script can't", "ACL failure in script")


def _refusal(text: str) -> Exception:
    """The server's error as redis-py's class."""
    if text.startswith(_UNWILLING):
        return UnwillingError(text)
    if any(words in text for words in _MISSING_RIGHT):
        return NoPermissionError(text)
    try:
        error: Exception = DefaultParser.parse_error(text)  # type: ignore[no-untyped-call]
    except (ValueError, IndexError):  # MOVED to a place that is none
        return ResponseError(text)
    return error


def _left_unread(connection: AbstractConnection) -> bytes:
    """What came while redis-py connected and was not asked for: servers say so why they let nobody in."""
    reader: Any = connection._reader
    return bytes(getattr(reader, "_buffer", b""))
