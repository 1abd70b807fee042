"""The spans. Attributes hold names, numbers and codes, never a job's text or an error's message.

speak   an attempt: from BEGIN, or from its claim where it does not come to BEGIN, to its end. Child of the
        publisher's span. A take-over's span is linked to that of the attempt before it.
queue   from the job's XADD to its first BEGIN. Child of the publisher's span, or of `speak` without one.
"""

from __future__ import annotations

import re
import threading
from time import time_ns
from types import TracebackType

from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    Tracer,
    set_span_in_context,
)

from schemas.job_values import TRACEPARENT_PATTERN
from schemas.jobs import field_of
from schemas.messages import Complete
from worker.observe.tracing.off import AttemptTrace, Tracing
from worker.stream.begin_request import BeginRequest
from worker.stream.lease import Lease
from worker.stream.session_writer import SessionWriter

CLOSE_WITHIN_S = 1.0
NO_CONTEXT = Context()  # spans never have the caller's current span as their parent
TAKEN_OVER, INTERRUPTED, ENDED_BEFORE = "taken_over", "interrupted", "ended_before"
_END_OF = {"ok": ENDED_BEFORE, "dead": ENDED_BEFORE, "fenced": TAKEN_OVER}  # of verdicts without an entry before them

_is_traceparent = re.compile(TRACEPARENT_PATTERN).fullmatch
_Value = str | int | float | bool


class AttemptSpan(AttemptTrace):
    """The span of one attempt. It starts when `traceparent` is read, for BEGIN, or when it ends without that."""

    def __init__(self, tracer: Tracer, lease: Lease, job_id: str) -> None:
        self._tracer = tracer
        self._lease = lease
        self._claimed_ns = time_ns()
        self._begun_ns: int | None = None
        self._parent = _span_context(_traceparent_of(lease))
        self._span: Span | None = None
        self._end = ""
        self._attributes: dict[str, _Value] = {
            "makima.job_id": job_id,
            "makima.session_id": lease.session_id,
            "makima.entry": lease.entry_id,
            "makima.attempt": lease.attempt,
        }

    @property
    def traceparent(self) -> str | None:
        context = self._started(time_ns()).get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    def begun(self, request: BeginRequest, writer: SessionWriter, queue_ms: int) -> None:
        self._begun_ns = time_ns()
        span = self._started(self._begun_ns)
        earlier = _span_context(writer.progress.traceparent)
        if earlier is not None:
            span.add_link(earlier)
        if writer.progress.began_ms is None:
            self._add_queue_span(span, self._begun_ns, max(0, queue_ms))
        self._set("attempt", writer.attempt)
        self._set("resumed_at", writer.resumed_at or 0)
        for name in ("voice", "model", "language", "sample_rate", "encoding"):
            self._set(name, getattr(request, name))

    def audible(self, after_s: float | None) -> None:
        if after_s is not None and self._span is not None and self._begun_ns is not None:
            self._span.add_event("first audible audio", timestamp=self._begun_ns + round(after_s * 1e9))

    def completed(self, message: Complete) -> None:
        self._end = message.type
        for name in ("finish", "samples", "chunks", "audio_ms", "queue_ms", "first_audio_ms", "rtf"):
            self._set(name, getattr(message, name))

    def cancelled(self, n_samples: int) -> None:
        self._end = "cancelled"
        self._set("samples", n_samples)

    def failed(self, code: str, field: str | None = None) -> None:
        self._end = "error"
        self._set("code", code)
        self._set("field", field)

    def settled(self, verdict: str) -> None:
        self._end = self._end or _END_OF.get(verdict, verdict)
        self._set("settled", verdict)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        span = self._started(self._claimed_ns)
        self._set("end", self._end or (TAKEN_OVER if kind is None else INTERRUPTED))
        span.set_attributes(self._attributes)
        if self._end == "error":
            span.set_status(StatusCode.ERROR, str(self._attributes["makima.code"]))
        span.end()

    def _started(self, at_ns: int) -> Span:
        if self._span is None:
            context = NO_CONTEXT if self._parent is None else _as_parent(NonRecordingSpan(self._parent))
            self._span = self._tracer.start_span(
                "speak", context, SpanKind.CONSUMER, attributes=self._attributes, start_time=at_ns
            )
        return self._span

    def _add_queue_span(self, span: Span, end_ns: int, queue_ms: int) -> None:
        """The job's wait, measured by Redis' clocks and drawn up to `end_ns` by this machine's."""
        context = _as_parent(span if self._parent is None else NonRecordingSpan(self._parent))
        start_ns = end_ns - queue_ms * 1_000_000
        queue = self._tracer.start_span("queue", context, attributes=self._attributes, start_time=start_ns)
        queue.set_attribute("makima.queue_ms", queue_ms)
        queue.end(end_ns)

    def _set(self, name: str, value: _Value | None) -> None:
        if value is not None:
            self._attributes[f"makima.{name}"] = value


class SpanTracing(Tracing):
    """Makes spans with this provider."""

    is_on = True

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("makima-tts")

    def attempt(self, lease: Lease, job_id: str) -> AttemptTrace:
        return AttemptSpan(self._tracer, lease, job_id)

    def close(self) -> None:
        """Export what has ended. The thread that waits for the collector ends with the process."""
        closing = threading.Thread(target=self._provider.shutdown, name="tracing", daemon=True)
        closing.start()
        closing.join(CLOSE_WITHIN_S)


def _as_parent(span: Span) -> Context:
    return set_span_in_context(span, NO_CONTEXT)


def _traceparent_of(lease: Lease) -> str | None:
    value = field_of(lease.fields, "traceparent")
    return None if value is None else value.decode("utf-8", "replace")


def _span_context(traceparent: str | None) -> SpanContext | None:
    """The span that a W3C traceparent names; None for another text, which the job's parser reports."""
    if traceparent is None or not _is_traceparent(traceparent):
        return None
    _, trace_id, span_id, flags = traceparent.split("-")
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
