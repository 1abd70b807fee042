"""The health server on a real socket, as a probe and a scraper use it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.client import HTTPConnection

import pytest

from worker.observe.health import HealthError, HealthServer
from worker.observe.metrics import Metrics


@dataclass
class Worker:
    wrong: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)
    ready: bool = False
    fails: bool = False

    def problems(self) -> list[str]:
        if self.fails:
            raise RuntimeError("the check is broken")
        return self.wrong

    def warnings(self) -> list[str]:
        return self.warned

    def is_ready(self) -> bool:
        if self.fails:
            raise RuntimeError("the check is broken")
        return self.ready


@pytest.fixture
def worker() -> Worker:
    return Worker()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def port(worker: Worker, metrics: Metrics) -> Iterator[int]:
    with HealthServer(worker, metrics, port=0) as health:
        yield health.port


def ask(port: int, path: str, method: str = "GET") -> tuple[int, str, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.headers["Content-Type"] or "", answer.read()
    finally:
        connection.close()


def test_a_healthy_worker_answers_200(port: int) -> None:
    status, content_type, body = ask(port, "/healthz")
    assert (status, content_type) == (200, "application/json")
    assert json.loads(body) == {"healthy": True, "problems": []}


def test_health_is_queried_at_every_request(port: int, worker: Worker) -> None:
    worker.wrong = ["the engine has made no step for 4.2 s"]
    status, _, body = ask(port, "/healthz")
    assert status == 503
    assert json.loads(body)["problems"] == worker.wrong
    worker.wrong = []
    assert ask(port, "/healthz")[0] == 200


def test_a_worker_is_ready_once_warmed_up_and_only_while_healthy(port: int, worker: Worker) -> None:
    assert ask(port, "/readyz")[0] == 503
    worker.ready = True
    assert ask(port, "/readyz")[0] == 200
    worker.wrong = ["Redis is out of reach"]
    status, _, body = ask(port, "/readyz")
    assert status == 503
    assert json.loads(body) == {"ready": False, "problems": ["Redis is out of reach"]}


def test_what_no_restart_would_mend_takes_the_readiness_alone(port: int, worker: Worker) -> None:
    worker.ready, worker.warned = True, ["Redis is far away"]
    assert ask(port, "/healthz")[0] == 200
    status, _, body = ask(port, "/readyz")
    assert (status, json.loads(body)["problems"]) == (503, ["Redis is far away"])


def test_a_check_that_fails_is_no_health(port: int, worker: Worker) -> None:
    worker.fails = True
    assert ask(port, "/healthz")[0] == 503
    assert ask(port, "/readyz")[0] == 503


def test_metrics_are_served_as_prometheus_reads_them(port: int, metrics: Metrics) -> None:
    metrics.lost_leases.inc(3)
    status, content_type, body = ask(port, "/metrics?name=x")
    assert status == 200
    assert content_type.startswith("text/plain; version=0.0.4")
    assert ask(port, "/metrics", "HEAD")[::2] == (200, b"")
    assert b"makima_tts_lost_leases_total 3.0" in body


def test_head_has_the_status_and_no_body(port: int) -> None:
    assert ask(port, "/healthz", "HEAD") == (200, "application/json", b"")
    assert ask(port, "/readyz", "HEAD")[0] == 503


@pytest.mark.parametrize("path", ["/", "/nothing", "/healthz/", "/%00"])
def test_other_pages_do_not_exist(port: int, path: str) -> None:
    status, _, body = ask(port, path)
    assert status == 404
    assert json.loads(body) == {"pages": ["/healthz", "/metrics", "/readyz"]}


def test_nothing_can_be_written(port: int) -> None:
    assert ask(port, "/healthz", "POST")[0] == 501


def test_a_silent_or_senseless_client_does_not_keep_others_waiting(port: int) -> None:
    with (
        socket.create_connection(("127.0.0.1", port)),
        socket.create_connection(("127.0.0.1", port)) as other,
    ):
        other.sendall(b"\xff\xfe\x00 nonsense\r\n\r\n")
        assert ask(port, "/healthz")[0] == 200


def test_a_taken_port_is_refused_with_advice(port: int, worker: Worker, metrics: Metrics) -> None:
    with pytest.raises(HealthError, match="--health-port"):
        HealthServer(worker, metrics, port=port)


def test_closing_twice_and_without_a_start_is_harmless(worker: Worker, metrics: Metrics) -> None:
    health = HealthServer(worker, metrics, port=0)
    health.close()
    health.close()


def test_it_listens_on_ipv6_too(worker: Worker, metrics: Metrics) -> None:
    try:
        server = HealthServer(worker, metrics, port=0, host="::1")
    except HealthError:
        pytest.skip("no IPv6 on this machine")
    with server as health, socket.create_connection(("::1", health.port), timeout=5) as connection:
        connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.0 200")


def test_a_server_answers_beside_many_readers_that_do_not_read(port: int, worker: Worker) -> None:
    worker.wrong = ["x" * 10_000_000]
    with ExitStack() as stack:
        for _ in range(20):
            slow = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            slow.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert ask(port, "/metrics")[0] == 200
