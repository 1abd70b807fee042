"""Tracing is off without an endpoint, refuses what cannot work, and never holds a worker up."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import redis
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.conftest import Process, Server
from tests.processes import until
from tests.shell import Run
from worker.commands.doctor.installed import check_tracing
from worker.observe.tracing import setup
from worker.observe.tracing.off import Tracing
from worker.observe.tracing.setup import TracingError, tracing_from
from worker.stream.keys import Keys
from worker.stream.lease import Lease

KEYS = Keys()
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
SOMEWHERE = {ENDPOINT: "http://127.0.0.1:4318"}


@pytest.fixture
def valkey_server(servers: dict[str, Server]) -> Server:
    return servers["valkey"]


class Collector(HTTPServer):
    """Receives spans by OTLP over HTTP."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Received)
        self.requests: list[ExportTraceServiceRequest] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Received(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert isinstance(self.server, Collector)
        assert self.path == "/v1/traces"
        self.server.requests.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def silent_collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of one that accepts connections and never answers. What still waits for it ends with the test."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.2")  # seconds, of each batch
    others = set(threading.enumerate())
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
    for thread in set(threading.enumerate()) - others:
        thread.join(20)
        assert not thread.is_alive(), "it would log its failure during another test"


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {ENDPOINT: " "},
        SOMEWHERE | {"OTEL_TRACES_EXPORTER": "none"},
        SOMEWHERE | {"OTEL_SDK_DISABLED": "TRUE"},
        {"OTEL_SERVICE_NAME": "anything"},
    ],
)
def test_tracing_is_off(environ: dict[str, str]) -> None:
    assert type(tracing_from(environ)) is Tracing


def test_a_worker_without_an_endpoint_imports_no_spans_and_no_exporter() -> None:
    """redis-py imports more of OpenTelemetry, wherever it is installed."""
    names = "worker.service, worker.commands.serve, worker.observe.tracing.setup as setup"
    check = "assert not {'worker.observe.tracing.spans', 'opentelemetry.exporter'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", f"import sys, {names}; setup.tracing_from({{}}); {check}"], check=True)


@pytest.mark.parametrize(
    ("environ", "problem", "remedy"),
    [
        ({ENDPOINT: "localhost:4318"}, ENDPOINT, "http://"),
        ({ENDPOINT: "127.0.0.1"}, ENDPOINT, "http://"),
        ({TRACES_ENDPOINT: "grpc://collector:4317"}, TRACES_ENDPOINT, "http://"),
        ({ENDPOINT: "http://collector:nonsense"}, ENDPOINT, "http://"),
        ({ENDPOINT: "http://"}, ENDPOINT, "http://"),
        (SOMEWHERE | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        (SOMEWHERE | {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"}, "TRACES_PROTOCOL", "http/protobuf"),
        (SOMEWHERE | {"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER", "otlp"),
    ],
)
def test_what_cannot_work_is_an_error_with_its_remedy(environ: dict[str, str], problem: str, remedy: str) -> None:
    with pytest.raises(TracingError) as error:
        tracing_from(environ)
    assert problem in error.value.problem
    assert remedy in error.value.remedy


def test_an_endpoint_without_the_extra_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(TracingError, match=r"makima-tts\[otel\]"):
        tracing_from(SOMEWHERE)


def test_a_worker_whose_tracing_cannot_work_does_not_start(run: Run) -> None:
    done = run("worker", "--engine", "preview", "--voice", "placeholder", env={ENDPOINT: "localhost:4318"})
    assert done.returncode == 1
    assert b"cannot start" in done.stderr
    assert ENDPOINT.encode() in done.stderr


@pytest.mark.parametrize(
    ("environ", "states"), [({}, []), (SOMEWHERE, ["ok"]), ({ENDPOINT: "localhost:4318"}, ["fail"])]
)
def test_doctor_has_a_row_for_tracing_where_it_is_on(
    environ: dict[str, str], states: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert [finding.state for finding in check_tracing()] == states


def test_a_worker_sends_its_spans_at_the_latest_when_it_ends(
    collector: Collector, valkey: redis.Redis, start_worker: Callable[..., Process]
) -> None:
    worker = start_worker(env={ENDPOINT: collector.url})
    job = {"session_id": "s1", "text": "Hello.", "traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}
    valkey.xadd(KEYS.jobs, job)  # type: ignore[arg-type]
    assert until(lambda: bool(valkey.xlen(KEYS.audio("s1"))) and valkey.xlen(KEYS.jobs) == 0, within_s=20)
    worker.send(signal.SIGTERM)
    assert worker.end() == 0
    (resource_spans,) = [found for request in collector.requests for found in request.resource_spans]
    resource = {pair.key: pair.value.string_value for pair in resource_spans.resource.attributes}
    assert resource["service.name"] == "makima-tts"
    spans = [span for scope in resource_spans.scope_spans for span in scope.spans]
    assert {span.name for span in spans} == {"queue", "speak"}
    assert {(span.trace_id.hex(), span.parent_span_id.hex()) for span in spans} == {("ab" * 16, "cd" * 8)}


def test_closing_does_not_wait_for_a_collector_that_never_answers(
    silent_collector: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENDPOINT, silent_collector)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "2")  # so long does the thread live
    monkeypatch.setattr("worker.observe.tracing.spans.CLOSE_WITHIN_S", 0.05)
    tracing = tracing_from()
    with tracing.attempt(_lease(), "u1") as trace:
        assert trace.traceparent is not None
    tracing.close()
    assert any(thread.name == "tracing" and thread.is_alive() for thread in threading.enumerate())


def test_more_spans_than_the_queue_holds_are_dropped(silent_collector: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINT, silent_collector)
    monkeypatch.setattr("worker.observe.tracing.spans.CLOSE_WITHIN_S", 0.05)
    tracing = tracing_from()
    for _ in range(5000):  # returns although nothing takes the spans
        with tracing.attempt(_lease(), "u1"):
            pass
    tracing.close()


@pytest.mark.parametrize("name", [None, "speech"])
def test_the_service_has_the_name_that_the_environment_gives_it(
    name: str | None, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENDPOINT, collector.url)
    if name is not None:
        monkeypatch.setenv("OTEL_SERVICE_NAME", name)
    tracing = setup.tracing_from()
    with tracing.attempt(_lease(), "u1"):
        pass
    tracing.close()
    (request,) = collector.requests
    attributes = {pair.key: pair.value.string_value for pair in request.resource_spans[0].resource.attributes}
    assert attributes["service.name"] == (name or "makima-tts")


def _lease() -> Lease:
    class NoRenewals:
        lease_s = 1.0
        retry = None

    return Lease("1-0", 1, 1, "s1", [], 0.0, NoRenewals())  # type: ignore[arg-type]
