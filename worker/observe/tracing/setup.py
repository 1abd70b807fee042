"""Tracing as OpenTelemetry's own environment variables configure it: off without an endpoint."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from urllib.parse import urlsplit

from schemas.errors import MakimaError
from worker.host import host_name
from worker.observe.tracing.off import Tracing

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
EXPORTER = "OTEL_TRACES_EXPORTER"
HTTP = "http/protobuf"
INSTALL = "pip install --constraint constraints.txt 'makima-tts[otel]'"


class TracingError(MakimaError):
    """Tracing is configured and cannot work."""


def tracing_from(environ: Mapping[str, str] = os.environ) -> Tracing:
    """The tracing that these variables configure. OpenTelemetry reads the other OTEL_* itself. Raises TracingError."""
    given = {name: value.strip() for name, value in environ.items() if name.startswith("OTEL_") and value.strip()}
    endpoint = next((name for name in ENDPOINTS if name in given), None)
    exporter = given.get(EXPORTER, "otlp").lower()
    if endpoint is None or exporter == "none" or given.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return Tracing()
    if exporter != "otlp":
        raise TracingError(f"{EXPORTER} is {exporter!r}", "use otlp, or none to switch tracing off")
    protocol = next((name for name in PROTOCOLS if name in given), None)
    if protocol is not None and given[protocol].lower() != HTTP:
        raise TracingError(
            f"{protocol} is {given[protocol]!r}", f"use {HTTP}, and the collector's port for it (4318 by default)"
        )
    _check_url(endpoint, given[endpoint])
    try:
        return _exporting()
    except ImportError as error:
        raise TracingError(f"{endpoint} is set and a package is missing ({error})", INSTALL) from None
    except (ValueError, OSError) as error:
        raise TracingError(f"OpenTelemetry refuses its settings ({error})", "correct the OTEL_* variables") from None


def _check_url(name: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        is_usable = False
    if not is_usable:
        raise TracingError(f"{name} is no URL of a collector", "write it like http://127.0.0.1:4318")


def _exporting() -> Tracing:
    """Tracing to the collector. A thread sends batches from a bounded queue, which drops spans when it is full."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    from worker.observe.tracing.spans import SpanTracing

    found = Resource.create()
    ours = {
        "service.name": "makima-tts",
        "service.version": _version(),
        "service.instance.id": f"{host_name()}:{os.getpid()}",
    }
    is_named = not str(found.attributes.get("service.name", "unknown_service")).startswith("unknown_service")
    resource = found.merge(Resource(ours)).merge(found if is_named else Resource({}))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)  # `SpanTracing.close` bounds the wait
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return SpanTracing(provider)


def _version() -> str:
    try:
        return version("makima-tts")
    except PackageNotFoundError:
        return "unknown"
