"""Tracing with OpenTelemetry: one span for each attempt at a job, in the trace of the job's publisher."""
