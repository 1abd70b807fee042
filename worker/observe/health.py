"""`/healthz`, `/readyz` and `/metrics` over HTTP, from threads of their own.

They answer even when the event loop or the engine hangs, which is when one needs them. What is wrong is asked
of a HealthSource at every request; nothing is cached and nothing is assumed.
"""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Protocol, Self

from schemas.errors import MakimaError
from worker.observe.metrics import CONTENT_TYPE, Metrics

REQUEST_TIMEOUT_S = 5.0
CLOSE_WITHIN_S = 0.1

log = logging.getLogger(__name__)

Answer = tuple[HTTPStatus, str, bytes]


class HealthError(MakimaError):
    """The health server cannot listen; the message says what to do."""


class HealthSource(Protocol):
    """What knows how the worker is. Called from other threads than the worker's; must not block."""

    def problems(self) -> list[str]:
        """A sentence for each thing that is wrong, such as a hung engine or a lost Redis."""

    def warnings(self) -> list[str]:
        """A sentence for each thing that makes it not ready and that a restart would not mend, such as a far Redis."""

    def is_ready(self) -> bool:
        """True once warmed up, and until the drain begins."""


class HealthServer:
    """Serves one worker's health. `with HealthServer(source, metrics, port=9100) as health: ...`

    port: 0 takes any free one; `port` then says which. Raises HealthError when the port cannot be had.
    """

    def __init__(self, source: HealthSource, metrics: Metrics, port: int, host: str = "127.0.0.1") -> None:
        self._source = source
        self._metrics = metrics
        self._pages: dict[str, Callable[[], Answer]] = {
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/metrics": self._render,
        }
        try:
            self._server = _Server(host, port, self.answer)
        except OSError as error:
            raise HealthError(
                f"cannot listen on {host}:{port} ({error.strerror}); give each worker of a host "
                "a --health-port of its own, or leave it out"
            ) from None
        self._thread = threading.Thread(target=self._serve, name="health", daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stop listening. Safe to call twice, and without start."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def _serve(self) -> None:
        self._server.serve_forever(poll_interval=CLOSE_WITHIN_S)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def answer(self, path: str) -> Answer:
        """Status, content type and body of a page."""
        page = self._pages.get(path.partition("?")[0])
        if page is None:
            return _json(HTTPStatus.NOT_FOUND, pages=sorted(self._pages))
        return page()

    def _healthz(self) -> Answer:
        problems = self._problems()
        status = HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK
        return _json(status, healthy=not problems, problems=problems)

    def _readyz(self) -> Answer:
        problems, is_ready = self._problems(with_warnings=True), self._is_ready()
        status = HTTPStatus.OK if is_ready and not problems else HTTPStatus.SERVICE_UNAVAILABLE
        return _json(status, ready=status is HTTPStatus.OK, problems=problems)

    def _render(self) -> Answer:
        return HTTPStatus.OK, CONTENT_TYPE, self._metrics.render()

    def _is_ready(self) -> bool:
        try:
            return self._source.is_ready()
        except Exception:
            log.exception("the readiness check itself failed")
            return False

    def _problems(self, with_warnings: bool = False) -> list[str]:
        try:
            return self._source.problems() + (self._source.warnings() if with_warnings else [])
        except Exception:
            log.exception("the health check itself failed")
            return ["the health check itself failed; see the log"]


def _json(status: HTTPStatus, **body: Any) -> Answer:
    return status, "application/json", json.dumps(body).encode() + b"\n"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a slow reader must not hold up the worker's end
    allow_reuse_address = True

    def __init__(self, host: str, port: int, answer: Callable[[str], Answer]) -> None:
        self.answer = answer
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _HealthHandler)

    def server_bind(self) -> None:
        """Bind without HTTPServer's look-up of the host's full name, which may take seconds."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("a health request failed", exc_info=True)


class _HealthHandler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "makima-tts"
    sys_version = ""
    timeout = REQUEST_TIMEOUT_S

    def do_GET(self) -> None:
        self._reply(with_body=True)

    def do_HEAD(self) -> None:
        self._reply(with_body=False)

    def _reply(self, with_body: bool) -> None:
        status, content_type, body = self.server.answer(self.path)
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        log.debug("health request", extra={"request": format % args})
