"""How Redis is reached: standalone, Unix socket, Sentinel and Cluster URLs, TLS, user and password.

`redis://` `rediss://` `unix://` as redis-py reads them; `redis+sentinel://host:26379,host:26379/service/db` and
`redis+cluster://host:6379,host:6379`, both also with `rediss+`. A user and password given apart from the URL (from a
setting or a file) win over those inside it.

Every client speaks RESP2 and retries nothing by itself: redis-py's own retries hide failures and, for blocking reads,
its default time-out cuts them short. Waiting and repeating is done in one place, `worker.stream.patience`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import redis
import redis.asyncio
import redis.asyncio.cluster
import redis.cluster
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

CONNECT_TIMEOUT_S = 5.0


class AddressError(ValueError):
    """The Redis URL cannot be used; the message says why and how one looks."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where one plane's Redis is and who we are there. The password never appears in `repr`."""

    url: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    @property
    def kind(self) -> str:
        scheme = urlsplit(self.url).scheme
        return scheme.partition("+")[2] or "standalone"

    @property
    def is_cluster(self) -> bool:
        return self.kind == "cluster"

    @property
    def hosts(self) -> list[tuple[str, int]]:
        """[(host, port)] of a Sentinel or Cluster URL."""
        default_port = 26379 if self.kind == "sentinel" else 6379
        hosts = []
        for part in urlsplit(self.url).netloc.rpartition("@")[2].split(","):
            host, _, port = part.rpartition(":") if ":" in part else (part, "", "")
            if not host or (port and not port.isdigit()):
                raise AddressError(f"{part!r} in the Redis URL is no host:port; write host:6379,host:6379")
            hosts.append((host.strip("[]"), int(port) if port else default_port))
        return hosts

    def open_async(self, socket_timeout_s: float | None) -> redis.asyncio.Redis:
        """A client for asyncio; for a Cluster see `open_async_cluster`."""
        options = self._options(socket_timeout_s) | {"retry": AsyncRetry(NoBackoff(), 0)}
        if self.kind != "sentinel":
            return redis.asyncio.Redis.from_url(self.url, **options)
        service, db = self._service
        sentinel = redis.asyncio.Sentinel(self.hosts, sentinel_kwargs=self._sentinel_options(), **options)
        client: redis.asyncio.Redis = sentinel.master_for(service, db=db)
        return client

    def open_async_cluster(self, socket_timeout_s: float | None) -> redis.asyncio.cluster.RedisCluster:
        nodes = [redis.asyncio.cluster.ClusterNode(host, port) for host, port in self.hosts]
        return redis.asyncio.cluster.RedisCluster(startup_nodes=nodes, **self._options(socket_timeout_s))

    def open_sync(self, socket_timeout_s: float) -> redis.Redis | redis.cluster.RedisCluster:
        """A client for a thread: the heartbeat's."""
        options = self._options(socket_timeout_s)
        if self.kind == "cluster":
            nodes = [redis.cluster.ClusterNode(host, port) for host, port in self.hosts]
            return redis.cluster.RedisCluster(startup_nodes=nodes, **options)
        options["retry"] = Retry(NoBackoff(), 0)
        if self.kind != "sentinel":
            return redis.Redis.from_url(self.url, **options)
        service, db = self._service
        sentinel = redis.Sentinel(self.hosts, sentinel_kwargs=self._sentinel_options(), **options)
        client: redis.Redis = sentinel.master_for(service, db=db)
        return client

    @property
    def _service(self) -> tuple[str, int]:
        service, _, db = urlsplit(self.url).path.strip("/").partition("/")
        if not service or (db and not db.isdigit()):
            raise AddressError("a Sentinel URL looks like redis+sentinel://host:26379,host:26379/service/0")
        return service, int(db or 0)

    def _options(self, socket_timeout_s: float | None) -> dict[str, Any]:
        options: dict[str, Any] = {
            "protocol": 2,
            "socket_timeout": socket_timeout_s,
            "socket_connect_timeout": CONNECT_TIMEOUT_S,
            "health_check_interval": 0,
        }
        parts = urlsplit(self.url)
        scheme, _, kind = parts.scheme.partition("+")
        username, password = self.username, self.password
        if kind:  # redis-py does not parse these URLs
            user_info, _, _ = parts.netloc.rpartition("@")
            in_url = user_info.partition(":")
            username = username or unquote(in_url[0]) or None
            password = password or unquote(in_url[2]) or None
        if password is not None:
            options["password"] = password
            if username is not None:
                options["username"] = username
        return options | self._tls_options(scheme, kind)

    def _tls_options(self, scheme: str, kind: str) -> dict[str, Any]:
        if scheme != "rediss":
            return {}
        files = {
            "ssl_ca_certs": self.ca_file,
            "ssl_certfile": self.cert_file,
            "ssl_keyfile": self.key_file,
        }
        options: dict[str, Any] = {name: str(path) for name, path in files.items() if path is not None}
        return options | ({"ssl": True} if kind else {})

    def _sentinel_options(self) -> dict[str, Any]:
        """Sentinels may have neither the servers' user nor their password: they get TLS and time-outs only."""
        scheme = urlsplit(self.url).scheme.partition("+")[0]
        return {
            "protocol": 2,
            "socket_timeout": CONNECT_TIMEOUT_S,
            "socket_connect_timeout": CONNECT_TIMEOUT_S,
        } | self._tls_options(scheme, "sentinel")
