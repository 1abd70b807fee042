"""Helpers for tests of links: the outcome of a call, and a server with scripted answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import redis

from worker.stream.transport.link import PipelinedLink


async def outcome(link: PipelinedLink, *command: str | int) -> object:
    try:
        return await link.call(*command)
    except redis.RedisError as error:
        return error


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
