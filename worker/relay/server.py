"""The relay's server: accepts sockets, serves the page, health and metrics, and drains at the end."""

from __future__ import annotations

import asyncio
import socket as sockets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from schemas.errors import MakimaError
from worker.relay.http import PATH, answer, has_token, is_own_origin, page, plain
from worker.relay.metrics import RelayMetrics
from worker.relay.options import RelayOptions
from worker.relay.outlet import CLOSE_S
from worker.relay.planes import RelayPlanes
from worker.relay.socket import SpeakSocket
from worker.settings import Settings

MAX_FRAME_BYTES = 1 << 20
MAX_QUEUE = 4  # frames that are received while the client does not take its answers
WRITE_LIMIT = 32 * 1024  # bytes that wait in this process before a session is read no further
PING_S = 20.0
PONG_S = 120.0  # a client that is slow to read finds the ping behind its audio


class RelayError(MakimaError):
    """The relay cannot serve."""


class RelayServer:
    """One relay. address: of its page, while it runs."""

    def __init__(self, settings: Settings) -> None:
        self._options = RelayOptions.of(settings)
        self._settings = settings
        self._page = page()
        self._sockets: set[SpeakSocket] = set()
        self._is_draining = False
        self.metrics = RelayMetrics()
        self.address = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[RelayServer]:
        """Serve while the block runs, and drain behind it. Raises RelayError."""
        self._planes = RelayPlanes(self._settings, self._options)
        host, port = self._options.host, self._options.port
        try:
            server = await serve(
                self._serve, host, port, process_request=self._answer, compression=None, max_size=MAX_FRAME_BYTES,
                max_queue=MAX_QUEUE, write_limit=WRITE_LIMIT, ping_interval=PING_S, ping_timeout=PONG_S,
                close_timeout=CLOSE_S,
            )  # fmt: skip
        except OSError as error:
            await self._planes.close()
            raise RelayError(
                f"{host}:{port} cannot be listened on ({error.strerror or error})",
                "stop what listens there, or choose another --host or --port",
            ) from None
        host, port = server.sockets[0].getsockname()[:2]
        self.address = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
        try:
            yield self
        finally:
            await self.drain()
            server.close()
            await server.wait_closed()
            await self._planes.close()

    async def drain(self) -> None:
        """Refuse new sockets, leave all sessions and close the sockets."""
        self._is_draining = True
        await asyncio.gather(*[one.drain() for one in list(self._sockets)], self._planes.until_left())

    async def _serve(self, connection: ServerConnection) -> None:
        raw = connection.transport.get_extra_info("socket")
        if raw is not None and raw.family in (sockets.AF_INET, sockets.AF_INET6):
            raw.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY, 1)
        one = SpeakSocket(connection, self._planes, self._options, self.metrics)
        self._sockets.add(one)
        self.metrics.opened.inc()
        self.metrics.sockets.set(len(self._sockets))
        try:
            await one.serve()
        finally:
            self._sockets.discard(one)
            self.metrics.sockets.set(len(self._sockets))

    async def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """The answer to a request that becomes no socket; None for one that does."""
        match request.path.partition("?")[0]:
            case path if path == PATH:
                refusal = self._refusal(request)
                if refusal is not None:
                    self.metrics.refused.labels(str(refusal.status_code)).inc()
                return refusal
            case "/":
                return answer(HTTPStatus.OK, self._page, "text/html; charset=utf-8")
            case "/healthz":
                return plain(HTTPStatus.OK if await self._planes.serves() else HTTPStatus.SERVICE_UNAVAILABLE)
            case "/metrics":
                return answer(HTTPStatus.OK, self.metrics.page(), "text/plain; version=0.0.4; charset=utf-8")
        return plain(HTTPStatus.NOT_FOUND)

    def _refusal(self, request: Request) -> Response | None:
        if not is_own_origin(request, self._options.origins):
            return plain(HTTPStatus.FORBIDDEN, "the page's origin is not one of MAKIMA_TTS_RELAY_ORIGINS")
        if self._options.token is not None and not has_token(request, self._options.token):
            return plain(HTTPStatus.UNAUTHORIZED, "send the token as Authorization: Bearer, or as ?access_token=")
        if self._is_draining:
            return plain(HTTPStatus.SERVICE_UNAVAILABLE, "the relay is shutting down; connect to another one")
        if len(self._sockets) >= self._options.max_sockets:
            return plain(HTTPStatus.SERVICE_UNAVAILABLE, "the relay has as many sockets as it may; try again later")
        return None
