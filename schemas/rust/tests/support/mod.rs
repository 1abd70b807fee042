//! What the tests need beside the client: a server of their own, and a worker that speaks by a script.
#![allow(clippy::unwrap_used, dead_code, unused_imports)]

mod proxy;
mod server;
mod worker;

pub use proxy::Proxy;
pub use server::{Server, free_port};
pub use worker::{Script, Worker, speech};

use makima_tts_client::{Client, End, Event, Events, JobId, Readers};
use std::collections::HashMap;
use std::time::Duration;

/// A server, or the end of a test that needs one.
#[macro_export]
macro_rules! server_or_skip {
    ($($argument:expr),*) => {
        match support::Server::start(&[$($argument),*]) {
            Some(server) => server,
            None => return println!("skipped: install redis-server, or name one in REDIS_SERVER"),
        }
    };
}

/// What came of each job: its samples, how often a final chunk came, and its end.
#[derive(Debug, Default)]
pub struct Spoken {
    pub samples: Vec<u8>,
    pub n_chunks: usize,
    pub n_final: usize,
    pub end: Option<End>,
    pub is_muted: bool,
}

#[derive(Debug, Default)]
pub struct Listener {
    pub jobs: HashMap<JobId, Spoken>,
    pub order: Vec<JobId>,
    /// Jobs of which no samples may come any more.
    pub stopped: Vec<JobId>,
}

impl Listener {
    pub fn take(&mut self, event: Event) {
        match event {
            Event::Audio { job, samples, is_final, pos, .. } => {
                assert!(samples.is_empty() || !self.stopped.contains(&job), "{job} was stopped");
                let spoken = self.jobs.entry(job).or_default();
                assert_eq!(pos as usize * 2, spoken.samples.len(), "samples come once and in order");
                assert!(!samples.is_empty() || is_final);
                assert_eq!(spoken.n_final, 0, "nothing follows the final chunk");
                spoken.samples.extend_from_slice(&samples);
                spoken.n_chunks += 1;
                spoken.n_final += usize::from(is_final);
            }
            Event::Ended { job, end, is_muted, .. } => {
                self.order.push(job.clone());
                let spoken = self.jobs.entry(job).or_default();
                assert!(spoken.end.is_none(), "a job ends once");
                assert_eq!(spoken.n_final, usize::from(spoken.n_chunks > 0), "audio has one final chunk");
                (spoken.end, spoken.is_muted) = (Some(end), is_muted);
            }
            _ => {}
        }
    }

    /// Takes events until so many jobs have ended.
    pub async fn until_ended(&mut self, events: &mut Events, n: usize) {
        let all = async {
            while self.order.len() < n {
                self.take(events.next().await.unwrap());
            }
        };
        tokio::time::timeout(Duration::from_secs(60), all).await.unwrap();
    }

    /// Takes events until audio of the job came.
    pub async fn until_audio(&mut self, events: &mut Events, job: &JobId) {
        let audio = async {
            while self.jobs.get(job).is_none_or(|it| it.n_chunks == 0) {
                self.take(events.next().await.unwrap());
            }
        };
        tokio::time::timeout(Duration::from_secs(30), audio).await.unwrap();
    }

    pub fn assert_whole(&self, job: &JobId, text: &str) {
        let spoken = &self.jobs[job];
        assert!(matches!(spoken.end, Some(End::Complete(_))), "{job}: {:?}", spoken.end);
        assert!(spoken.samples == speech(text), "{job} is not exact: {} bytes", spoken.samples.len());
    }
}

/// Both ways to read.
pub fn readers() -> [Readers; 2] {
    [Readers::own_connections(64), Readers::own_connections(0)]
}

pub fn client(server: &Server, readers: Readers) -> Client {
    Client::builder(server.url()).readers(readers).build().unwrap()
}

/// Waits until it is true.
pub async fn eventually(what: &str, is_true: impl AsyncFn() -> bool) {
    let all = async {
        while !is_true().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(30), all).await.is_ok(), "never: {what}");
}
