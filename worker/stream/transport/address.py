"""How Redis is reached: standalone, Unix socket, Sentinel and Cluster URLs, TLS, user and password.

`worker.settings.redis_url` has the rules of the URLs. A user and password given apart from the URL (from a setting or a
file) win over those inside it.

Files (password, certificates) are read for each connection, so a changed file counts from the next connection on.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field, replace
from pathlib import Path

from worker.settings import AddressError, RedisUrl, Settings, password_in

__all__ = ["Address", "AddressError", "addresses"]


@dataclass(frozen=True, slots=True)
class Address:
    """The address of one plane's Redis, with user and files. Neither URL nor password appears in `repr`.

    password_file: read for each connection, and wins over a password. is_part: one server of a Cluster or one Sentinel,
    which the handshake does not check for its kind. Raises AddressError when the URL cannot be used.
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
        """The address of one Sentinel, without the servers' user and password, which it may not know."""
        return replace(self._at(host, port), username=None, password=None, password_file=None)

    @property
    def target(self) -> tuple[str, int] | str:
        """(host, port) of the server, or the path of its Unix socket."""
        return self._parsed.socket or self._parsed.hosts[0]

    def login(self) -> list[tuple[str, ...]]:
        """The commands that a connection begins with: AUTH and SELECT, where they are needed.

        Raises SettingsError when the password file cannot be read.
        """
        username, password = self._credentials()
        if self.password_file is not None:
            password = password_in(self.password_file)
        commands: list[tuple[str, ...]] = []
        if username:
            commands.append(("AUTH", username, password or ""))
        elif password:
            commands.append(("AUTH", password))
        if self._parsed.db:
            commands.append(("SELECT", str(self._parsed.db)))
        return commands

    def tls(self) -> ssl.SSLContext | None:
        """What checks the server's certificate and its host name; None without TLS.

        The authority of `ca_file` counts beside those of the system. Raises OSError for a file that cannot be used.
        """
        if not self._parsed.is_tls:
            return None
        context = ssl.create_default_context()
        if self.cert_file is not None or self.key_file is not None:
            context.load_cert_chain(self.cert_file or "", self.key_file)
        if self.ca_file is not None:
            context.load_verify_locations(self.ca_file)
        return context

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


def addresses(settings: Settings) -> tuple[Address, Address]:
    """The addresses of the job plane and of the session plane. Raises SettingsError for an unreadable password file."""
    username, password = settings.redis_credentials()
    file = settings.redis_password_file  # read again for each connection
    who = (username, None if file else password)
    files = (settings.redis_ca_file, settings.redis_cert_file, settings.redis_key_file, file)
    return Address(settings.redis_url, *who, *files), Address(settings.session_url, *who, *files)
