"""`/healthz`, `/readyz` and `/metrics` over HTTP, a thread for each request.

The threads answer while the event loop or the engine hangs. Every request queries the HealthSource; nothing is cached.
"""

from __future__ import annotations

import io
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterable
from http import HTTPStatus
from socketserver import TCPServer
from types import TracebackType
from typing import Any, Protocol, Self, TextIO
from wsgiref.simple_server import WSGIRequestHandler
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from prometheus_client import make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from schemas.errors import MakimaError
from worker.observe.metrics import Metrics

REQUEST_TIMEOUT_S = 5.0
CLOSE_WITHIN_S = 0.1
PAGES = {"/healthz": "healthy", "/metrics": "", "/readyz": "ready"}  # and the field that holds a page's verdict

log = logging.getLogger(__name__)


class HealthError(MakimaError):
    """The health server cannot listen."""


class HealthSource(Protocol):
    """Reports a worker's state. Called from other threads than the worker's; must not block."""

    def problems(self) -> list[str]:
        """A sentence for each fault, such as a hung engine or a lost Redis."""

    def warnings(self) -> list[str]:
        """A sentence for each fault that a restart would not repair, such as a far Redis: not ready, yet healthy."""

    def is_ready(self) -> bool:
        """True once warmed up, and until the drain begins."""


class HealthServer:
    """Serves one worker's health. `with HealthServer(source, metrics, port=9100) as health: ...`

    port: 0 for any free one, which the property `port` returns. Raises HealthError when the port is not available.
    """

    def __init__(self, source: HealthSource, metrics: Metrics, port: int, host: str = "127.0.0.1") -> None:
        self._source = source
        self._metrics: WSGIApplication = make_wsgi_app(metrics.registry)
        try:
            self._server = _Server(host, port, self._answer)
        except OSError as error:
            raise HealthError(
                f"cannot listen on {host}:{port} ({error.strerror})",
                "give each worker of a host a --health-port of its own, or leave it out",
            ) from None
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(CLOSE_WITHIN_S,), name="health", daemon=True
        )

    @property
    def port(self) -> int:
        return self._server.server_port

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stop listening. Safe to call twice, and without start."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None, /) -> Callable[[bytes], object]:
            return start_response(status, [*headers, ("Server", "makima-tts"), ("Cache-Control", "no-store")])

        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        body: Iterable[bytes]
        if method not in ("GET", "HEAD"):
            body = _json(start, HTTPStatus.NOT_IMPLEMENTED, methods=["GET", "HEAD"])
        elif path not in PAGES:
            body = _json(start, HTTPStatus.NOT_FOUND, pages=list(PAGES))
        elif path == "/metrics":
            body = self._metrics({**environ, "REQUEST_METHOD": "GET"}, start)
        else:
            problems, is_ready = self._state(with_warnings=path == "/readyz")
            is_well = not problems and (is_ready or path == "/healthz")
            status = HTTPStatus.OK if is_well else HTTPStatus.SERVICE_UNAVAILABLE
            body = _json(start, status, **{PAGES[path]: is_well}, problems=problems)
        return [] if method == "HEAD" else body

    def _state(self, with_warnings: bool) -> tuple[list[str], bool]:
        """The problems, and whether the worker says that it is ready."""
        try:
            warnings = self._source.warnings() if with_warnings else []
            return [*self._source.problems(), *warnings], self._source.is_ready()
        except Exception:
            log.exception("the health check itself failed")
            return ["the health check itself failed; see the log"], False


def _json(start: StartResponse, status: HTTPStatus, **page: Any) -> list[bytes]:
    content = json.dumps(page).encode() + b"\n"
    length = str(len(content))
    start(f"{status.value} {status.phrase}", [("Content-Type", "application/json"), ("Content-Length", length)])
    return [content]


class _Server(ThreadingWSGIServer):
    def __init__(self, host: str, port: int, application: WSGIApplication) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _HealthHandler)
        self.set_app(application)

    def server_bind(self) -> None:
        """Bind without HTTPServer's look-up of the host's full name, which may take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("a health request failed", exc_info=True)


class _HealthHandler(WSGIRequestHandler):
    timeout = REQUEST_TIMEOUT_S

    def get_stderr(self) -> TextIO:
        return io.StringIO()  # wsgiref writes a traceback there; the process' stderr may block

    def log_message(self, format: str, *args: Any) -> None:
        log.debug("health request", extra={"request": format % args})
