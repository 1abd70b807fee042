use bytes::Bytes;
use redis::aio::ConnectionLike;
use redis::streams::{StreamId, StreamRangeReply, StreamReadReply};
use redis::{Cmd, FromRedisValue, RedisResult, Value, cmd, from_redis_value};
use serde::Serialize;
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;

/// How the worker behaves.
#[derive(Clone, Copy)]
pub struct Script {
    /// Between two chunks.
    pub pause: Duration,
    pub is_without_hints: bool,
    /// The end of a job cannot be read.
    pub is_unreadable: bool,
    pub is_cluster: bool,
}

impl Script {
    pub const NONE: Self =
        Self { pause: Duration::ZERO, is_without_hints: false, is_unreadable: false, is_cluster: false };
}

/// A worker that speaks each character as some samples of its code, a chunk for eight characters.
pub struct Worker(JoinHandle<()>);

impl Drop for Worker {
    fn drop(&mut self) {
        self.0.abort();
    }
}

const SAMPLES: usize = 40;

/// The bytes of a text's speech.
pub fn speech(text: &str) -> Vec<u8> {
    text.chars().flat_map(|it| [(it as u32 as i16).to_le_bytes(); SAMPLES].concat()).collect()
}

impl Worker {
    pub fn start(url: impl Into<String>, script: Script) -> Self {
        let url = url.into();
        Self::on_planes(&url, &url, script)
    }

    pub fn on_planes(jobs: &str, sessions: &str, script: Script) -> Self {
        let (jobs, sessions) = (Db::new(jobs, script), Db::new(sessions, script));
        Self(tokio::spawn(take_jobs(jobs, sessions, script)))
    }
}

type Connection = Box<dyn ConnectionLike + Send>;

/// A Redis that is connected again until a command succeeds.
#[derive(Clone)]
struct Db {
    url: String,
    is_cluster: bool,
    connection: Arc<Mutex<Option<Connection>>>,
}

impl Db {
    fn new(url: &str, script: Script) -> Self {
        Self { url: url.into(), is_cluster: script.is_cluster, connection: Arc::default() }
    }

    async fn connect(&self) -> RedisResult<Connection> {
        #[cfg(feature = "cluster")]
        if self.is_cluster {
            let client = redis::cluster::ClusterClient::new([self.url.as_str()])?;
            return Ok(Box::new(client.get_async_connection().await?));
        }
        let client = redis::Client::open(self.url.as_str())?;
        Ok(Box::new(client.get_multiplexed_async_connection().await?))
    }

    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        loop {
            let mut connection = self.connection.lock().await;
            if connection.is_none() {
                *connection = self.connect().await.ok();
            }
            let reply = match connection.as_mut() {
                Some(connection) => connection.req_packed_command(command).await.and_then(Value::extract_error),
                None => Err(std::io::Error::from(std::io::ErrorKind::NotConnected).into()),
            };
            match reply {
                Err(problem) if problem.is_io_error() || problem.code() == Some("LOADING") => *connection = None,
                reply => return reply.and_then(|it| Ok(from_redis_value(it)?)),
            }
            drop(connection);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[derive(Clone)]
struct Job {
    id: String,
    session: String,
    name: String,
    text: Option<String>,
}

async fn take_jobs(jobs: Db, sessions: Db, script: Script) {
    let mut queues: HashMap<String, mpsc::UnboundedSender<Job>> = HashMap::new();
    let mut last = "0".to_string();
    loop {
        let mut read = cmd("XREAD");
        read.arg("COUNT").arg(100).arg("STREAMS").arg("makima:{speak}:jobs").arg(&last);
        let reply: Option<StreamReadReply> = jobs.ask(&read).await.unwrap();
        let entries: Vec<StreamId> = reply.into_iter().flat_map(|it| it.keys).flat_map(|it| it.ids).collect();
        if entries.is_empty() {
            let mut length = cmd("XLEN");
            if jobs.ask::<u64>(length.arg("makima:{speak}:jobs")).await.unwrap() == 0 {
                last = "0".into(); // a Redis that was emptied
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        for entry in entries {
            last.clone_from(&entry.id);
            let field = |name| entry.get::<String>(name);
            let (session, name) = (field("session_id").unwrap(), field("job_id").unwrap());
            let job = Job { id: entry.id.clone(), session: session.clone(), name, text: field("text") };
            let queue = queues.entry(session).or_insert_with(|| {
                let (queue, taken) = mpsc::unbounded_channel();
                tokio::spawn(speak_all(taken, jobs.clone(), sessions.clone(), script));
                queue
            });
            queue.send(job).unwrap();
        }
    }
}

async fn speak_all(mut taken: mpsc::UnboundedReceiver<Job>, jobs: Db, db: Db, script: Script) {
    while let Some(job) = taken.recv().await {
        let audio = format!("makima:{{{}}}:audio", job.session);
        let mut speech = Speech { audio, job, db: db.clone(), script, epoch: 0, n: 0 };
        while is_there(&jobs, &speech.job).await && speech.mark().await && !speech.speak().await {}
    }
}

/// Whether the job is in the stream: not after its Redis was emptied.
async fn is_there(jobs: &Db, job: &Job) -> bool {
    let mut entry = cmd("XRANGE");
    entry.arg("makima:{speak}:jobs").arg(&job.id).arg(&job.id);
    !jobs.ask::<StreamRangeReply>(&entry).await.unwrap().ids.is_empty()
}

struct Speech {
    job: Job,
    audio: String,
    db: Db,
    script: Script,
    epoch: u64,
    n: u64,
}

#[derive(Serialize)]
struct Audio {
    v: u32,
    r#type: &'static str,
    job_id: String,
    session_id: String,
    seq: u64,
    pos: usize,
    data: Bytes,
    is_final: bool,
}

impl Speech {
    /// Whether the job is new: not where it was published again. Repeated after a lost reply it is the same.
    async fn mark(&self) -> bool {
        let mut mark = cmd("HSETNX");
        mark.arg(format!("fake:{{{}}}:seen", self.job.session)).arg(&self.job.name).arg(&self.job.id);
        self.db.ask::<u64>(&mark).await.unwrap();
        self.is_known().await
    }

    /// False when the session's Redis was emptied meanwhile.
    async fn speak(&mut self) -> bool {
        (self.epoch, self.n) = (0, 0);
        let mut spoken = String::new();
        let mut pos = 0;
        let mut n_read = 0;
        if self.is_cancelled().await {
            return self.end("cancelled", json!({"samples": 0, "text_spoken": null})).await;
        }
        self.begin(0).await;
        loop {
            if !self.is_known().await {
                return false;
            }
            if self.is_cancelled().await {
                return self.end("cancelled", json!({"samples": pos, "text_spoken": spoken})).await;
            }
            let (new, is_complete) = match &self.job.text {
                Some(text) => (text.clone(), true),
                None => self.written(&mut n_read).await,
            };
            self.write("segment", &self.map("segment", json!({"index": 0, "pos": pos, "text": new}))).await;
            let mut chars: Vec<char> = new.chars().collect();
            spoken.push_str(&new);
            while !chars.is_empty() || is_complete {
                let is_final = is_complete && chars.len() <= 8;
                let chunk: String = chars.drain(..chars.len().min(8)).collect();
                let data: Bytes = speech(&chunk).into();
                let n_samples = data.len() / 2;
                tokio::time::sleep(self.script.pause).await;
                if !self.is_known().await {
                    return false;
                }
                if self.is_cancelled().await {
                    return self.end("cancelled", json!({"samples": pos, "text_spoken": spoken})).await;
                }
                let (job_id, session_id) = (self.job.name.clone(), self.job.session.clone());
                let audio = Audio { v: 1, r#type: "audio", job_id, session_id, seq: 0, pos, data, is_final };
                while !self.write("audio", &rmp_serde::to_vec_named(&audio).unwrap()).await {
                    if !self.is_known().await {
                        return false;
                    }
                    if self.is_cancelled().await {
                        return self.end("cancelled", json!({"samples": pos, "text_spoken": spoken})).await;
                    }
                    self.begin(pos).await; // a cancel of earlier jobs
                }
                pos += n_samples;
                if is_final {
                    return self.complete(pos, &spoken).await;
                }
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn complete(&mut self, samples: usize, text: &str) -> bool {
        let rest = json!({"finish": "stop", "samples": samples, "chunks": 1, "audio_ms": 1, "queue_ms": 1,
            "first_audio_ms": 1, "leading_silence_ms": 0, "rtf": 0.1, "seed": 1, "voice": "v", "model": "m",
            "text_spoken": text});
        self.end("complete", rest).await
    }

    /// New pieces of the text, and whether it is complete.
    async fn written(&self, n_read: &mut usize) -> (String, bool) {
        let mut range = cmd("XRANGE");
        range.arg(format!("makima:{{{}}}:text:{}", self.job.session, self.job.name)).arg("-").arg("+");
        let entries: StreamRangeReply = self.db.ask(&range).await.unwrap();
        let is_complete = entries.ids.iter().any(|it| it.contains_key("end"));
        let new = entries.ids.iter().skip(std::mem::replace(n_read, entries.ids.len()));
        (new.filter_map(|it| it.get::<String>("text")).collect(), is_complete)
    }

    /// False when the session's Redis was emptied since the job was marked.
    async fn is_known(&self) -> bool {
        let mut own = cmd("HGET");
        own.arg(format!("fake:{{{}}}:seen", self.job.session)).arg(&self.job.name);
        self.db.ask::<Option<String>>(&own).await.unwrap().as_ref() == Some(&self.job.id)
    }

    async fn is_cancelled(&self) -> bool {
        let mut last = cmd("XREVRANGE");
        last.arg(format!("makima:{{{}}}:cut", self.job.session)).arg("+").arg("-").arg("COUNT").arg(1);
        let last: StreamRangeReply = self.db.ask(&last).await.unwrap();
        last.ids.first().is_some_and(|it| id(&it.id) >= id(&self.job.id))
    }

    async fn begin(&mut self, pos: usize) {
        let rest = json!({"voice": "v", "model": "m", "sample_rate": 24000, "encoding": "pcm_s16le", "attempt": 1,
            "resumed_at": pos, "resumed_by": null});
        let map = self.map("begin", rest);
        loop {
            let mut last = cmd("XREVRANGE");
            last.arg(&self.audio).arg("+").arg("-").arg("COUNT").arg(1);
            let last: StreamRangeReply = self.db.ask(&last).await.unwrap();
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
            (self.epoch, self.n) = (now.max(last.ids.first().map_or(0, |it| id(&it.id).0 + 1)), 0);
            if self.write("begin", &map).await {
                return;
            }
        }
    }

    /// Whether the end is written: not where the session's Redis was emptied.
    async fn end(&mut self, kind: &str, rest: serde_json::Value) -> bool {
        let map = if self.script.is_unreadable { b"\x93no map".to_vec() } else { self.map(kind, rest) };
        while self.epoch == 0 || !self.write(kind, &map).await {
            if !self.is_known().await {
                return false;
            }
            self.begin(0).await;
        }
        true
    }

    fn map(&self, kind: &str, rest: serde_json::Value) -> Vec<u8> {
        let mut map = json!({"v": 1, "type": kind, "job_id": self.job.name, "session_id": self.job.session});
        map.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        rmp_serde::to_vec(&map).unwrap()
    }

    /// False when the stream no longer ends with an entry of this speech.
    async fn write(&mut self, kind: &str, data: &[u8]) -> bool {
        let entry = format!("{}-{}", self.epoch, self.n);
        let mut add = cmd("XADD");
        add.arg(&self.audio);
        if self.n > 0 {
            add.arg("NOMKSTREAM"); // a Redis that was emptied gets no rest of a speech
        }
        add.arg(&entry).arg("type").arg(kind).arg("job_id").arg(&self.job.name);
        add.arg("entry").arg(&self.job.id).arg("delivered").arg("1").arg("data").arg(data);
        let reply = self.db.ask::<Option<String>>(&add).await;
        if !matches!(reply, Ok(Some(_))) {
            assert!(reply.is_ok_and(|it| it.is_none()) || self.n > 0 || kind == "begin", "{kind} is refused");
            let mut own = cmd("XRANGE");
            own.arg(&self.audio).arg(&entry).arg(&entry);
            let own: StreamRangeReply = self.db.ask(&own).await.unwrap();
            if own.ids.is_empty() {
                return false;
            }
        }
        self.n += 1;
        let mut renew = cmd("PEXPIRE");
        self.db.ask::<u64>(renew.arg(&self.audio).arg(600_000)).await.unwrap();
        if !self.script.is_without_hints {
            let mut publish = cmd(if self.script.is_cluster { "SPUBLISH" } else { "PUBLISH" });
            self.db.ask::<u64>(publish.arg(&self.audio).arg(&entry)).await.unwrap();
        }
        true
    }
}

fn id(text: &str) -> (u64, u64) {
    let (ms, n) = text.split_once('-').unwrap();
    (ms.parse().unwrap(), n.parse().unwrap())
}
