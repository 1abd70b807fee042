"""One live connection: commands are written together once per turn of the event loop, replies come back in order.

It is an asyncio protocol: no task reads or writes. A command then costs its sender one future, which is what lets one
core settle thousands of jobs a second.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import hiredis
import redis
from redis.exceptions import InvalidResponse, ReadOnlyError

from worker.stream.transport.refusal import refusal

IDLE_S = 15.0  # after which an unused connection is checked by a PING
OnMessage = Callable[[bytes], None]  # called with the channel of a message that was published
_INCOMPLETE = object()
_MESSAGES = (b"message", b"smessage")
_PING: bytes = hiredis.pack_command(("PING",))


class PipelinedConnection(asyncio.Protocol):
    """A connection until it breaks; then every command on its way fails, and so does every later one.

    It breaks when the server closes it, when nothing arrives for `timeout_s` seconds while a reply is due, and when the
    server reports that it is a replica. server: what the connection leads to, as logs name it. The PING of an unused
    connection finds one that a network dropped silently, before the next command waits for it. on_message: for a
    connection that subscribes to channels; such a connection sends no other command than PING besides.
    """

    def __init__(self, server: str, timeout_s: float, on_message: OnMessage | None = None) -> None:
        self.server = server
        self._on_message = on_message
        self._loop = asyncio.get_running_loop()
        self._timeout_s = timeout_s
        self._reader = hiredis.Reader(protocolError=InvalidResponse, replyError=refusal, notEnoughData=_INCOMPLETE)
        self._unsent: list[bytes] = []
        self._unanswered: deque[asyncio.Future[Any]] = deque()
        self._received_at = 0.0  # or the time at which the oldest command without a reply was sent
        self._deadline: asyncio.TimerHandle | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._failure: Exception | None = None
        self._transport: asyncio.Transport | None = None

    @property
    def is_broken(self) -> bool:
        return self._failure is not None

    def send(self, packed: bytes) -> asyncio.Future[Any]:
        """Send one command; the future takes its reply or error.

        Commands sent without an await between them follow each other on the server.
        """
        answer: asyncio.Future[Any] = self._loop.create_future()
        if self._failure is not None:
            _fail(answer, _as_connection_error(self._failure))
            return answer
        if not self._unsent:
            self._loop.call_soon(self._flush)
        if not self._unanswered:
            self._received_at = self._loop.time()
            if self._deadline is None:
                self._deadline = self._loop.call_later(self._timeout_s, self._check)
        self._unsent.append(packed)
        self._unanswered.append(answer)
        return answer

    async def close(self) -> None:
        self.give_up(redis.ConnectionError("the connection was closed"))
        await self._closed

    def give_up(self, error: Exception) -> None:
        """Break the connection: fail the commands without a reply and close the socket."""
        if self._failure is not None:
            return
        self._failure = error
        for one in (self._idle, self._deadline):
            if one is not None:
                one.cancel()
        if self._transport is not None:
            self._transport.abort()
        for answer in self._unanswered:
            if not answer.done():
                _fail(answer, _as_connection_error(error))
        self._unanswered.clear()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._idle = self._loop.call_later(IDLE_S, self._ping_when_idle)

    def data_received(self, data: bytes) -> None:
        self._received_at = self._loop.time()
        try:
            self._reader.feed(data)
            while self._failure is None and (answer := self._reader.gets()) is not _INCOMPLETE:
                self._answer(answer)
        except Exception as error:  # InvalidResponse, and what else hiredis raises for such bytes
            self.give_up(redis.ConnectionError(f"what the server sent cannot be read: {error}"))

    def connection_lost(self, error: Exception | None) -> None:
        self.give_up(error or redis.ConnectionError("the server closed the connection"))
        self._closed.set_result(None)

    def _flush(self) -> None:
        unsent, self._unsent = self._unsent, []
        if self._failure is None and self._transport is not None:
            try:
                self._transport.write(b"".join(unsent))  # 3.12's writelines fails on a connection that just broke
            except RuntimeError as error:  # uvloop closes a broken transport before it calls connection_lost
                self.give_up(redis.ConnectionError(f"the connection broke: {error}"))

    def _answer(self, answer: Any) -> None:
        if self._on_message is not None and isinstance(answer, list) and answer[0] in _MESSAGES:
            self._on_message(answer[1])
            return
        if not self._unanswered:  # a server's reason to close, or one reply more than commands
            problem = answer if isinstance(answer, Exception) else "the server sent a reply to no command"
            self.give_up(redis.ConnectionError(str(problem)))
            return
        future = self._unanswered.popleft()
        if isinstance(answer, Exception):
            if not future.done():
                _fail(future, answer)
            if isinstance(answer, (redis.ConnectionError, ReadOnlyError)):
                self.give_up(answer)  # of a demoted master: the next connection finds the new one
        elif not future.done():  # else its caller was cancelled
            future.set_result(answer)

    def _ping_when_idle(self) -> None:
        self._idle = self._loop.call_later(IDLE_S, self._ping_when_idle)
        if not self._unanswered and self._loop.time() - self._received_at >= IDLE_S / 2:
            self.send(_PING)

    def _check(self) -> None:
        self._deadline = None
        if not self._unanswered:
            return
        left_s = self._received_at + self._timeout_s - self._loop.time()
        if left_s <= 0:
            self.give_up(redis.TimeoutError(f"no answer within {self._timeout_s} s"))
        else:
            self._deadline = self._loop.call_later(left_s, self._check)


def _fail(answer: asyncio.Future[Any], error: Exception) -> None:
    answer.set_exception(error)
    answer.exception()  # marks it as retrieved: asyncio logs nothing when the caller was cancelled meanwhile


def _as_connection_error(error: Exception) -> redis.RedisError:
    """A new exception for each caller: one raised in many tasks would gather all their tracebacks."""
    kind = redis.TimeoutError if isinstance(error, redis.TimeoutError) else redis.ConnectionError
    return kind(f"the connection broke: {error}")
