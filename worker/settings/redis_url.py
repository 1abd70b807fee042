"""The Redis URLs that this project takes.

`redis://user:password@host:6379/0`, `unix:///path?db=0`, `redis+sentinel://host:26379,host:26379/service/0` and
`redis+cluster://host:6379,host:6379`; with TLS `rediss` for `redis`. Behind a ? may stand db, username and password.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from schemas.errors import MakimaError

SCHEMES = (
    "redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster",
)  # fmt: skip
EXAMPLE = "redis://127.0.0.1:6379/0"

_USER_INFO = re.compile(r"(?<=://)[^\s]*@")
_SECRET_QUERY = re.compile(r"(?i)(?<=[?&])(password|username)=[^&\s]*")

Kind = Literal["standalone", "sentinel", "cluster"]
Place = tuple[str, int]  # host and port


class AddressError(MakimaError):
    """A Redis URL that cannot be used. The message never holds the URL, which may hold a password."""


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """A Redis URL, checked. hosts: one for a single server, none for a Unix socket. service: of a Sentinel URL."""

    kind: Kind
    is_tls: bool = False
    hosts: tuple[Place, ...] = ()
    socket: str = ""
    service: str = ""
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str) -> RedisUrl:
        """Raises AddressError."""
        try:
            parts = urlsplit(url)
        except ValueError:
            raise _unreadable() from None
        if parts.scheme not in SCHEMES or not url.lower().startswith(f"{parts.scheme}://"):
            known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
            raise AddressError("a Redis URL begins with its scheme", f"use one of {known}, for example {EXAMPLE}")
        if parts.fragment:  # an unquoted # of a password
            raise _unreadable()
        if parts.scheme.endswith("+sentinel"):
            return _sentinel(parts)
        return _cluster(parts) if parts.scheme.endswith("+cluster") else _standalone(parts)


def without_password(url: str) -> str:
    """The URL as it may be logged: user and password replaced by ***."""
    return _SECRET_QUERY.sub(r"\1=***", _USER_INFO.sub("***@", url))


def is_database(number: str) -> bool:
    return number.isdecimal() and len(number) < 10


# redis-py would take any argument of its connections from a URL, also one that leaves out the check of a server's
# certificate; those that may be set are settings.
_OPTIONS: dict[str, Callable[[str], bool]] = {"db": is_database, "username": bool, "password": bool}


def _standalone(parts: SplitResult) -> RedisUrl:
    options = _options(parts.query)
    username, password = _login(parts)
    login = (username or options.get("username"), password or options.get("password"))
    if parts.scheme == "unix":
        if not parts.path.strip("/"):
            raise AddressError("the URL names no socket", "write for example unix:///run/redis.sock")
        return RedisUrl("standalone", False, (), unquote(parts.path), "", int(options.get("db", 0)), *login)
    db = parts.path.strip("/")
    if db and not is_database(db):
        raise _unreadable()
    host = parts.netloc.rpartition("@")[2]
    if not host:
        raise AddressError("the URL names no host", f"write for example {EXAMPLE}")
    try:
        place = _place(host, 6379)
    except ValueError:
        raise _unreadable() from None
    return RedisUrl("standalone", parts.scheme == "rediss", (place,), "", "", int(options.get("db", db or 0)), *login)


def _sentinel(parts: SplitResult) -> RedisUrl:
    hosts = _hosts(parts, 26379)
    service, _, db = parts.path.strip("/").partition("/")
    if not service or (db and not is_database(db)):
        raise AddressError("a Sentinel URL names the service", "write redis+sentinel://host:26379,host:26379/service/0")
    return RedisUrl("sentinel", parts.scheme.startswith("rediss"), hosts, "", service, int(db or 0), *_login(parts))


def _cluster(parts: SplitResult) -> RedisUrl:
    hosts = _hosts(parts, 6379)
    if parts.path not in ("", "/", "/0"):
        raise AddressError("a Cluster has one database", "write redis+cluster://host:6379,host:6379")
    return RedisUrl("cluster", parts.scheme.startswith("rediss"), hosts, "", "", 0, *_login(parts))


def _hosts(parts: SplitResult, default_port: int) -> tuple[Place, ...]:
    if parts.query:
        raise AddressError("a Sentinel or Cluster URL has no options behind a ?", "set them apart from the URL")
    hosts = []
    for part in parts.netloc.rpartition("@")[2].split(","):
        try:
            hosts.append(_place(part, default_port))
        except ValueError:
            problem = f"{part[:80]!r} in the Redis URL is no host:port"
            raise AddressError(problem, "write host:6379,host:6379") from None
    return tuple(hosts)


def _place(part: str, default_port: int) -> Place:
    """Host and port of `host`, `host:port` or `[::1]:port`. Raises ValueError."""
    one = urlsplit(f"//{part}")
    if not one.hostname:
        raise ValueError(part)
    return unquote(one.hostname), one.port or default_port


def _login(parts: SplitResult) -> tuple[str | None, str | None]:
    username, _, password = parts.netloc.rpartition("@")[0].partition(":")
    return unquote(username) or None, unquote(password) or None


def _options(query: str) -> dict[str, str]:
    try:
        given = parse_qs(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise _unreadable() from None
    options = {name: values[0] for name, values in given.items()}
    if any(name not in _OPTIONS or not _OPTIONS[name](value) for name, value in options.items()):
        raise AddressError(
            "an option of the Redis URL is unknown or has no usable value", f"use {', '.join(_OPTIONS)}, or no option"
        )
    return options


def _unreadable() -> AddressError:
    return AddressError(
        "the Redis URL cannot be read",
        "it looks like redis://user:password@host:6379/0, with characters such as @ / # : of a password written as "
        "%40 %2F %23 %3A (or give the password apart from the URL)",
    )
