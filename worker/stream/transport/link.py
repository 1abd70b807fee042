"""One connection shared by many coroutines; made at the first call, and anew at the first call after it broke.

redis-py's clients take a connection from a pool for every command and wait for its answer before the next one; a
worker that serves many sessions at once would spend most of its time there. A command that fails with a connection
error may have been carried out; what is sent here must bear being sent again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import hiredis
import redis
from redis.exceptions import NoScriptError

from schemas.errors import MakimaError
from worker.stream.scripts import Script
from worker.stream.transport.address import Address
from worker.stream.transport.connection import PipelinedConnection
from worker.stream.transport.handshake import open_connection
from worker.stream.transport.retry import PASSING

Word = str | bytes | int | float


class LinkClosedError(MakimaError):
    """The link was closed by its owner; nothing is sent on it any more."""


class Link(Protocol):
    """Where commands go. Raises redis-py's errors; see `worker.stream.transport.retry.PASSING` for those that pass.

    connection_number: of the connection that the next command is sent over; what was written over an earlier one may
    be lost since, if a replica was made master.
    scripts: SHA of a script → the number of the connection over which its source was sent last.
    """

    scripts: dict[str, int]

    @property
    def connection_number(self) -> int: ...

    async def call(self, *command: Word) -> Any:
        """Send one command and return its raw answer (bytes, ints, lists)."""

    async def transaction(self, *commands: tuple[Word, ...]) -> list[Any]:
        """MULTI, the commands, EXEC; a refused command's error stands in its place in the list."""

    async def close(self) -> None:
        """Fail what was not answered; a call after it raises LinkClosedError."""


async def run_script(link: Link, script: Script, keys: tuple[str, ...], *arguments: Word) -> Any:
    """EVAL with the source the first time over a connection: asking whether it is there would cost a round trip.

    Later EVALSHA, and EVAL again where the server has lost the script.
    """
    number = link.connection_number
    if link.scripts.get(script.sha) == number:
        try:  # not contextlib.suppress, which costs half a microsecond, three times a job
            return await link.call("EVALSHA", script.sha, len(keys), *keys, *arguments)
        except NoScriptError:
            pass
    link.scripts[script.sha] = number
    return await link.call("EVAL", script.source, len(keys), *keys, *arguments)


def open_link(address: Address, timeout_s: float = 5.0) -> Link:
    """A connection made at the first call. An answer that takes longer than `timeout_s` breaks it."""
    if address.is_cluster:
        from worker.stream.transport.cluster import ClusterLink

        return ClusterLink(address, timeout_s)
    return PipelinedLink(address, timeout_s)


class PipelinedLink:
    """The link to one server, or to whichever server is a Sentinel service's master."""

    def __init__(self, address: Address, timeout_s: float) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._pipeline: PipelinedConnection | None = None
        self._once = SharedAttempt()
        self._n_opened = 0
        self._is_closed = False
        self.scripts: dict[str, int] = {}

    @property
    def connection_number(self) -> int:
        return self._n_opened + (self._pipeline is None or self._pipeline.is_broken)

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
        self._n_opened += 1


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
