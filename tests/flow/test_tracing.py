"""The spans of a job: one trace from its publisher's span through the queue and every attempt to its end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest
import redis
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode, Tracer, format_span_id, format_trace_id

from schemas.jobs import job_fields
from tests.conftest import Server, eventually, running
from tests.flow.listening import KEYS, Heard, read_session, until_ended
from tests.tone import ToneEngine
from worker.observe.tracing.spans import SpanTracing
from worker.settings import Settings
from worker.stream.client import Client

SECRET = "Nobody may read this sentence in a trace, nor this one."


@pytest.fixture
def valkey_server(servers: dict[str, Server]) -> Server:
    return servers["valkey"]


class Spans:
    """Every span of the workers and of the publisher."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self._provider = TracerProvider(shutdown_on_exit=False)
        self._provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracing = SpanTracing(self._provider)

    @property
    def publisher(self) -> Tracer:
        return self._provider.get_tracer("publisher")

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self._exporter.get_finished_spans() if span.name == name]

    @property
    def speak(self) -> ReadableSpan:
        (span,) = self.named("speak")
        return span


@pytest.fixture
def spans() -> Iterator[Spans]:
    found = Spans()
    yield found
    told = " ".join(span.to_json() for name in ("speak", "queue") for span in found.named(name))
    assert SECRET[:12] not in told
    for name in ("speak", "queue"):
        for span in found.named(name):
            assert json.loads(span.to_json())["attributes"]["makima.session_id"] == "s1"


def parent_of(span: ReadableSpan) -> str:
    """traceparent of the parent of a span that was sampled."""
    assert span.parent is not None
    return f"00-{format_trace_id(span.parent.trace_id)}-{format_span_id(span.parent.span_id)}-01"


def traceparent_of(span: ReadableSpan) -> str:
    context = span.get_span_context()
    assert context is not None
    return f"00-{format_trace_id(context.trace_id)}-{format_span_id(context.span_id)}-01"


def told(span: ReadableSpan, name: str) -> object:
    assert span.attributes is not None
    return span.attributes.get(f"makima.{name}")


async def spoken(client: Client, valkey: redis.Redis, entry_id: str) -> Heard:
    await until_ended(client, "s1")
    return read_session(valkey, "s1")[entry_id]


async def test_one_trace_holds_the_publisher_the_queue_and_the_attempt(
    valkey: redis.Redis, settings: Settings, client: Client, spans: Spans
) -> None:
    with spans.publisher.start_as_current_span("answer") as answer:
        context = answer.get_span_context()
        traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-01"
        entry_id = await client.publish(job_fields("s1", SECRET, job_id="u1", traceparent=traceparent))
    await asyncio.sleep(0.05)
    async with running(settings, ToneEngine(), tracing=spans.tracing):
        complete = (await spoken(client, valkey, entry_id)).complete
        await eventually(lambda: bool(spans.named("speak")))
    (queue,), speak = spans.named("queue"), spans.speak
    assert parent_of(queue) == parent_of(speak) == traceparent
    assert queue.start_time is not None
    assert queue.end_time is not None
    assert speak.start_time is not None
    assert speak.end_time is not None
    assert queue.end_time - queue.start_time == complete.queue_ms * 1_000_000 >= 50 * 1_000_000
    (audible,) = speak.events
    assert speak.start_time <= queue.end_time <= audible.timestamp <= speak.end_time
    assert speak.status.status_code is not StatusCode.ERROR
    expected = {"end": "complete", "finish": "stop", "settled": "ok", "job_id": "u1", "entry": entry_id, "attempt": 1}
    assert {name: told(speak, name) for name in expected} == expected
    assert told(speak, "samples") == complete.samples
    begin = read_session(valkey, "s1")[entry_id].begins[0][1]
    assert begin.traceparent == traceparent_of(speak)


async def test_a_take_over_is_a_second_span_of_the_trace_linked_to_the_first(
    valkey: redis.Redis, settings: Settings, client: Client, spans: Spans
) -> None:
    traceparent = f"00-{'ab' * 16}-{'cd' * 8}-01"
    async with running(settings, ToneEngine(frame_s=0.2), tracing=spans.tracing) as first:  # much longer than a lease
        entry_id = await client.publish(job_fields("s1", SECRET, traceparent=traceparent))
        await eventually(lambda: valkey.xlen(KEYS.audio("s1")) > 3)
        async with running(settings, ToneEngine(frame_s=0.05), tracing=spans.tracing):
            first._intake.end()  # it would take its own job over
            first._heartbeat.stop()
            complete = (await spoken(client, valkey, entry_id)).complete
            await eventually(lambda: len(spans.named("speak")) == 2, within_s=10)
    lost, second = sorted(spans.named("speak"), key=lambda span: span.start_time or 0)
    assert parent_of(lost) == parent_of(second) == traceparent
    (link,) = second.links
    assert traceparent_of(lost).split("-")[2] == format_span_id(link.context.span_id)
    assert told(lost, "end") in ("taken_over", "ended_before")  # as its next write finds the job
    assert told(second, "end") == "complete"
    assert 0 < int(str(told(second, "resumed_at"))) < complete.samples
    assert len(spans.named("queue")) == 1


async def test_a_job_without_a_publishers_span_begins_a_trace(
    valkey: redis.Redis, settings: Settings, client: Client, spans: Spans
) -> None:
    async with running(settings, ToneEngine(), tracing=spans.tracing):
        entry_id = await client.publish(job_fields("s1", "Hello."))
        await spoken(client, valkey, entry_id)
        await eventually(lambda: bool(spans.named("speak")))
    assert spans.speak.parent is None
    (queue,) = spans.named("queue")
    assert parent_of(queue) == traceparent_of(spans.speak)


async def test_a_cancelled_job_is_no_error(
    valkey: redis.Redis, settings: Settings, client: Client, spans: Spans
) -> None:
    async with running(settings, ToneEngine(frame_s=0.05), tracing=spans.tracing):
        entry_id = await client.publish(job_fields("s1", SECRET * 4))
        await eventually(lambda: valkey.xlen(KEYS.audio("s1")) > 2)
        await client.cancel("s1", entry_id)
        cancelled = (await spoken(client, valkey, entry_id)).cancelled
        await eventually(lambda: bool(spans.named("speak")))
    assert told(spans.speak, "end") == "cancelled"
    assert told(spans.speak, "samples") == cancelled.samples
    assert spans.speak.status.status_code is not StatusCode.ERROR


@pytest.mark.parametrize(
    ("options", "code", "field", "has_begun"),
    [
        ({"voice": "nobody"}, "unknown_voice", "voice", False),
        ({"text": f"silent {SECRET}"}, "no_audio", "text", True),
        ({"traceparent": "00-nonsense"}, "invalid_field", "traceparent", False),
    ],
)
async def test_a_failed_job_is_an_error_with_its_code(
    options: dict[str, str], code: str, field: str, has_begun: bool, settings: Settings, client: Client, spans: Spans
) -> None:
    async with running(settings, ToneEngine(), tracing=spans.tracing):
        await client.publish({"session_id": "s1", "text": SECRET} | options)
        await until_ended(client, "s1")
        await eventually(lambda: bool(spans.named("speak")))
    assert spans.speak.status.status_code is StatusCode.ERROR
    assert (told(spans.speak, "code"), told(spans.speak, "field")) == (code, field)
    assert told(spans.speak, "settled") == "dead"
    assert len(spans.named("queue")) == has_begun


async def test_each_attempt_of_a_failing_engine_has_its_span(
    valkey: redis.Redis, settings: Settings, client: Client, spans: Spans
) -> None:
    engine = ToneEngine()
    engine.fail = 1
    async with running(settings, engine, tracing=spans.tracing):
        entry_id = await client.publish(job_fields("s1", "Hello."))
        await spoken(client, valkey, entry_id)
        await eventually(lambda: len(spans.named("speak")) == 2)
    failed, repeated = spans.named("speak")
    assert (told(failed, "code"), told(failed, "settled"), told(repeated, "end")) == (
        "engine_failed",
        "retry",
        "complete",
    )
    assert [link.context.span_id for link in repeated.links] == [int(traceparent_of(failed).split("-")[2], 16)]


async def test_a_span_that_the_publisher_does_not_sample_is_not_recorded(
    valkey: redis.Redis, settings: Settings, client: Client, spans: Spans
) -> None:
    async with running(settings, ToneEngine(), tracing=spans.tracing):
        entry_id = await client.publish(job_fields("s1", "Hello.", traceparent=f"00-{'ab' * 16}-{'cd' * 8}-00"))
        await spoken(client, valkey, entry_id)
    begin = read_session(valkey, "s1")[entry_id].begins[0][1]
    assert begin.traceparent is not None
    assert begin.traceparent.endswith("-00")
    assert spans.named("speak") == spans.named("queue") == []


async def test_without_tracing_begin_names_no_span(valkey: redis.Redis, settings: Settings, client: Client) -> None:
    async with running(settings, ToneEngine()):
        entry_id = await client.publish(job_fields("s1", "Hello.", traceparent=f"00-{'ab' * 16}-{'cd' * 8}-01"))
        await spoken(client, valkey, entry_id)
    assert read_session(valkey, "s1")[entry_id].begins[0][1].traceparent is None
