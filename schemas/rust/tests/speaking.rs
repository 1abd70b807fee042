//! A session in good weather, for both ways to read.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used)]

mod support;

use makima_tts_client::{Job, SessionId};
use support::{Listener, Script, Worker, client, readers};

const LONG: &str = "The quick brown fox jumps over the lazy dog, again and again, until it is tired.";

#[tokio::test]
async fn jobs_are_spoken_whole_and_in_their_order() {
    let server = server_or_skip!();
    let _worker = Worker::start(server.url(), Script::default());
    for readers in readers() {
        let client = client(&server, readers);
        let (session, mut events) = client.open(SessionId::fresh());
        let texts = [LONG, "Second.", "Third, and last."];
        let mut jobs = Vec::new();
        for text in texts {
            jobs.push(session.speak(Job::new(text)).await.unwrap());
        }
        let mut listener = Listener::default();
        listener.until_ended(&mut events, 3).await;
        assert_eq!(listener.order, jobs);
        for (job, text) in jobs.iter().zip(texts) {
            listener.assert_whole(job, text);
        }
        assert!(session.unfinished().is_empty());
    }
}
