use std::collections::HashMap;
use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use serde::Deserialize;

pub type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;
/// A socket's index and its utterance's number, from 0.
pub type Utterance = (usize, usize);

const STAMP: usize = 8;
const PATTERN: usize = 1 << 20;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Address of Redis.
    pub redis: String,
    /// Host and port of the relay.
    pub relay: String,
    pub sockets: usize,
    /// Of each socket, one after the other.
    pub utterances: usize,
    /// Of each utterance.
    pub chunks: usize,
    pub chunk_ms: u64,
    /// Audio in binary frames.
    pub binary: bool,
    /// The worker publishes hints.
    pub hints: bool,
    /// The streams of so many sockets are also read without the relay.
    pub direct: usize,
}

/// What all parts of the program share.
pub struct Trial {
    pub options: Options,
    /// When the text of an utterance was sent, and when the worker received its job.
    pub sent: Times,
    pub taken: Times,
    /// How late the worker wrote a chunk, in ns.
    pub late: Mutex<Vec<u64>>,
    /// From XADD to the worker without the relay, in ns.
    pub published: Mutex<Vec<u64>>,
    n_speaking: AtomicUsize,
    n_spoken: AtomicUsize,
    origin: Instant,
    pattern: Vec<u8>,
}

/// Times by the trial's clock, in ns.
#[derive(Default)]
pub struct Times(Mutex<HashMap<Utterance, u64>>);

/// A chunk that arrived: when it was written and received, in ns.
#[derive(Debug, Clone, Copy)]
pub struct Chunk {
    pub of: (Utterance, usize),
    pub written: u64,
    pub received: u64,
}

impl Times {
    pub fn set(&self, utterance: Utterance, at: u64) {
        locked(&self.0).insert(utterance, at);
    }

    pub fn get(&self, utterance: Utterance) -> Option<u64> {
        locked(&self.0).get(&utterance).copied()
    }
}

impl Trial {
    pub fn new(options: Options) -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let pattern = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        });
        Self {
            options,
            sent: Times::default(),
            taken: Times::default(),
            late: Mutex::default(),
            published: Mutex::default(),
            n_speaking: AtomicUsize::new(0),
            n_spoken: AtomicUsize::new(0),
            origin: Instant::now(),
            pattern: pattern.take(PATTERN / STAMP).flatten().collect(),
        }
    }

    pub fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// A chunk's bytes: 16-bit samples at 24 kHz.
    pub fn chunk_bytes(&self) -> usize {
        self.options.chunk_ms as usize * 48
    }

    /// The time of writing, then bytes that only this chunk has.
    pub fn chunk(&self, ((socket, number), seq): (Utterance, usize)) -> Vec<u8> {
        let length = self.chunk_bytes() - STAMP;
        let first = (socket * 7_919 + number * 104_729 + seq * 1_299_709) % (PATTERN - length);
        [&self.now().to_le_bytes(), &self.pattern[first..first + length]].concat()
    }

    /// Reads a chunk that arrived now. An error if any byte is wrong.
    pub fn read(&self, of: (Utterance, usize), data: &[u8]) -> Fallible<Chunk> {
        let received = self.now();
        let (stamp, rest) = data.split_first_chunk::<STAMP>().ok_or("a chunk is too short")?;
        if rest != &self.chunk(of)[STAMP..] {
            return Err(format!("the bytes of chunk {of:?} are wrong").into());
        }
        Ok(Chunk { of, written: u64::from_le_bytes(*stamp), received })
    }

    /// Counts a socket's first chunk.
    pub fn speaks(&self) {
        if self.n_speaking.fetch_add(1, Ordering::Relaxed) + 1 == self.options.sockets {
            phase("speaking");
        }
    }

    /// Counts a socket's last answer; from the first one on the load falls.
    pub fn has_spoken(&self) {
        if self.n_spoken.fetch_add(1, Ordering::Relaxed) == 0 {
            phase("ending");
        }
    }

    pub fn audio_key(&self, session_id: &str) -> String {
        format!("makima:{{{session_id}}}:audio")
    }
}

pub fn phase(name: &str) {
    println!("{{\"phase\": \"{name}\"}}");
}

pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection to Redis that CLIENT LIST shows as the benchmark's own.
pub async fn connection(redis: &str) -> Fallible<MultiplexedConnection> {
    let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(60)));
    let mut connection = redis::Client::open(redis)?.get_multiplexed_async_connection_with_config(&config).await?;
    let _: () = redis::cmd("CLIENT").arg("SETNAME").arg("bench").query_async(&mut connection).await?;
    Ok(connection)
}
