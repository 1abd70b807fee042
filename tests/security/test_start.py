"""Logging in needs a user name and the password of its file."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.security.deployed import DEPLOY, USERS, Deployed, deployed, write_passwords
from tests.stream.servers import needs_redis


def test_a_client_without_a_name_may_do_nothing(server: Deployed) -> None:
    with redis.Redis(port=server.port, protocol=2, retry=Retry(NoBackoff(), 0)) as stranger:
        for command in ("PING", "XLEN makima:{speak}:jobs", "ACL WHOAMI", "COMMAND"):
            with pytest.raises(redis.AuthenticationError):
                stranger.execute_command(*command.split())


@pytest.mark.parametrize("user", USERS)
def test_only_the_password_of_the_file_opens(server: Deployed, user: str) -> None:
    with server.access.client(user) as client:
        assert client.ping()
    another = next(name for name in USERS if name != user)
    for wrong in (f"change-me-{user}", server.access.password(another), "", user):
        with server.access.client(user, password=wrong) as client, pytest.raises(redis.AuthenticationError):
            client.ping()


def test_health_needs_no_password_and_may_ping_alone(server: Deployed) -> None:
    with server.access.client("health") as health:
        assert health.ping()
        for command in ("TIME", "INFO", "XLEN makima:{speak}:jobs", "CLIENT ID"):
            with pytest.raises(redis.exceptions.NoPermissionError):
                health.execute_command(*command.split())


@needs_redis
def test_a_user_added_to_the_file_has_the_password_of_its_own_file(tmp_path: Path) -> None:
    more = "user relay-b on >change-me-relay-b resetkeys resetchannels -@all +ping\n"
    with deployed(tmp_path, more=more) as one:
        with one.access.client("relay-b") as client:
            assert client.ping()
        of_relay = one.access.password("relay")
        with one.access.client("relay-b", password=of_relay) as client, pytest.raises(redis.AuthenticationError):
            client.ping()
        loaded = (tmp_path / "loaded.acl").read_text()
        assert "change-me" not in loaded
        assert "pass word" not in loaded
        assert (tmp_path / "loaded.acl").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("missing", USERS)
def test_one_missing_or_empty_password_stops_the_start_naming_its_file(tmp_path: Path, missing: str) -> None:
    secrets = write_passwords(tmp_path / "secrets")
    for damage in (lambda file: file.write_text("\n"), Path.unlink):
        damage(secrets / missing)
        start = subprocess.run(
            ["sh", str(DEPLOY / "start.sh"), "--version"],
            env={"PATH": "/usr/bin:/bin:/usr/local/bin", "SECRETS": str(secrets), "ACL": str(tmp_path / "acl")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert start.returncode == 1
        (line,) = start.stderr.splitlines()
        assert str(secrets / missing) in line
        assert start.stdout == ""
