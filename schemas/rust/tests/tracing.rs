//! The trace that a job belongs to.
#![cfg(feature = "tracing")]
#![allow(clippy::unwrap_used)]

mod support;

use makima_tts_client::{Job, Readers, SessionId};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use redis::streams::StreamRangeReply;
use support::{client, eventually};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::SubscriberExt;

#[tokio::test]
async fn a_job_carries_the_trace_of_the_span_in_which_it_was_submitted() {
    let server = server_or_skip!();
    let client = client(&server, Readers::default());
    let (session, _events) = client.open(SessionId::fresh());
    let (trace, span) = (TraceId::from(0x0af7651916cd43dd8448eb211c80319c), SpanId::from(0xb7ad6b7169203331));
    let remote = SpanContext::new(trace, span, TraceFlags::SAMPLED, true, TraceState::default());
    let subscriber = tracing_subscriber::registry().with(tracing_opentelemetry::layer());
    tracing::subscriber::with_default(subscriber, || {
        let span = tracing::info_span!("answer");
        span.set_parent(opentelemetry::Context::new().with_remote_span_context(remote)).unwrap();
        let _entered = span.enter();
        session.submit(Job::new("One.")).unwrap();
        session
            .submit(Job::new("Two.").traceparent("00-11111111111111111111111111111111-2222222222222222-00"))
            .unwrap();
    });
    session.submit(Job::new("Three.")).unwrap();
    let mut admin = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    eventually("three jobs are published", async || client.stats().published == 3).await;
    let jobs: StreamRangeReply =
        redis::cmd("XRANGE").arg("makima:{speak}:jobs").arg("-").arg("+").query(&mut admin).unwrap();
    let traces: Vec<Option<String>> = jobs.ids.iter().map(|it| it.get("traceparent")).collect();
    let own = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let given = "00-11111111111111111111111111111111-2222222222222222-00";
    assert_eq!(traces, [Some(own.into()), Some(given.into()), None]);
}
