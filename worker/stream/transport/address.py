"""How Redis is reached: standalone, Unix socket, Sentinel and Cluster URLs, TLS, user and password.

`worker.settings.redis_url` has the rules of the URLs. A user and password given apart from the URL (from a setting or a
file) win over those inside it.

What a connection needs (the password's file, certificates, names) is read when it is made, so that what was changed
meanwhile counts from the next connection on.

redis-py opens the connections (addresses, TLS, log-in) and no more: its clients retry by themselves, which hides
failures, and cut blocking reads short by a default time-out. `worker.stream.transport.handshake` makes connections,
`worker.stream.transport.link` speaks on them, `worker.stream.transport.retry` waits and repeats.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from worker.settings import AddressError, RedisUrl, Settings, password_in

__all__ = ["Address", "AddressError", "addresses"]

CONNECT_TIMEOUT_S = 5.0


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
    _parsed: RedisUrl = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_parsed", RedisUrl.parse(self.url))  # as frozen dataclasses set a field

    @property
    def kind(self) -> str:
        """standalone, sentinel or cluster."""
        return self._parsed.kind

    @property
    def is_cluster(self) -> bool:
        return self.kind == "cluster"

    @property
    def hosts(self) -> list[tuple[str, int]]:
        """[(host, port)] of the URL; empty for a Unix socket."""
        return list(self._parsed.hosts)

    @property
    def service(self) -> str:
        """The service's name, as its Sentinels know it."""
        return self._parsed.service

    def node(self, host: str, port: int) -> Address:
        """The address of one server of a Cluster, with the same user, password and files."""
        return self._at(host, port)

    def master(self, host: str, port: int) -> Address:
        """The address of a Sentinel service's master, with the same user, password and files."""
        return replace(self._at(host, port, db=self._parsed.db), is_part=False)

    def sentinel(self, host: str, port: int) -> Address:
        """The address of one Sentinel, which may know neither the servers' user nor their password."""
        return replace(self._at(host, port), username=None, password=None, password_file=None)

    def connection(self, timeout_s: float) -> AbstractConnection:
        """What connects to this server (`node`, `master` and `sentinel` give those of a Cluster or service).

        It holds user, password and database, but `worker.stream.transport.handshake` logs in. TCP and TLS together may
        take twice the time-out. Raises SettingsError when the password's file cannot be read.
        """
        url = self._parsed
        make: type[AbstractConnection] = Connection
        options: dict[str, Any] = {
            "db": url.db,
            "protocol": 2,
            "redis_connect_func": _no_login,
            "socket_timeout": timeout_s,
            "socket_connect_timeout": min(2 * timeout_s, max(CONNECT_TIMEOUT_S, timeout_s)),
            "retry": Retry(NoBackoff(), 0),
        }
        if url.socket:
            make = UnixDomainSocketConnection
            options["path"] = url.socket
        else:
            options["host"], options["port"] = url.hosts[0]
            if url.is_tls:
                make = SSLConnection
                options |= self._tls_options()
        username, password = self._credentials()
        if self.password_file is not None:
            password = password_in(self.password_file)
        options |= {"username": username} if username is not None else {}
        options |= {"password": password} if password is not None else {}
        return make(**options)

    def _at(self, host: str, port: int, db: int = 0) -> Address:
        scheme = "rediss" if self._parsed.is_tls else "redis"
        username, password = self._credentials()
        netloc = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return replace(self, url=f"{scheme}://{netloc}/{db}", username=username, password=password, is_part=True)

    def _credentials(self) -> tuple[str | None, str | None]:
        return (
            self.username if self.username is not None else self._parsed.username,
            self.password if self.password is not None else self._parsed.password,
        )

    def _tls_options(self) -> dict[str, Any]:
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
