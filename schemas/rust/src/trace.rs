//! The trace that a job belongs to.

/// The W3C Trace Context of the current span, with the feature `tracing` and an OpenTelemetry layer.
#[cfg(feature = "tracing")]
pub(crate) fn traceparent() -> Option<String> {
    use opentelemetry::trace::TraceContextExt as _;
    use tracing_opentelemetry::OpenTelemetrySpanExt as _;
    let context = tracing::Span::current().context();
    let span = context.span().span_context().clone();
    let (trace, id, flags) = (span.trace_id(), span.span_id(), span.trace_flags().to_u8());
    span.is_valid().then(|| format!("00-{trace}-{id}-{flags:02x}"))
}

#[cfg(not(feature = "tracing"))]
pub(crate) fn traceparent() -> Option<String> {
    None
}
