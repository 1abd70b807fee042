//! What the handles and the tasks of one session share. The tasks exist only while there is something to do.

use crate::client::{Inner, count};
use crate::failures::{SpeakFailed, Unavailable};
use crate::link::lock;
use crate::outbox::{self, Op};
use crate::reader;
use crate::state::{Published, State, Text, Waiter};
use crate::{EntryId, Event, Events, FieldError, Job, JobId, Resume, Session, SessionId};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, oneshot};

pub(crate) struct Shared {
    pub id: SessionId,
    /// The key of its stream, which is also the channel of its hints.
    pub audio: Arc<str>,
    pub client: Arc<Inner>,
    pub state: Mutex<State>,
    /// Wakes the reader: a hint, room for events, a new connection.
    pub wake: Notify,
    handles: AtomicUsize,
}

impl Shared {
    pub fn open(client: Arc<Inner>, at: Resume) -> (Session, Events) {
        let (id, state) = at.into_state(client.settings.deadline);
        let audio = client.key(&id, "audio").into();
        let shared = Self { id, audio, client, state: Mutex::new(state), wake: Notify::new(), handles: 0.into() };
        let shared = Arc::new(shared);
        shared.client.registry.add(&shared);
        shared.start(&mut lock(&shared.state));
        (Session::new(shared.clone()), Events::new(shared))
    }

    /// Starts what is not running and has something to do.
    pub fn start(self: &Arc<Self>, state: &mut State) {
        self.count(state);
        if !state.is_sending && !state.ops.is_empty() {
            state.is_sending = true;
            self.client.handle.spawn(outbox::run(self.clone()));
        }
        if !state.is_reading && !state.hearing.unfinished().is_empty() {
            state.is_reading = true;
            self.client.handle.spawn(reader::run(self.clone()));
        }
    }

    /// Brings the client's number of unfinished jobs up to date.
    pub fn count(&self, state: &mut State) {
        let n = state.hearing.unfinished().len();
        let counter = &self.client.counters.unfinished;
        counter.fetch_add(n, Ordering::Relaxed);
        counter.fetch_sub(std::mem::replace(&mut state.n_counted, n), Ordering::Relaxed);
    }

    pub fn hinted(&self) {
        self.wake.notify_one();
    }

    /// A link has a new connection: the outbox publishes again, and the reader subscribes again.
    pub fn reconnected(self: &Arc<Self>) {
        let mut state = lock(&self.state);
        state.is_renewed = true;
        if !state.hearing.unfinished().is_empty() && !state.is_sending {
            state.is_sending = true;
            self.client.handle.spawn(outbox::run(self.clone()));
        }
        drop(state);
        self.wake.notify_one();
    }

    pub fn publish(
        self: &Arc<Self>,
        job: &Job,
        text: Option<Text>,
        waiter: Option<Waiter>,
    ) -> Result<JobId, FieldError> {
        if job.is_open() != text.is_some() {
            let problem = "a job has either its text or Job::open(); use open_text or speak_stream for the latter";
            return Err(FieldError::new("text", problem));
        }
        let mut state = lock(&self.state);
        let id = JobId::new(format!("u{}", state.n_jobs + 1))?;
        let mut fields = job.fields(&self.id, &id)?;
        if !fields.iter().any(|(name, _)| *name == "traceparent") {
            fields.extend(crate::trace::traceparent().map(|it| ("traceparent", it)));
        }
        state.n_jobs += 1;
        state.hearing.published(&id);
        state.jobs.push(Published {
            id: id.clone(),
            fields: fields.into_iter().map(|(name, value)| (name.into(), value)).collect(),
            ttl: job.time_to_live(),
            entries: None,
            published_at: None,
            deadline: Instant::now() + self.client.settings.deadline,
            is_attempted: false,
            is_stopped: false,
            has_ended: false,
            handed: 0,
            has_final: false,
            text,
            waiter,
        });
        if state.is_left {
            state.end_unavailable(&id, Unavailable::closed());
        } else {
            state.ops.push_back(Op::Publish(id.clone()));
        }
        self.start(&mut state);
        Ok(id)
    }

    /// Writes a piece of an open text. Nothing happens for a job that has ended or was stopped. False: it is full.
    pub fn write(self: &Arc<Self>, id: &JobId, kind: &'static str, value: &str) -> bool {
        let mut state = lock(&self.state);
        let Some(job) = state.job(id).filter(|it| !it.is_stopped) else { return true };
        let fits = job.text.as_mut().is_none_or(|it| it.add(kind, value));
        if fits && !state.ops.iter().any(|it| matches!(it, Op::Text(other) if other == id)) {
            state.ops.push_back(Op::Text(id.clone()));
            self.start(&mut state);
        }
        fits
    }

    /// Whether a text of the job is still spoken.
    pub fn is_open(&self, id: &JobId) -> bool {
        lock(&self.state).job(id).is_some_and(|it| !it.is_stopped)
    }

    pub fn stop(self: &Arc<Self>) -> Vec<JobId> {
        let mut state = lock(&self.state);
        let stopped = state.stop();
        self.start(&mut state);
        drop(state);
        self.wake.notify_one();
        stopped
    }

    pub fn cancel_all(self: &Arc<Self>) -> oneshot::Receiver<Result<(), Unavailable>> {
        self.stop();
        let (done, cancelled) = oneshot::channel();
        let mut state = lock(&self.state);
        state.ops.push_back(Op::CancelAll(done));
        self.start(&mut state);
        cancelled
    }

    /// Ends all jobs and lets the stream expire. Returns when Redis has that; None where there is nothing to do.
    pub fn leave(self: &Arc<Self>) -> Option<oneshot::Receiver<Result<(), Unavailable>>> {
        let mut state = lock(&self.state);
        if std::mem::replace(&mut state.is_left, true) {
            return None;
        }
        self.client.registry.remove(self);
        state.stop();
        let unfinished = state.hearing.unfinished().to_vec();
        let unsure = state.jobs.iter().filter(|it| it.is_attempted && it.entries.is_none() && !it.has_ended);
        let unsure: Vec<_> = unsure.map(|it| (it.id.clone(), it.fields.clone())).collect();
        state.given_up.extend(unsure);
        for job in &unfinished {
            let events = state.end(job, crate::End::Cancelled(None), SpeakFailed::Stopped);
            state.received(events, None);
        }
        let waiting =
            state.ops.iter().filter_map(|it| if let Op::Cancel(upto) = it { Some(*upto) } else { None }).max();
        state.ops.retain(|it| !matches!(it, Op::Cancel(_)));
        let newest = state.newest;
        if newest == EntryId::default() && unfinished.is_empty() && state.subscribed == 0 {
            self.start(&mut state); // a job that was given up is still cancelled
            return None;
        }
        let (done, left) = oneshot::channel();
        if !unfinished.is_empty() || waiting.is_some() {
            state.ops.push_back(Op::Cancel(newest.max(waiting.unwrap_or_default())));
        }
        state.ops.push_back(Op::Leave(done));
        self.start(&mut state);
        state.wake();
        drop(state);
        self.wake.notify_one();
        Some(left)
    }

    pub fn add_handle(&self) {
        self.handles.fetch_add(1, Ordering::Relaxed);
    }

    /// The last handle is gone: what was submitted is still spoken, unless nobody listens.
    pub fn drop_handle(self: &Arc<Self>) {
        if self.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            let mut state = lock(&self.state);
            state.has_handles = false;
            state.wake();
            let has_events = state.has_events;
            drop(state);
            if !has_events {
                drop(self.leave());
            }
        }
    }
}

impl State {
    /// Gives up the first unfinished job when nothing was read of the session for too long.
    pub(crate) fn end_silent(&mut self, now: Instant, grace: Duration, text_wait: Duration) -> bool {
        let Some(id) = self.hearing.unfinished().first().cloned() else { return false };
        let has_begun = self.hearing.has_begun(&id);
        let Some(job) = self.jobs.iter().find(|it| it.id == id) else { return false };
        let Some(published_at) = job.published_at else { return false };
        let is_written = job.text.as_ref().is_some_and(|it| !it.is_complete) && !job.is_stopped;
        let normal = match has_begun {
            false => job.ttl + grace,
            true if is_written => (3 * grace).max(text_wait + grace),
            true => 3 * grace,
        };
        if now.saturating_duration_since(self.last_entry.map_or(published_at, |it| it.max(published_at))) < normal {
            return false;
        }
        let message = format!("no worker gave a sign for {} s; check that workers run", normal.as_secs());
        self.ops.extend(self.cut_of(&id).map(Op::Cancel));
        let end = crate::End::Failed(crate::Failure::new(crate::ErrorCode::NoAnswer, message));
        let events = self.end(&id, end, SpeakFailed::Stopped);
        self.received(events, None);
        true
    }
}

impl Shared {
    /// Ends what is silent. Called by the reader.
    pub fn end_silent(self: &Arc<Self>, state: &mut State) {
        let settings = &self.client.settings;
        while state.end_silent(Instant::now(), settings.grace, settings.text_wait) {
            count(&self.client.counters.gave_up);
        }
        self.start(state);
    }

    /// The next event of the listener, and what taking it allows.
    pub fn take(self: &Arc<Self>, state: &mut State) -> Option<Event> {
        let trimmed = state.queue.front().and_then(|it| it.behind.filter(|_| matches!(it.event, Event::Ended { .. })));
        let event = state.take()?;
        if let Some(id) = trimmed.filter(|_| self.client.settings.is_trimmed && !state.is_left) {
            state.ops.retain(|it| !matches!(it, Op::Trim(_)));
            state.ops.push_back(Op::Trim(id));
            self.start(state);
        }
        if state.is_full && state.queue.len() <= self.client.settings.queue / 2 {
            self.wake.notify_one();
        }
        Some(event)
    }
}
