"""TLS checks the server before anything is sent; an error is one line without a password."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import eventually, running
from tests.security.deployed import Deployed, deployed, tls_options
from tests.shell import Run, complaint
from tests.stream.servers import HOST, Certificates, needs_tls
from tests.tone import ToneEngine
from worker.commands.doctor.redis import check_redis
from worker.service import Worker

pytestmark = needs_tls


@dataclass(frozen=True, slots=True)
class Case:
    """server: whose certificate it shows. trusted: what its clients trust. says: the reason they give."""

    server: str
    trusted: str | None
    says: str


CASES = {
    "another authority": Case("server", "other-ca.pem", "certificate verify failed"),
    "no authority": Case("server", None, "certificate verify failed"),
    "another host's certificate": Case("elsewhere", "ca.pem", f"certificate is not valid for '{HOST}'"),
    "an expired certificate": Case("expired", "ca.pem", "certificate has expired"),
}


@pytest.fixture(params=list(CASES.values()), ids=list(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    one: Case = request.param
    return one


@pytest.fixture
def impostor(case: Case, papers: Certificates, tmp_path: Path) -> Iterator[Deployed]:
    ca_file = papers[case.trusted] if case.trusted else None
    with deployed(tmp_path / "redis", tls_options(papers, case.server), ca_file) as one:
        yield one


def n_logins(server: Deployed) -> int:
    """How often anybody tried to log in, this look included."""
    with server.access.client("test", ssl_cert_reqs="none", ssl_check_hostname=False) as anybody:
        calls: int = anybody.info("commandstats")["cmdstat_auth"]["calls"]
        return calls


def test_a_command_says_why_in_one_line_and_sends_no_password(impostor: Deployed, case: Case, run: Run) -> None:
    for words in (["queue", "status"], ["cancel", "s1"], ["speak", "Hello."]):
        done = run(*words, env=impostor.access.environment("operator"))
        assert done.returncode == 1
        line = complaint(done)
        assert case.says in line
        assert impostor.access.password("operator") not in line
    assert n_logins(impostor) == 1


async def test_a_worker_says_why_and_goes_on_trying_without_sending_its_password(
    impostor: Deployed, case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(impostor.access.settings("worker", lease_ms=300), ToneEngine(1)) as worker:
        await eventually(lambda: bool(of_redis(worker)))
        (problem,) = of_redis(worker)
    assert case.says in problem
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert said
    for line in [problem, *said]:
        assert "\n" not in line
        assert impostor.access.password("worker") not in line
    assert n_logins(impostor) == 1


def of_redis(worker: Worker) -> list[str]:
    return [problem for problem in worker.problems() if "Redis" in problem]


def test_doctor_names_the_reason(impostor: Deployed, case: Case) -> None:
    (found,) = check_redis(impostor.access.settings("operator"))
    assert found.state == "fail"
    assert case.says in found.detail
    assert n_logins(impostor) == 1
