"""One connection shared by many coroutines (pipelining). The first call opens it, the first after a break reopens it.

redis-py's clients take a connection from a pool for each command and wait for its reply. docs/adr/0005-own-transport.md
has what that costs. A command that fails with a connection error may have been carried out: send only what can be sent
twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import hiredis
import redis

from worker.stream.transport.address import Address
from worker.stream.transport.base import LinkClosedError, Word
from worker.stream.transport.connection import OnMessage, PipelinedConnection
from worker.stream.transport.handshake import open_connection
from worker.stream.transport.retry import PASSING


class PipelinedLink:
    """The link to one server, or to the master of a Sentinel service. on_message: of a link that subscribes."""

    def __init__(self, address: Address, timeout_s: float, on_message: OnMessage | None = None) -> None:
        self._address = address
        self._on_message = on_message
        self._timeout_s = timeout_s
        self._pipeline: PipelinedConnection | None = None
        self._once = SharedAttempt()
        self._n_opened = 0
        self._is_closed = False
        self.scripts: set[str] = set()

    @property
    def is_connected(self) -> bool:
        return self._pipeline is not None and not self._pipeline.is_broken

    @property
    def n_breaks(self) -> int:
        return self._n_opened - self.is_connected

    @property
    def server(self) -> str | None:
        """Host and port of the open connection; None without one."""
        pipeline = self._pipeline
        return None if pipeline is None or pipeline.is_broken else pipeline.server

    def renew(self) -> None:
        """Drop the connection, if there is one; the next command opens another."""
        if self._pipeline is not None:
            self._pipeline.give_up(redis.ConnectionError("another server may be the master now"))

    async def call(self, *command: Word) -> Any:
        packed = _pack(command)
        pipeline = self._pipeline
        if pipeline is None or pipeline.is_broken:
            pipeline = await self._connect()
        return await pipeline.send(packed)

    async def batch(self, *commands: tuple[Word, ...]) -> list[Any]:
        """Send commands directly one after another; returns their replies, a failed one's error in its place."""
        packed = [_pack(command) for command in commands]
        pipeline = await self._connect()
        return await asyncio.gather(*[pipeline.send(one) for one in packed], return_exceptions=True)

    async def transaction(self, *commands: tuple[Word, ...]) -> list[Any]:
        *queued, executed = await self.batch(("MULTI",), *commands, ("EXEC",))
        if isinstance(executed, BaseException):
            raise next((answer for answer in queued if isinstance(answer, BaseException)), executed)
        return list(executed)

    async def close(self) -> None:
        self._is_closed = True
        if self._pipeline is not None:
            await self._pipeline.close()

    async def _connect(self) -> PipelinedConnection:
        """The connection, opened if needed. Nothing is awaited between its check and the caller's `send`."""
        while self._pipeline is None or self._pipeline.is_broken:
            await self._once(self._open)
        return self._pipeline

    async def _open(self) -> None:
        if self._is_closed:
            raise LinkClosedError("the link to Redis was closed")
        pipeline = await open_connection(self._address, self._timeout_s, self._on_message)
        if self._is_closed:
            await pipeline.close()
            raise LinkClosedError("the link to Redis was closed")
        self._pipeline = pipeline
        self._n_opened += 1
        self.scripts.clear()


def _pack(command: tuple[Word, ...]) -> bytes:
    """The command in RESP. Raises TypeError for a word of another type, before anything is sent."""
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]
    return packed


class SharedAttempt:
    """Coalesces concurrent calls into one attempt: all callers share its success or its failure."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._n_ended = 0
        self._failure: Exception | None = None

    async def __call__(self, attempt: Callable[[], Awaitable[None]]) -> None:
        n_ended = self._n_ended
        async with self._lock:
            if self._n_ended == n_ended:
                self._failure = None
                try:
                    await attempt()
                except PASSING as error:
                    self._failure = error
                    raise
                finally:
                    self._n_ended += 1
            elif self._failure is not None:
                problem = f"{type(self._failure).__name__}: {self._failure}"
                raise redis.ConnectionError(problem) from self._failure
