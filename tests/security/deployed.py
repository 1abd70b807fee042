"""A Redis started as it is deployed: start.sh, users.acl, options of compose, one password file for each user."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import redis
import yaml
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.conftest import REPOSITORY, make_settings
from tests.stream.servers import HOST, Certificates, Server, free_port, running, until
from worker.settings import Settings
from worker.stream.transport.address import Address

DEPLOY = REPOSITORY / "deploy" / "redis"
USERS = ("producer", "relay", "worker", "operator")
OURS = "user test on nopass resetkeys ~* &* +@all"  # what a test looks with


@dataclass(frozen=True, slots=True)
class Access:
    """How each user gets in. secrets: a folder with a password file for each."""

    url: str
    secrets: Path
    ca_file: Path | None = None

    def password(self, user: str) -> str:
        file = self.secrets / user
        return file.read_text().strip() if file.exists() else "none is needed"

    def settings(self, user: str = "worker", **changes: object) -> Settings:
        """What a worker or a command of this user is told."""
        given: dict[str, object] = {"redis_username": user, "redis_password_file": self.secrets / user}
        if self.ca_file is not None:
            given["redis_ca_file"] = self.ca_file
        return make_settings(self.url, **(given | changes))

    def environment(self, user: str) -> dict[str, str]:
        """The same as variables, for the command line."""
        names = ("redis_url", "redis_username", "redis_password_file", "redis_ca_file", "voices_dir", "default_voice")
        settings = self.settings(user)
        given = {name: getattr(settings, name) for name in names}
        return {f"MAKIMA_TTS_{name.upper()}": str(value) for name, value in given.items() if value is not None}

    def address(self, user: str) -> Address:
        return Address(self.url, user, self.password(user), self.ca_file)

    def client(self, user: str, **options: Any) -> redis.Redis:
        """redis-py as this user, answers as text; `test` may do everything."""
        given: dict[str, Any] = {"username": user, "password": self.password(user)}
        given |= {"protocol": 2, "decode_responses": True, "retry": Retry(NoBackoff(), 0)}
        if self.ca_file is not None:
            given["ssl_ca_certs"] = str(self.ca_file)
        return redis.Redis.from_url(self.url, **(given | options))


def write_passwords(folder: Path, users: Iterable[str] = USERS) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for user in users:
        (folder / user).write_text(f"pass word of {user}\n")
    return folder


class Deployed(Server):
    """redis-server behind deploy/redis/start.sh. more: further lines for users.acl. binary: another redis-server."""

    def __init__(self, folder: Path, tls: list[str], more: str = "", binary: str | None = None) -> None:
        port = free_port()
        listen = ["--port", "0", "--tls-port", str(port), *tls] if tls else ["--port", str(port)]
        super().__init__(folder, [*listen, *of_compose()], port, "rediss" if tls else "redis")
        shutil.copytree(DEPLOY, folder / "deploy")
        with (folder / "deploy" / "users.acl").open("a") as acl:
            acl.write(f"{OURS}\n{more}")
        named = [word.removeprefix(">change-me-") for word in more.split() if word.startswith(">change-me-")]
        self.access = Access(self.url, write_passwords(folder / "secrets", [*USERS, *named]))
        self._path = os.environ["PATH"]
        if binary is not None:
            (folder / "bin").mkdir()
            (folder / "bin" / "redis-server").symlink_to(binary)
            self._path = f"{folder / 'bin'}:{self._path}"

    def start(self, *more: str) -> None:
        acl = self.folder / "loaded.acl"
        command = ["sh", str(self.folder / "deploy" / "start.sh"), *self._arguments]
        command += ["--bind", HOST, "--dir", str(self.folder), "--aclfile", str(acl), *more]
        environment = {"PATH": self._path, "SECRETS": str(self.access.secrets), "ACL": str(acl)}
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until(self._answers)


def of_compose() -> list[str]:
    """The options that compose gives to redis-server, but for where its ACL file lies."""
    compose = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text("utf-8"))
    words: list[str] = compose["services"]["redis"]["command"]
    at = words.index("--aclfile")
    return words[:at] + words[at + 2 :]


def acl_of_operations(*beginnings: str) -> str:
    """Rules out of docs/operations.md, a line each."""
    lines = (REPOSITORY / "docs" / "operations.md").read_text("utf-8").splitlines()
    found = [line for line in lines if line.startswith(beginnings)]
    assert len(found) == len(beginnings)
    return "".join(f"{line}\n" for line in found)


def tls_options(certificates: Certificates, name: str = "server", asks_clients: bool = False) -> list[str]:
    """TLS with the certificate of this name; clients need one too where they are asked."""
    files = {"ca-cert-file": "ca.pem", "cert-file": f"{name}.pem", "key-file": f"{name}.key"}
    words = [word for option, file in files.items() for word in (f"--tls-{option}", str(certificates[file]))]
    return [*words, "--tls-auth-clients", "yes" if asks_clients else "no"]


@contextmanager
def deployed(
    folder: Path, tls: Sequence[str] = (), ca_file: Path | None = None, more: str = "", binary: str | None = None
) -> Iterator[Deployed]:
    """A server that speaks plain Redis, or TLS alone. ca_file: what its users are told to trust."""
    folder.mkdir(exist_ok=True)
    one = Deployed(folder, list(tls), more, binary)
    one.access = replace(one.access, ca_file=ca_file)
    with running(one):
        yield one
