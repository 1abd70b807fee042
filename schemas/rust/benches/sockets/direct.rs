//! Publishing and reading without the relay, in the same run.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::streams::StreamReadReply;
use tokio::task::{JoinHandle, JoinSet};

use makima_tts_client::wire::{self, Message};

use crate::client::Socket;
use crate::trial::{Chunk, Fallible, Trial, connection};
use crate::worker::JOBS;

const EVERY: Duration = Duration::from_millis(50);

pub struct Direct {
    reading: JoinSet<Fallible<Vec<Chunk>>>,
    publishing: JoinHandle<Fallible<()>>,
}

impl Direct {
    /// All chunks that were read, once every utterance is complete.
    pub async fn finished(mut self) -> Fallible<Vec<Chunk>> {
        self.publishing.abort();
        let mut chunks = Vec::new();
        while let Some(read) = self.reading.join_next().await {
            chunks.extend(read??);
        }
        Ok(chunks)
    }
}

/// Reads the streams of these sockets, each on a connection of its own, and publishes jobs.
pub async fn start(trial: &Arc<Trial>, sockets: impl Iterator<Item = &Socket>) -> Fallible<Direct> {
    let mut reading = JoinSet::new();
    for socket in sockets {
        let redis = connection(&trial.options.redis).await?;
        reading.spawn(read(trial.clone(), redis, trial.audio_key(&socket.session_id), socket.index));
    }
    let publishing = tokio::spawn(publish(trial.clone(), connection(&trial.options.redis).await?));
    Ok(Direct { reading, publishing })
}

async fn publish(trial: Arc<Trial>, mut redis: MultiplexedConnection) -> Fallible<()> {
    loop {
        tokio::time::sleep(EVERY).await;
        let text = format!("direct {}", trial.now());
        let fields = [("session_id", "direct"), ("job_id", "u1"), ("text", &text)];
        let _: String = redis::cmd("XADD").arg(JOBS).arg("*").arg(&fields).query_async(&mut redis).await?;
    }
}

async fn read(trial: Arc<Trial>, mut redis: MultiplexedConnection, key: String, index: usize) -> Fallible<Vec<Chunk>> {
    let (mut last, mut chunks, mut number, mut seq) = ("0".to_string(), Vec::new(), 0, 0);
    while number < trial.options.utterances {
        let mut command = redis::cmd("XREAD");
        command.arg("COUNT").arg(16).arg("BLOCK").arg(5000).arg("STREAMS").arg(&key).arg(&last);
        let reply: Option<StreamReadReply> = command.query_async(&mut redis).await?;
        for entry in reply.into_iter().flat_map(|it| it.keys).flat_map(|it| it.ids) {
            let kind: String = entry.get("type").unwrap_or_default();
            let data: Vec<u8> = entry.get("data").unwrap_or_default();
            last.clone_from(&entry.id);
            match wire::read(&kind, &data)? {
                Some(Message::Audio(audio)) => {
                    chunks.push(trial.read(((index, number), seq), &audio.data)?);
                    seq += 1;
                }
                Some(Message::Complete(_)) => (number, seq) = (number + 1, 0),
                _ => {}
            }
        }
    }
    Ok(chunks)
}
