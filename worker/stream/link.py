"""One connection shared by many coroutines: commands go out as they are called, answers come back in order.

redis-py's client takes a connection from its pool for every command and waits for the answer before the next one; a
worker that serves many sessions at once would spend most of its time there. A Link keeps one of redis-py's connections
(which does the handshake, TLS and parsing) and pipelines on it. A command that fails with a connection error may have
been carried out; what is sent here must bear being sent again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import Any, Protocol

import redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoScriptError, ReadOnlyError

from worker.stream.connect import Address
from worker.stream.script import Script

Word = str | bytes | int | float


class Link(Protocol):
    """Where commands go. Raises redis-py's errors; see `worker.stream.patience.PASSING` for those that pass."""

    async def call(self, *command: Word) -> Any:
        """Send one command and return its raw answer (bytes, ints, lists)."""

    async def transaction(self, *commands: tuple[Word, ...]) -> list[Any]:
        """MULTI, the commands, EXEC; a refused command's error stands in its place in the list."""

    async def close(self) -> None: ...


async def run_script(link: Link, script: Script, keys: tuple[str, ...], *arguments: Word) -> Any:
    """EVALSHA, or EVAL with the source where the server does not have the script (any more)."""
    try:
        return await link.call("EVALSHA", script.sha, len(keys), *keys, *arguments)
    except NoScriptError:
        return await link.call("EVAL", script.source, len(keys), *keys, *arguments)


def open_link(address: Address, timeout_s: float = 5.0) -> Link:
    """A connection made at the first call. An answer that takes longer than `timeout_s` breaks it."""
    return ClusterLink(address, timeout_s) if address.is_cluster else PipelinedLink(address, timeout_s)


class PipelinedLink:
    def __init__(self, address: Address, timeout_s: float) -> None:
        self._client = address.open_async(None)
        self._timeout_s = timeout_s
        self._unsent: list[bytes] = []
        self._unanswered: deque[asyncio.Future[Any]] = deque()
        self._wakeup = asyncio.Event()
        self._answer_due = asyncio.Event()
        self._connection: AbstractConnection | None = None
        self._connecting = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._released: set[asyncio.Task[None]] = set()

    async def call(self, *command: Word) -> Any:
        return await self._send(await self._connected(), command)

    async def transaction(self, *commands: tuple[Word, ...]) -> list[Any]:
        connection = await self._connected()
        whole = (("MULTI",), *commands, ("EXEC",))
        *queued, executed = await asyncio.gather(
            *[self._send(connection, command) for command in whole], return_exceptions=True
        )
        if isinstance(executed, BaseException):
            raise next((answer for answer in queued if isinstance(answer, BaseException)), executed)
        return list(executed)

    async def close(self) -> None:
        self._break(redis.ConnectionError("the connection was closed"))
        await asyncio.gather(*self._released)
        await self._client.aclose()
        await self._client.connection_pool.aclose()

    def _send(self, connection: AbstractConnection, command: tuple[Word, ...]) -> asyncio.Future[Any]:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._unsent.extend(connection.pack_command(*command))
        self._unanswered.append(answer)
        self._wakeup.set()
        return answer

    async def _connected(self) -> AbstractConnection:
        """The connection, made if there is none; nothing is awaited between its check and the caller's `_send`."""
        if self._connection is not None:
            return self._connection
        async with self._connecting:
            if self._connection is None:
                connection = await self._client.connection_pool.get_connection()
                self._connection = connection
                self._tasks = [
                    asyncio.create_task(self._write(connection), name="link-writer"),
                    asyncio.create_task(self._read(connection), name="link-reader"),
                ]
            return self._connection

    async def _write(self, connection: AbstractConnection) -> None:
        try:
            while True:
                await self._wakeup.wait()
                self._wakeup.clear()
                words, self._unsent = self._unsent, []
                self._answer_due.set()
                await connection.send_packed_command(words, check_health=False)
        except (redis.RedisError, OSError) as error:
            self._break(error)

    async def _read(self, connection: AbstractConnection) -> None:
        try:
            while True:
                if not self._unanswered:
                    self._answer_due.clear()
                    await self._answer_due.wait()
                async with asyncio.timeout(self._timeout_s):
                    await self._read_one(connection)
        except TimeoutError:
            self._break(redis.TimeoutError(f"no answer within {self._timeout_s} s"))
        except (redis.RedisError, OSError) as error:
            self._break(error)

    async def _read_one(self, connection: AbstractConnection) -> None:
        try:
            answer = await connection.read_response()
        except redis.ResponseError as error:
            self._answer(error)
            if isinstance(
                error, ReadOnlyError
            ):  # a demoted master: the next connection asks the Sentinels anew
                raise
        else:
            self._answer(answer)

    def _answer(self, answer: Any) -> None:
        future = self._unanswered.popleft()
        if future.done():  # its caller was cancelled
            return
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)

    def _break(self, error: Exception) -> None:
        """Fail what was not answered and forget the connection; the next call makes a new one."""
        connection, self._connection = self._connection, None
        tasks, self._tasks = self._tasks, []
        self._unsent = []
        unanswered, self._unanswered = self._unanswered, deque()
        for future in unanswered:
            if not future.done():
                future.set_exception(_as_connection_error(error))
        for task in tasks:
            if task is not asyncio.current_task():
                task.cancel()
        if connection is not None:
            task = asyncio.get_running_loop().create_task(self._release(connection))
            self._released.add(task)
            task.add_done_callback(self._released.discard)

    async def _release(self, connection: AbstractConnection) -> None:
        with suppress(redis.RedisError, OSError):
            await connection.disconnect(nowait=True)
        await self._client.connection_pool.release(connection)


def _as_connection_error(error: Exception) -> redis.RedisError:
    if isinstance(error, (redis.ConnectionError, redis.TimeoutError)):
        return error
    return redis.ConnectionError(f"the connection broke: {type(error).__name__}: {error}")


class ClusterLink:
    """The same for a Cluster, where redis-py chooses the node of every command."""

    def __init__(self, address: Address, timeout_s: float) -> None:
        self._client = address.open_async_cluster(timeout_s)

    async def call(self, *command: Word) -> Any:
        return await self._client.execute_command(*command)

    async def transaction(self, *commands: tuple[Word, ...]) -> list[Any]:
        pipeline = self._client.pipeline(transaction=True)
        for command in commands:
            pipeline.execute_command(*command)
        return list(await pipeline.execute(raise_on_error=False))

    async def close(self) -> None:
        await self._client.aclose()
