//! The operations of a session that write to Redis, one after another and each until Redis has carried it out.

use crate::client::count;
use crate::commands;
use crate::failures::Unavailable;
use crate::link::{Up, backoff, lock};
use crate::shared::Shared;
use crate::state::{Fields, State};
use crate::{EntryId, JobId};
use redis::RedisError;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// After it Redis' clock shows another millisecond.
const MILLISECOND_OVER: Duration = Duration::from_millis(2);

pub(crate) type Done = oneshot::Sender<Result<(), Unavailable>>;

/// An operation that waits.
pub(crate) enum Op {
    Publish(JobId),
    /// A job that was given up and may be among the jobs: published again it has an ID, up to which it is cancelled.
    Revoke(JobId, Fields),
    /// The pieces of a text that are not written yet.
    Text(JobId),
    /// Cancel the jobs that are stopped, and all up to this entry.
    Cancel(EntryId),
    CancelAll(Done),
    Trim(EntryId),
    Leave(Done),
}

/// An operation with what it sends.
enum Step {
    Publish(JobId, Fields),
    Text(JobId, usize, Fields),
    Cancel { upto: EntryId, cursor: EntryId },
    CancelAll { done: Done, cursor: EntryId },
    Trim(EntryId),
    Leave(Done, bool),
}

enum Reply {
    Id(EntryId),
    Nothing,
}

/// Sends what waits and ends. Jobs that Redis does not take in time end meanwhile.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut work = pin!(send_all(&shared));
    let tick = shared.client.settings.deadline.min(Duration::from_millis(250));
    loop {
        tokio::select! {
            biased;
            () = &mut work => return,
            () = tokio::time::sleep(tick) => {
                let mut state = lock(&shared.state);
                state.expire(Instant::now(), &shared.client.jobs.away());
                shared.count(&mut state);
            }
        }
    }
}

async fn send_all(shared: &Arc<Shared>) {
    let mut failures = 0;
    loop {
        let client = &shared.client;
        let (Some(jobs), Some(sessions)) = (client.jobs.up().await, client.sessions.up().await) else {
            return closed(shared);
        };
        let step = {
            let mut state = lock(&shared.state);
            state.connected((jobs.generation, sessions.generation));
            let is_renewed = std::mem::take(&mut state.is_renewed);
            match state.next_step() {
                Some(step) => step,
                None if is_renewed => continue,
                None => {
                    state.is_sending = false;
                    return;
                }
            }
        };
        let (link, up) = match step {
            Step::Publish(..) => (&client.jobs, jobs.clone()),
            _ => (&client.sessions, sessions),
        };
        match step.send(shared, up.clone(), jobs).await {
            Ok(reply) => {
                failures = 0;
                lock(&shared.state).sent(shared, step, reply);
            }
            Err(problem) if link.failed(up.generation, &problem) => {
                lock(&shared.state).again(step);
                tokio::time::sleep(backoff(failures)).await;
                failures += 1;
            }
            Err(problem) => lock(&shared.state).refused(shared, step, &problem),
        }
    }
}

fn closed(shared: &Shared) {
    let mut state = lock(&shared.state);
    for job in state.hearing.unfinished().to_vec() {
        state.end_unavailable(&job, Unavailable::closed());
    }
    state.ops.clear();
    state.is_sending = false;
    shared.count(&mut state);
}

impl Step {
    async fn send(&self, shared: &Shared, mut up: Up, mut jobs: Up) -> Result<Reply, RedisError> {
        let (client, session) = (&shared.client, &shared.id);
        let cut = client.key(session, "cut");
        match self {
            Self::Publish(_, fields) => {
                return commands::publish(&mut up.connection, &client.jobs_key(), fields).await.map(Reply::Id);
            }
            Self::Text(job, n_before, pieces) => {
                let key = client.key(session, &format!("text:{job}"));
                commands::write_text(&mut up.connection, &key, *n_before, pieces).await?;
            }
            Self::Cancel { upto, cursor } => {
                commands::cancel(&mut up.connection, &shared.audio, &cut, &upto.to_string(), *cursor).await?;
            }
            Self::CancelAll { cursor, .. } => {
                let upto = commands::all_until_now(&mut jobs.connection, &client.jobs_key()).await;
                let upto = upto.inspect_err(|problem| _ = client.jobs.failed(jobs.generation, problem))?;
                commands::cancel(&mut up.connection, &shared.audio, &cut, &upto.to_string(), *cursor).await?;
                tokio::time::sleep(MILLISECOND_OVER).await; // the next job must not get an entry that is cancelled
            }
            Self::Trim(id) => commands::trim(&mut up.connection, &shared.audio, *id).await?,
            Self::Leave(_, is_subscribed) => {
                if let Some(mut hints) = client.hints.now().filter(|_| *is_subscribed) {
                    let _ = hints.connection.unsubscribe(&shared.audio).await; // a lost connection has none
                }
                commands::expire(&mut up.connection, &shared.audio, 10_000).await?;
            }
        }
        Ok(Reply::Nothing)
    }
}

impl State {
    /// On new connections all that is unfinished is sent again.
    fn connected(&mut self, generations: (u64, u64)) {
        let before = self.seen.replace(generations);
        if before.is_some_and(|it| it != generations) {
            self.begin_again();
        }
    }

    fn next_step(&mut self) -> Option<Step> {
        loop {
            let cursor = self.hearing.cursor();
            let step = match self.ops.pop_front()? {
                Op::Publish(id) => self.job(&id).map(|job| {
                    job.is_attempted = true;
                    Step::Publish(id.clone(), job.fields.clone())
                }),
                Op::Revoke(id, fields) if self.is_unpublished() => Some(Step::Publish(id, fields)),
                Op::Revoke(id, fields) => {
                    self.given_up.push((id, fields));
                    None
                }
                Op::Text(id) => self.job(&id).filter(|it| !it.is_stopped).and_then(|job| {
                    let text = job.text.as_ref()?;
                    let pieces = text.pieces.get(text.n_written..).filter(|it| !it.is_empty())?;
                    Some(Step::Text(id.clone(), text.n_written, pieces.to_vec()))
                }),
                Op::Cancel(upto) => {
                    let stopped = self.jobs.iter().filter(|it| it.is_stopped && !it.has_ended);
                    let upto = stopped.filter_map(|it| it.entries).map(|it| it.1).fold(upto, EntryId::max);
                    (upto > EntryId::default()).then_some(Step::Cancel { upto, cursor })
                }
                Op::CancelAll(done) => Some(Step::CancelAll { done, cursor }),
                Op::Trim(id) => Some(Step::Trim(id)),
                Op::Leave(done) => Some(Step::Leave(done, self.subscribed > 0)),
            };
            if step.is_some() {
                return step;
            }
        }
    }

    /// Redis carried it out.
    fn sent(&mut self, shared: &Shared, step: Step, reply: Reply) {
        match (step, reply) {
            (Step::Publish(id, _), Reply::Id(entry)) => self.published(shared, &id, entry),
            (Step::Text(id, n_before, pieces), _) => {
                let Some(job) = self.job(&id) else { return };
                job.published_at = job.published_at.map(|_| Instant::now()); // a worker waits from the last piece on
                if let Some(text) = job.text.as_mut() {
                    text.n_written = n_before + pieces.len();
                }
            }
            (Step::CancelAll { done, .. } | Step::Leave(done, _), _) => drop(done.send(Ok(()))),
            _ => {}
        }
    }

    fn published(&mut self, shared: &Shared, id: &JobId, entry: EntryId) {
        let counters = &shared.client.counters;
        self.newest = self.newest.max(entry);
        let Some(job) = self.job(id) else {
            if self.is_unpublished() {
                self.ops.push_front(Op::Cancel(entry)); // it was given up
            }
            return;
        };
        count(if job.entries.is_some() { &counters.republished } else { &counters.published });
        job.entries = Some(job.entries.map_or((entry, entry), |it| (it.0.min(entry), it.1.max(entry))));
        job.published_at = Some(Instant::now());
        if let Some(waiter) = job.waiter.take() {
            let _ = waiter.send(Ok(()));
        }
    }

    /// To be sent again, before everything else.
    fn again(&mut self, step: Step) {
        let op = match step {
            Step::Publish(id, fields) if self.job(&id).is_none() => Op::Revoke(id, fields), // it was given up
            Step::Publish(id, _) => Op::Publish(id),
            Step::Text(id, ..) => Op::Text(id),
            Step::Cancel { upto, .. } => Op::Cancel(upto),
            Step::CancelAll { done, .. } => Op::CancelAll(done),
            Step::Leave(done, _) => Op::Leave(done),
            Step::Trim(_) => return, // the next end trims more
        };
        self.ops.push_front(op);
    }

    /// Redis refused it, and would again.
    fn refused(&mut self, shared: &Shared, step: Step, problem: &RedisError) {
        note!("Redis refuses a command of session {}: {problem}", shared.id);
        let problem = Unavailable::refused(&problem.to_string());
        match step {
            Step::Publish(id, _) if self.job(&id).is_some_and(|it| it.entries.is_some()) => {} // published before
            Step::Publish(id, _) => self.end_unavailable(&id, problem),
            Step::Text(id, ..) => {
                match (self.cut_of(&id), self.job(&id).map(|it| it.fields.clone())) {
                    (Some(upto), _) => self.ops.push_back(Op::Cancel(upto)),
                    (None, fields) => self.given_up.extend(fields.map(|it| (id.clone(), it))),
                }
                self.end_unavailable(&id, problem);
            }
            Step::CancelAll { done, .. } | Step::Leave(done, _) => drop(done.send(Err(problem))),
            Step::Cancel { .. } | Step::Trim(_) => {}
        }
        shared.count(self);
    }
}
