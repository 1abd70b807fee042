"""The plain HTTP side: which requests become sockets, the page, health and metrics."""

from __future__ import annotations

import secrets
from http import HTTPStatus
from importlib import resources
from urllib.parse import parse_qs, urlsplit

from websockets.datastructures import Headers
from websockets.http11 import Request, Response

PATH = "/api/v1/speak"
DEFAULT_PORT = {"http": 80, "https": 443}


def page() -> bytes:
    """The page, which is a file of the contract's Rust crate. Raises OSError where it is not installed."""
    return resources.files("schemas").joinpath("rust", "page", "index.html").read_bytes()


def plain(status: HTTPStatus, text: str = "") -> Response:
    """A line of text; by default the status' name."""
    return answer(status, f"{text or status.phrase}\n".encode())


def answer(status: HTTPStatus, body: bytes, kind: str = "text/plain; charset=utf-8") -> Response:
    """A whole answer, after which the connection closes."""
    headers = Headers()
    headers["Content-Type"] = kind
    headers["Content-Length"] = str(len(body))
    headers["Cache-Control"] = "no-cache"
    headers["Connection"] = "close"
    headers["Referrer-Policy"] = "no-referrer"  # the address may hold the token
    headers["X-Content-Type-Options"] = "nosniff"
    return Response(status.value, status.phrase, headers, body)


def is_own_origin(request: Request, origins: frozenset[str]) -> bool:
    """Whether the request comes from no page, from a page of this host, or from one of a configured origin."""
    given = request.headers.get_all("Origin")
    if not given or "*" in origins:
        return True
    origin = given[0].lower()
    if origin in origins:
        return len(given) == 1
    return len(given) == 1 and _place(origin) is not None and _place(origin) == _host(request, origin)


def _place(origin: str) -> tuple[str, int] | None:
    try:
        parts = urlsplit(origin)
        port = parts.port or DEFAULT_PORT.get(parts.scheme)
    except ValueError:
        return None
    return (parts.hostname, port) if parts.hostname and port else None


def _host(request: Request, origin: str) -> tuple[str, int] | None:
    """The host of the request. Without a port it has that of the page's scheme: a proxy may speak TLS for the relay."""
    hosts = request.headers.get_all("Host")
    return _place(f"{urlsplit(origin).scheme}://{hosts[0].lower()}") if len(hosts) == 1 else None


def has_token(request: Request, token: str) -> bool:
    """Whether the request carries the token, in its header or its address."""
    words = [value.split(" ") for value in request.headers.get_all("Authorization")]
    given = [word[1] for word in words if len(word) == 2 and word[0].lower() == "bearer"]
    given += parse_qs(request.path.partition("?")[2]).get("access_token", [])
    return any(secrets.compare_digest(one.encode("utf-8", "replace"), token.encode()) for one in given)
