"""One connection shared by many coroutines; made at the first call, and anew at the first call after it broke.

redis-py's clients take a connection from a pool for every command and wait for its answer before the next one; a
worker that serves many sessions at once would spend most of its time there. A command that fails with a connection
error may have been carried out; what is sent here must bear being sent again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import hiredis
import redis

from worker.stream.transport.address import Address
from worker.stream.transport.base import LinkClosedError, Word
from worker.stream.transport.connection import PipelinedConnection
from worker.stream.transport.handshake import open_connection
from worker.stream.transport.retry import PASSING


class PipelinedLink:
    """The link to one server, or to whichever server is a Sentinel service's master."""

    def __init__(self, address: Address, timeout_s: float) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._pipeline: PipelinedConnection | None = None
        self._once = SharedAttempt()
        self._is_closed = False
        self.scripts: set[str] = set()

    @property
    def is_connected(self) -> bool:
        return self._pipeline is not None and not self._pipeline.is_broken

    @property
    def server(self) -> str | None:
        """Host and port of the connection that stands; None without one."""
        pipeline = self._pipeline
        return None if pipeline is None or pipeline.is_broken else pipeline.server

    def renew(self) -> None:
        """Let go of the connection, if there is one; the next command makes another."""
        if self._pipeline is not None:
            self._pipeline.give_up(redis.ConnectionError("another server may be the master now"))

    async def call(self, *command: Word) -> Any:
        packed = _pack(command)
        pipeline = self._pipeline
        if pipeline is None or pipeline.is_broken:
            pipeline = await self._connect()
        return await pipeline.send(packed)

    async def batch(self, *commands: tuple[Word, ...]) -> list[Any]:
        """Commands that follow each other on the connection; a failed one's error stands in its place."""
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
        """The connection, made if there is none; nothing is awaited between its check and the caller's `send`."""
        while self._pipeline is None or self._pipeline.is_broken:
            await self._once(self._open)
        return self._pipeline

    async def _open(self) -> None:
        if self._is_closed:
            raise LinkClosedError("the link to Redis was closed")
        pipeline = await open_connection(self._address, self._timeout_s)
        if self._is_closed:
            await pipeline.close()
            raise LinkClosedError("the link to Redis was closed")
        self._pipeline = pipeline
        self.scripts.clear()


def _pack(command: tuple[Word, ...]) -> bytes:
    """Raises TypeError for a word that is none; the connection is then untouched."""
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]
    return packed


class SharedAttempt:
    """One attempt for all who ask for it at a time: they share its success and its failure."""

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
                said = f"{type(self._failure).__name__}: {self._failure}"
                raise redis.ConnectionError(said) from self._failure
