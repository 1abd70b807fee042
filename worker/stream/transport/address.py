"""How Redis is reached: standalone, Unix socket, Sentinel and Cluster URLs, TLS, user and password.

`redis://` `rediss://` `unix://` as redis-py reads them, with few of its options; also with `rediss+`:
`redis+sentinel://host:26379,host:26379/service/db` and `redis+cluster://host:6379,host:6379`. A user and password given
apart from the URL (from a setting or a file) win over those inside it.

What a connection needs (the password's file, certificates, names) is read when it is made, so that what was changed
meanwhile counts from the next connection on.

redis-py opens the connections (addresses, TLS, log-in) and no more: its clients retry by themselves, which hides
failures, and cut blocking reads short by a default time-out. `worker.stream.transport.handshake` makes connections,
`worker.stream.transport.link` speaks on them, `worker.stream.transport.retry` waits and repeats.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from redis.asyncio.connection import AbstractConnection, Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from schemas.errors import MakimaError
from worker.settings import Settings, password_in

CONNECT_TIMEOUT_S = 5.0

SCHEMES = frozenset(
    {"redis", "rediss", "unix"}
    | {f"{scheme}+{kind}" for scheme in ("redis", "rediss") for kind in ("sentinel", "cluster")}
)


class AddressError(MakimaError):
    """The Redis URL cannot be used; the message says why and how one looks, and never holds the URL itself."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where one plane's Redis is and who we are there. Neither URL nor password appears in `repr`.

    password_file: read for each connection, and wins over a password. is_part: one server of a Cluster or one Sentinel,
    not a server that may be used by itself. Raises AddressError when the URL cannot be used.
    """

    url: str = field(repr=False)
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    password_file: Path | None = None
    is_part: bool = False

    def __post_init__(self) -> None:
        scheme = self._parts.scheme
        if scheme not in SCHEMES:
            raise AddressError(f"a Redis URL cannot begin with {scheme!r}; use one of {', '.join(sorted(SCHEMES))}")
        if self._parts.fragment:
            raise _unreadable()
        if self.kind != "standalone" and self._parts.query:
            raise AddressError("a Sentinel or Cluster URL has no options behind a ?; set them apart from the URL")
        if self.kind == "standalone":
            self._url_options()
        elif self.hosts and self.kind == "sentinel":
            self._service()
        elif self._parts.path not in ("", "/", "/0"):
            raise AddressError("a Cluster has one database; its URL looks like redis+cluster://host:6379,host:6379")

    @property
    def kind(self) -> str:
        """standalone, sentinel or cluster."""
        return self._parts.scheme.partition("+")[2] or "standalone"

    @property
    def is_cluster(self) -> bool:
        return self.kind == "cluster"

    @property
    def hosts(self) -> list[tuple[str, int]]:
        """[(host, port)] of a Sentinel or Cluster URL."""
        default_port = 26379 if self.kind == "sentinel" else 6379
        hosts = []
        for part in self._parts.netloc.rpartition("@")[2].split(","):
            try:
                one = urlsplit(f"//{part}")
                host, port = one.hostname, one.port
            except ValueError:
                host = port = None
            if not host:
                raise AddressError(f"{part[:80]!r} in the Redis URL is no host:port; write host:6379,host:6379")
            hosts.append((host, port or default_port))
        return hosts

    @property
    def service(self) -> str:
        """What the Sentinels of the URL call the service."""
        return self._service()[0]

    def node(self, host: str, port: int) -> Address:
        """The address of one server of a Cluster, with the same user, password and files."""
        return self._at(host, port)

    def master(self, host: str, port: int) -> Address:
        """The address of a Sentinel service's master, with the same user, password and files."""
        return replace(self._at(host, port, db=self._service()[1]), is_part=False)

    def sentinel(self, host: str, port: int) -> Address:
        """The address of one Sentinel, which may know neither the servers' user nor their password."""
        return replace(self._at(host, port), username=None, password=None, password_file=None)

    def connection(self, timeout_s: float) -> AbstractConnection:
        """What connects to this server (`node`, `master` and `sentinel` give those of a Cluster or service).

        It holds user, password and database, but `worker.stream.transport.handshake` logs in. TCP and TLS together may
        take twice the time-out. Raises SettingsError when the password's file cannot be read.
        """
        options = self._url_options() | self._tls_options()
        make: type[AbstractConnection] = options.pop("connection_class", Connection)
        options |= {
            "protocol": 2,
            "redis_connect_func": _no_login,
            "socket_timeout": timeout_s,
            "socket_connect_timeout": min(2 * timeout_s, max(CONNECT_TIMEOUT_S, timeout_s)),
            "retry": Retry(NoBackoff(), 0),
        }
        username, password = self._credentials()
        if self.password_file is not None:
            password = password_in(self.password_file)
        options |= {"username": username} if username is not None else {}
        options |= {"password": password} if password is not None else {}
        return make(**options)

    def _at(self, host: str, port: int, db: int = 0) -> Address:
        scheme = self._parts.scheme.partition("+")[0]
        username, password = self._credentials()
        netloc = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return replace(self, url=f"{scheme}://{netloc}/{db}", username=username, password=password, is_part=True)

    @property
    def _parts(self) -> SplitResult:
        try:
            return urlsplit(self.url)
        except ValueError:
            raise _unreadable() from None

    def _url_options(self) -> dict[str, Any]:
        scheme, path = self._parts.scheme, self._parts.path.strip("/")
        if (scheme == "unix" and not path) or (scheme != "unix" and path and not _is_database(path)):
            raise _unreadable()  # redis-py would take the database 0
        try:
            given = parse_qs(self._parts.query, keep_blank_values=True, strict_parsing=bool(self._parts.query))
            options = dict(parse_url(self.url))
        except ValueError:
            raise _unreadable() from None
        if any(name not in _OPTIONS or not _OPTIONS[name](value) for name, (value, *_) in given.items()):
            raise AddressError(f"behind the ? of a Redis URL may stand {', '.join(_OPTIONS)}, each with a usable value")
        return options

    def _credentials(self) -> tuple[str | None, str | None]:
        username, _, password = self._parts.netloc.rpartition("@")[0].partition(":")
        return (
            self.username if self.username is not None else unquote(username) or None,
            self.password if self.password is not None else unquote(password) or None,
        )

    def _service(self) -> tuple[str, int]:
        service, _, db = self._parts.path.strip("/").partition("/")
        if not service or (db and not _is_database(db)):
            raise AddressError("a Sentinel URL looks like redis+sentinel://host:26379,host:26379/service/0")
        return service, int(db or 0)

    def _tls_options(self) -> dict[str, Any]:
        if self._parts.scheme != "rediss":
            return {}
        files = {
            "ssl_ca_certs": self.ca_file,
            "ssl_certfile": self.cert_file,
            "ssl_keyfile": self.key_file,
        }
        return {name: str(path) for name, path in files.items() if path is not None}


def addresses(settings: Settings) -> tuple[Address, Address]:
    """Where the job plane and the session plane are. Raises SettingsError for an unreadable password file."""
    username, password = settings.redis_credentials()
    file = settings.redis_password_file  # read again for each connection
    who = (username, None if file else password)
    files = (settings.redis_ca_file, settings.redis_cert_file, settings.redis_key_file, file)
    return Address(settings.redis_url, *who, *files), Address(settings.session_url, *who, *files)


def _no_login(connection: AbstractConnection) -> None:
    """redis-py would ask for one thing after the other, a round trip each."""


def _is_database(number: str) -> bool:
    return number.isdecimal() and len(number) < 10


# redis-py takes any argument of its connections from a URL, also such as would change how they are spoken on or leave
# out the check of a server's certificate; its files are settings of their own.
_OPTIONS: dict[str, Callable[[str], bool]] = {"db": _is_database, "username": bool, "password": bool}


def _unreadable() -> AddressError:
    return AddressError(
        "the Redis URL cannot be read; it looks like redis://user:password@host:6379/0, with characters such as "
        "@ / # : of a password written as %40 %2F %23 %3A (or give the password apart from the URL)"
    )
