"""A TCP proxy between the workers and their Redis that delays, holds and cuts connections."""

from __future__ import annotations

import asyncio
import socket
from asyncio import StreamReader, StreamWriter
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Thread
from time import monotonic
from typing import Self

HOST = "127.0.0.1"
CHUNK_BYTES = 65_536  # a connection holds a few of these each way; beyond that its sender waits
HTTP_ANSWER = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/html\r\nContent-Length: 26\r\nConnection: close\r\n\r\n"
    b"<h1>No server is here</h1>"
)
GRACE_S = 0.1  # from a request whose answer is kept back to the cut


class Proxy:
    """Passes TCP on to servers of this machine, from a port of its own for each. Set from any thread while it runs.

    delay_s: how long all bytes are held on their way, there and back; at most twice as long. did: how often each
    thing happened: connection, refused (no server answered), cut, cut after request, blackhole, http answer.
    """

    def __init__(self, *server_ports: int) -> None:
        self.ports: tuple[int, ...] = ()
        self.delay_s = 0.0
        self.did: Counter[str] = Counter()
        self._server_ports = server_ports
        self._loop = asyncio.new_event_loop()
        self._is_ending = asyncio.Event()
        self._dark_until_s = 0.0
        self._http_until_s = 0.0
        self._n_to_cut = 0
        self._connections: set[_Connection] = set()

    @property
    def port(self) -> int:
        """The one in front of the first server."""
        return self.ports[0]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def start(self) -> None:
        """Clients may connect when this returns; the servers need not run yet."""
        listeners = [socket.create_server((HOST, 0)) for _ in self._server_ports]
        self.ports = tuple(listener.getsockname()[1] for listener in listeners)
        self._thread = Thread(target=self._run, args=(listeners,), name="proxy", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End every connection and the thread; nothing that is set afterwards has an effect."""
        self._soon(self._is_ending.set)
        self._thread.join()

    def blackhole(self, seconds: float) -> None:
        """For so long from now nothing arrives anywhere. What is sent meanwhile arrives afterwards, however stale."""
        self._dark_until_s = monotonic() + seconds
        self.did["blackhole"] += 1

    def cut(self) -> None:
        """End all connections; what is on its way is lost."""
        self._soon(self._cut_all)

    def answer_http(self, seconds: float) -> None:
        """End all connections; for so long from now each new one gets a balancer's answer, which is no Redis's."""
        self._http_until_s = monotonic() + seconds
        self.cut()

    def cut_after_request(self, n: int) -> None:
        """Pass the next n requests on to the server and no answer back: their connections end instead.

        A request is what a client sends at once. What it sends before the server first answered it does not count:
        that is its greeting, and a client cut off there has written nothing.
        """
        self._soon(partial(self._expect, n))

    async def on_its_way(self) -> None:
        """Wait as long as what was read now takes to the other side."""
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        while (left_s := self._dark_until_s - monotonic()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(left_s)

    def keeps_answer(self) -> bool:
        """Whether the request read now is one of those to be cut off; it then counts as one."""
        if not self._n_to_cut:
            return False
        self._n_to_cut -= 1
        self.did["cut after request"] += 1
        return True

    def _run(self, listeners: list[socket.socket]) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve(listeners))

    async def _serve(self, listeners: list[socket.socket]) -> None:
        servers = [
            await asyncio.start_server(partial(self._connect, port), sock=listener, limit=CHUNK_BYTES)
            for port, listener in zip(self._server_ports, listeners, strict=True)
        ]
        await self._is_ending.wait()
        for server in servers:
            server.close()

    async def _connect(self, server_port: int, from_client: StreamReader, to_client: StreamWriter) -> None:
        if monotonic() < self._http_until_s:
            await self._answer_http(to_client)
            return
        try:
            from_server, to_server = await asyncio.open_connection(HOST, server_port, limit=CHUNK_BYTES)
        except OSError:
            self.did["refused"] += 1
            to_client.transport.abort()
            return
        self.did["connection"] += 1
        one = _Connection(self, to_client, to_server)
        self._connections.add(one)
        try:
            await one.pass_on(from_client, from_server)
        finally:
            self._connections.remove(one)

    async def _answer_http(self, to_client: StreamWriter) -> None:
        self.did["http answer"] += 1
        to_client.write(HTTP_ANSWER)
        with suppress(OSError):
            await to_client.drain()
            to_client.close()
            await to_client.wait_closed()

    def _soon(self, do: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(do)

    def _cut_all(self) -> None:
        for one in self._connections:
            one.cut()
            self.did["cut"] += 1

    def _expect(self, n: int) -> None:
        self._n_to_cut += n


class _Connection:
    """A client's connection and the one to the server: either ends with the other."""

    def __init__(self, proxy: Proxy, to_client: StreamWriter, to_server: StreamWriter) -> None:
        self._proxy = proxy
        self._to_client = to_client
        self._to_server = to_server
        self._is_greeted = False
        self._keeps_answers = False

    async def pass_on(self, from_client: StreamReader, from_server: StreamReader) -> None:
        both = (self._to_client, self._to_server)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass_requests(from_client))
                group.create_task(self._pass_answers(from_server))
        except* (EOFError, OSError):  # one side has ended; the other still gets what it had sent
            for writer in both:
                writer.close()
            for writer in both:
                with suppress(OSError):
                    await writer.wait_closed()
        finally:
            self.cut()

    def cut(self) -> None:
        for writer in (self._to_client, self._to_server):
            writer.transport.abort()

    async def _pass_requests(self, reader: StreamReader) -> None:
        while data := await reader.read(CHUNK_BYTES):
            await self._proxy.on_its_way()
            if self._is_greeted and not self._keeps_answers and self._proxy.keeps_answer():
                self._keeps_answers = True
                asyncio.get_running_loop().call_later(GRACE_S, self.cut)
            self._to_server.write(data)
            await self._to_server.drain()
        raise EOFError

    async def _pass_answers(self, reader: StreamReader) -> None:
        while data := await reader.read(CHUNK_BYTES):
            await self._proxy.on_its_way()
            if not self._keeps_answers:
                self._is_greeted = True
                self._to_client.write(data)
                await self._to_client.drain()
        raise EOFError
