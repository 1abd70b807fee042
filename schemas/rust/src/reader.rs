//! Reads the streams of sessions with an unfinished job: on a connection of its own while there are few, on hints and
//! once a second otherwise.

use crate::client::count;
use crate::commands::{self, RawEntry};
use crate::link::{backoff, is_passing, lock};
use crate::outbox::Op;
use crate::plane::{Connection, Plane};
use crate::shared::Shared;
use crate::{Entry, EntryId};
use redis::RedisError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{timeout, timeout_at};

/// How long a read waits for an entry, and at most between two reads.
const LOOK: Duration = Duration::from_secs(1);
/// An unread stream is renewed after so many times the grace: once a minute.
const RENEWAL: u32 = 4;
/// Entries of one read: each may have 272 KiB.
const COUNT: usize = 16;

/// Connections for blocking reads, one a session. A connection serves the next session when one needs it no more.
pub(crate) struct OwnConnections {
    plane: Plane,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
    n_open: Arc<AtomicUsize>,
}

impl OwnConnections {
    pub fn new(plane: Plane, n: usize) -> Self {
        let permits = Arc::new(Semaphore::new(n.min(Semaphore::MAX_PERMITS)));
        Self { plane, permits, idle: Mutex::default(), n_open: Arc::default() }
    }

    pub fn open(&self) -> usize {
        self.n_open.load(Ordering::Relaxed) + lock(&self.idle).len()
    }

    pub fn close(&self) {
        self.permits.close();
        lock(&self.idle).clear();
    }
}

/// A connection in use.
struct Own {
    connection: Option<Connection>,
    n_open: Arc<AtomicUsize>,
    _permit: OwnedSemaphorePermit,
}

impl Own {
    fn take(own: &OwnConnections) -> Option<Self> {
        let permit = own.permits.clone().try_acquire_owned().ok()?;
        let connection = lock(&own.idle).pop();
        own.n_open.fetch_add(usize::from(connection.is_some()), Ordering::Relaxed);
        Some(Self { connection, n_open: own.n_open.clone(), _permit: permit })
    }

    async fn connection(&mut self, plane: &Plane) -> Result<&mut Connection, RedisError> {
        if self.connection.is_none() {
            let connection = plane.connect(LOOK + Duration::from_secs(3), None).await?;
            self.connection = Some(connection);
            self.n_open.fetch_add(1, Ordering::Relaxed);
        }
        self.connection.as_mut().ok_or_else(|| RedisError::from((redis::ErrorKind::Client, "no connection")))
    }

    fn release(&mut self) -> Option<Connection> {
        let connection = self.connection.take();
        self.n_open.fetch_sub(usize::from(connection.is_some()), Ordering::Relaxed);
        connection
    }

    /// The connection may serve another session: no read is on its way.
    fn give_back(mut self, own: &OwnConnections) {
        if let Some(connection) = self.release().filter(|_| !own.permits.is_closed()) {
            lock(&own.idle).push(connection);
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.release();
    }
}

/// Reads until no job is unfinished.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut own = Own::take(&shared.client.own);
    let (mut failures, mut is_drained, mut renewed) = (0, false, Instant::now());
    while let Some(room) = room(&shared) {
        if room == 0 {
            wait_for_room(&shared, &mut renewed).await;
            continue;
        }
        let (n, cursor) = (room.min(COUNT), lock(&shared.state).hearing.cursor());
        let read = match &mut own {
            Some(it) => read_own(&shared, it, cursor, n).await,
            None => read_shared(&shared, cursor, n, is_drained).await,
        };
        match read {
            Ok(entries) => {
                (failures, is_drained) = (0, entries.len() < n);
                received(&shared, entries);
            }
            Err(problem) => {
                if own.as_ref().is_some_and(|it| it.connection.is_none()) {
                    own = None; // no connection could be made, perhaps because there are too many
                } else if let Some(own) = own.as_mut().filter(|_| is_passing(&problem)) {
                    own.release();
                }
                tokio::time::sleep(backoff(if is_passing(&problem) { failures } else { 5 })).await;
                (failures, is_drained) = (failures + 1, false);
            }
        }
    }
    if let Some(own) = own {
        own.give_back(&shared.client.own);
    }
}

/// How many events may be read. None, and the reader ends, where nothing is unfinished.
fn room(shared: &Arc<Shared>) -> Option<usize> {
    let mut state = lock(&shared.state);
    if !state.is_full {
        shared.end_silent(&mut state);
    }
    if state.hearing.unfinished().is_empty() {
        state.is_reading = false;
        return None;
    }
    let (limit, n) = (shared.client.settings.queue, state.queue.len());
    state.is_full = if state.is_full { n > limit / 2 } else { n >= limit };
    Some(if state.is_full { 0 } else { limit - n })
}

/// Waits until the listener has taken events. The stream is kept meanwhile.
async fn wait_for_room(shared: &Arc<Shared>, renewed: &mut Instant) {
    let due = *renewed + RENEWAL * shared.client.settings.grace;
    let _ = timeout_at(due.into(), shared.wake.notified()).await; // either way it is looked again
    if Instant::now() >= due {
        *renewed = Instant::now();
        if let Some(mut up) = shared.client.sessions.now() {
            let _ = commands::renew(&mut up.connection, &shared.audio).await; // the next one comes in time too
        }
    }
    lock(&shared.state).last_entry = Some(Instant::now()); // what is not read is not silent
}

fn received(shared: &Arc<Shared>, entries: Vec<RawEntry>) {
    if entries.is_empty() {
        return;
    }
    let mut state = lock(&shared.state);
    state.last_entry = Some(Instant::now());
    for RawEntry { id, kind, job_id, entry, data } in &entries {
        if let Some(entry) = entry.filter(|_| kind == "begin") {
            let n_before = state.given_up.len();
            state.given_up.retain(|(id, _)| id.as_str() != job_id);
            if state.given_up.len() < n_before {
                state.ops.push_back(Op::Cancel(entry));
            }
        }
        let events = state.hearing.entry(&Entry { id: *id, kind, job_id, data });
        state.received(events, Some(*id));
    }
    shared.start(&mut state);
}

async fn read_own(shared: &Shared, own: &mut Own, cursor: EntryId, n: usize) -> Result<Vec<RawEntry>, RedisError> {
    let connection = own.connection(&shared.client.own.plane).await?;
    commands::read(connection, &shared.audio, cursor, n, u64::try_from(LOOK.as_millis()).ok()).await
}

/// One read on the connection of all sessions. A session that is drained waits for a hint before, or for a second.
async fn read_shared(
    shared: &Shared,
    cursor: EntryId,
    n: usize,
    is_drained: bool,
) -> Result<Vec<RawEntry>, RedisError> {
    if is_drained && timeout(LOOK, shared.wake.notified()).await.is_err() {
        count(&shared.client.counters.looks);
    }
    let hints = &shared.client.hints;
    let Ok(Some(mut up)) = timeout(LOOK, hints.up()).await else { return Ok(Vec::new()) };
    let failed = |problem: RedisError| {
        hints.failed(up.generation, &problem);
        problem
    };
    if lock(&shared.state).subscribed != up.generation {
        lock(&shared.state).subscribed = up.generation;
        match up.connection.subscribe(&shared.audio).await {
            Err(problem) if is_passing(&problem) => {
                lock(&shared.state).subscribed = 0;
                return Err(failed(problem));
            }
            Err(problem) => note!("no hints for session {}, which is read once a second: {problem}", shared.id),
            Ok(()) => {}
        }
    }
    commands::read(&mut up.connection, &shared.audio, cursor, n, None).await.map_err(failed)
}
