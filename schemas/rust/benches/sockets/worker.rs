//! A worker that makes no speech: it takes each job and writes its chunks in real time.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use redis::aio::MultiplexedConnection;
use redis::streams::StreamReadReply;
use serde::Serialize;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::trial::{Fallible, Trial, Utterance, connection, locked};

pub const JOBS: &str = "makima:{speak}:jobs";
const WRITERS: usize = 4;

#[derive(Serialize)]
struct Common<'a> {
    v: u32,
    r#type: &'a str,
    job_id: &'a str,
    session_id: &'a str,
}

#[derive(Serialize)]
struct Begin<'a> {
    #[serde(flatten)]
    common: Common<'a>,
    voice: &'a str,
    model: &'a str,
    sample_rate: u32,
    encoding: &'a str,
    attempt: u64,
    resumed_at: u64,
    resumed_by: Option<&'a str>,
}

#[derive(Serialize)]
struct Segment<'a> {
    #[serde(flatten)]
    common: Common<'a>,
    index: u32,
    pos: u64,
    text: &'a str,
}

#[derive(Serialize)]
struct Audio<'a> {
    #[serde(flatten)]
    common: Common<'a>,
    seq: usize,
    pos: usize,
    #[serde(serialize_with = "as_bin")]
    data: &'a [u8],
    is_final: bool,
}

#[derive(Serialize)]
struct Complete<'a> {
    #[serde(flatten)]
    common: Common<'a>,
    finish: &'a str,
    samples: usize,
    chunks: usize,
    audio_ms: u64,
    queue_ms: u64,
    first_audio_ms: u64,
    leading_silence_ms: u64,
    rtf: f64,
    seed: u64,
    voice: &'a str,
    model: &'a str,
    text_spoken: &'a str,
}

fn as_bin<S: serde::Serializer>(data: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(data)
}

/// One job of the stream.
struct Taken {
    entry: String,
    session_id: String,
    job_id: String,
    text: String,
}

/// Takes jobs until it is aborted.
pub async fn start(trial: &Arc<Trial>) -> Fallible<JoinHandle<Fallible<()>>> {
    let jobs = connection(&trial.options.redis).await?;
    let mut writers = Vec::new();
    for _ in 0..WRITERS {
        writers.push(connection(&trial.options.redis).await?);
    }
    Ok(tokio::spawn(take(trial.clone(), jobs, writers)))
}

async fn take(trial: Arc<Trial>, mut jobs: MultiplexedConnection, writers: Vec<MultiplexedConnection>) -> Fallible<()> {
    let mut last = "0".to_string();
    let mut known = HashSet::new();
    loop {
        let mut read = redis::cmd("XREAD");
        read.arg("COUNT").arg(64).arg("BLOCK").arg(5000).arg("STREAMS").arg(JOBS).arg(&last);
        let reply: Option<StreamReadReply> = read.query_async(&mut jobs).await?;
        let now = trial.now();
        for entry in reply.into_iter().flat_map(|it| it.keys).flat_map(|it| it.ids) {
            let field = |name: &str| entry.get::<String>(name).unwrap_or_default();
            let (session_id, job_id, text) = (field("session_id"), field("job_id"), field("text"));
            last.clone_from(&entry.id);
            if let Some(sent) = text.strip_prefix("direct ") {
                locked(&trial.published).push(now - sent.parse::<u64>()?);
            } else if known.insert((session_id.clone(), job_id.clone())) {
                let utterance = crate::client::utterance(&text).ok_or("a text is not of this benchmark")?;
                trial.taken.set(utterance, now);
                let writer = writers[utterance.0 % WRITERS].clone();
                let job = Taken { entry: entry.id, session_id, job_id, text };
                tokio::spawn(speak(trial.clone(), writer, job, utterance));
            }
        }
    }
}

async fn speak(trial: Arc<Trial>, mut redis: MultiplexedConnection, job: Taken, utterance: Utterance) -> Fallible<()> {
    let (n, bytes) = (trial.options.chunks, trial.chunk_bytes());
    let common = |r#type| Common { v: 1, r#type, job_id: &job.job_id, session_id: &job.session_id };
    let (voice, model) = ("bench", "bench");
    let mut out = Writer { trial: &trial, redis: &mut redis, job: &job, epoch: epoch(), n: 0 };
    let (sample_rate, encoding) = (24_000, "pcm_s16le");
    let begin = Begin {
        common: common("begin"),
        voice,
        model,
        sample_rate,
        encoding,
        attempt: 1,
        resumed_at: 0,
        resumed_by: None,
    };
    out.write("begin", &rmp_serde::to_vec_named(&begin)?).await?;
    let segment = Segment { common: common("segment"), index: 0, pos: 0, text: &job.text };
    out.write("segment", &rmp_serde::to_vec_named(&segment)?).await?;
    let start = Instant::now();
    for seq in 0..n {
        let due = start + Duration::from_millis(trial.options.chunk_ms) * u32::try_from(seq)?;
        sleep_until(due).await;
        locked(&trial.late).push(u64::try_from(due.elapsed().as_nanos())?);
        let data = &trial.chunk((utterance, seq));
        let audio = Audio { common: common("audio"), seq, pos: seq * bytes / 2, data, is_final: seq + 1 == n };
        out.write("audio", &rmp_serde::to_vec_named(&audio)?).await?;
    }
    let audio_ms = trial.options.chunk_ms * u64::try_from(n)?;
    let complete = Complete {
        common: common("complete"),
        finish: "stop",
        samples: n * bytes / 2,
        chunks: n,
        audio_ms,
        queue_ms: 0,
        first_audio_ms: 0,
        leading_silence_ms: 0,
        rtf: 1.0,
        seed: 0,
        voice,
        model,
        text_spoken: &job.text,
    };
    out.write("complete", &rmp_serde::to_vec_named(&complete)?).await
}

fn epoch() -> u128 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |it| it.as_millis())
}

/// Writes the entries of one attempt, each with its hint.
struct Writer<'a> {
    trial: &'a Trial,
    redis: &'a mut MultiplexedConnection,
    job: &'a Taken,
    epoch: u128,
    n: usize,
}

impl Writer<'_> {
    async fn write(&mut self, kind: &str, data: &[u8]) -> Fallible<()> {
        let Taken { entry, session_id, job_id, .. } = self.job;
        let (key, id) = (self.trial.audio_key(session_id), format!("{}-{}", self.epoch, self.n));
        let mut pipe = redis::pipe();
        pipe.cmd("XADD").arg(&key).arg(&id).arg("type").arg(kind).arg("job_id").arg(job_id).arg("entry").arg(entry);
        pipe.arg("delivered").arg(1).arg("data").arg(data).arg("at").arg(epoch().to_string()).ignore();
        if self.trial.options.hints {
            pipe.cmd("PUBLISH").arg(&key).arg(&id).ignore();
        }
        self.n += 1;
        Ok(pipe.query_async(self.redis).await?)
    }
}
