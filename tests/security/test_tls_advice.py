"""Every TLS mistake is reported in one line with the setting that mends it, by doctor and other commands."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.conftest import make_settings
from tests.security.deployed import Access, Deployed, deployed, tls_options
from tests.security.test_tls_setups import tls_sentinel
from tests.shell import Run, complaint
from tests.stream.servers import Certificates, needs_tls
from worker.commands.doctor.redis import check_redis
from worker.stream.transport import handshake

pytestmark = needs_tls


@dataclass(frozen=True, slots=True)
class Mistake:
    """server: whose certificate it shows. The others: what its clients are told. mends: a word of the advice."""

    mends: str
    server: str = "server"
    trusted: str | None = "ca.pem"
    own: tuple[str, str] | None = None  # certificate and key
    is_asked: bool = False


CERTIFICATE = "MAKIMA_TTS_REDIS_CERT_FILE"
MISTAKES = {
    "another authority": Mistake("MAKIMA_TTS_REDIS_CA_FILE", trusted="other-ca.pem"),
    "no authority": Mistake("MAKIMA_TTS_REDIS_CA_FILE", trusted=None),
    "a file without certificates": Mistake("MAKIMA_TTS_REDIS_CA_FILE", trusted="server.key"),
    "another host": Mistake("MAKIMA_TTS_REDIS_URL", server="elsewhere"),
    "an expired certificate": Mistake("renew the server's certificate", server="expired"),
    "no certificate of our own": Mistake(CERTIFICATE, is_asked=True),
    "one of our own by nobody": Mistake(CERTIFICATE, own=("other-ca.pem", "other-ca.key"), is_asked=True),
    "another certificate's key": Mistake(CERTIFICATE, own=("server.pem", "ca.key")),
    "a key for a certificate": Mistake(CERTIFICATE, own=("server.key", "server.key")),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_certificate_that_is_not_believed_is_told_with_its_setting(
    mistake: Mistake, papers: Certificates, tmp_path: Path, run: Run
) -> None:
    ca_file = papers[mistake.trusted] if mistake.trusted else None
    own = {}
    if mistake.own:
        own = {f"redis_{name}_file": papers[file] for name, file in zip(("cert", "key"), mistake.own, strict=True)}
    with deployed(tmp_path / "r", tls_options(papers, mistake.server, mistake.is_asked), ca_file) as one:
        advised(one.access, mistake.mends, run, **own)


def advised(access: Access, mends: str, run: Run, **files: Path) -> None:
    (found,) = check_redis(access.settings("operator", **files))
    variables = {f"MAKIMA_TTS_{name.upper()}": str(path) for name, path in files.items()}
    line = complaint(run("queue", "status", env=access.environment("operator") | variables))
    assert mends in found.remedy
    assert mends in line
    assert access.password("operator") not in found.detail + found.remedy + line


def test_plain_on_a_tls_port_is_told_with_rediss(tls_only_server: Deployed, run: Run) -> None:
    access = tls_only_server.access
    advised(Access(access.url.replace("rediss", "redis"), access.secrets), "rediss://", run)


def test_tls_on_a_plain_port_is_told_with_redis(
    plain_server: Deployed, papers: Certificates, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handshake, "CONNECT_TIMEOUT_S", 0.5)  # Redis waits for the rest of a line
    access = plain_server.access
    url = access.url.replace("redis", "rediss")
    advised(replace(access, url=url, ca_file=papers["ca.pem"]), "write redis://", run)


@pytest.mark.parametrize("words", [("worker",), ("doctor",), ("queue", "status")])
def test_without_its_authority_file_nothing_starts(words: tuple[str, ...], run: Run) -> None:
    env = {"MAKIMA_TTS_REDIS_URL": "rediss://user:pa55word@h", "MAKIMA_TTS_REDIS_CA_FILE": "/nowhere/ca.pem"}
    done = run(*words, env=env)
    assert done.returncode == 1
    line = complaint(done)
    assert "MAKIMA_TTS_REDIS_CA_FILE: /nowhere/ca.pem cannot be read (No such file or directory)" in line
    assert "pa55word" not in line


def test_sentinels_that_are_not_believed_say_why(papers: Certificates, tmp_path: Path) -> None:
    with tls_sentinel(tmp_path, papers, "server") as url:
        (wrong,) = check_redis(make_settings(url, redis_ca_file=papers["other-ca.pem"]))
        (plain,) = check_redis(make_settings(url.replace("rediss", "redis")))
    assert "certificate verify failed" in wrong.detail
    assert "MAKIMA_TTS_REDIS_CA_FILE" in wrong.remedy
    assert "rediss://" in plain.remedy
