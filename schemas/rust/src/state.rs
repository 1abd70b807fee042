//! What a session knows, under one lock: its reader, the events that wait, the jobs that may be published again and the
//! operations that wait for Redis.

use crate::failures::{SpeakFailed, Unavailable};
use crate::outbox::Op;
use crate::{Encoding, End, EntryId, ErrorCode, Event, Failure, Hearing, JobId};
use bytes::Bytes;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::task::Waker;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Longest text of a job that is written while it is spoken.
const TEXT_BYTES: usize = 65_536;

pub(crate) type Fields = Vec<(Cow<'static, str>, String)>;
pub(crate) type Waiter = oneshot::Sender<Result<(), SpeakFailed>>;

/// A job whose end was not handed out yet.
pub(crate) struct Published {
    pub id: JobId,
    pub fields: Fields,
    pub ttl: Duration,
    /// The lowest and the highest ID of its entries among the jobs.
    pub entries: Option<(EntryId, EntryId)>,
    pub published_at: Option<Instant>,
    pub deadline: Instant,
    /// An XADD was sent, so it may be among the jobs.
    pub is_attempted: bool,
    pub is_stopped: bool,
    pub has_ended: bool,
    /// Samples that were handed out, and whether the final chunk was.
    pub handed: u64,
    pub has_final: bool,
    pub text: Option<Text>,
    pub waiter: Option<Waiter>,
}

impl Published {
    /// The format of its samples.
    pub fn encoding(&self) -> Encoding {
        let field = self.fields.iter().find(|(name, _)| name == "encoding");
        field.and_then(|(_, it)| Encoding::from_name(it)).unwrap_or_default()
    }

    /// Notes a chunk that is handed out.
    fn hand(&mut self, pos: u64, n_bytes: usize, is_final: bool) {
        self.handed = pos.saturating_add((n_bytes / self.encoding().sample_bytes()) as u64);
        self.has_final |= is_final;
    }
}

/// A text that is written while it is spoken: its pieces, kept to be written again, and how many are written.
#[derive(Default)]
pub(crate) struct Text {
    pub pieces: Vec<(Cow<'static, str>, String)>,
    pub n_written: usize,
    pub n_bytes: usize,
    pub is_complete: bool,
}

impl Text {
    /// Whether the piece still fits.
    pub fn add(&mut self, kind: &'static str, value: &str) -> bool {
        let n_bytes = if kind == "text" { value.len() } else { 0 };
        let fits = self.n_bytes + n_bytes <= TEXT_BYTES;
        if fits && !self.is_complete {
            self.n_bytes += n_bytes;
            self.is_complete = kind == "end";
            self.pieces.push((kind.into(), value.into()));
        }
        fits
    }
}

/// An event that waits. `behind`: the entry of the stream up to which everything is handed out with it.
pub(crate) struct Queued {
    pub event: Event,
    pub behind: Option<EntryId>,
}

#[derive(Default)]
pub(crate) struct State {
    pub hearing: Hearing,
    pub queue: VecDeque<Queued>,
    /// Up to here everything of the stream was handed out.
    pub consumed: EntryId,
    pub waker: Option<Waker>,
    pub jobs: Vec<Published>,
    pub ops: VecDeque<Op>,
    /// Jobs that ended here and may be among the jobs all the same: cancelled once they begin, or when no other is left.
    pub given_up: Vec<(JobId, Fields)>,
    /// The generations of both links at which everything was published.
    pub seen: Option<(u64, u64)>,
    /// A link has a connection that the outbox may not have seen.
    pub is_renewed: bool,
    pub last_entry: Option<Instant>,
    pub n_jobs: u64,
    /// The highest ID of an entry among the jobs.
    pub newest: EntryId,
    pub is_sending: bool,
    pub is_reading: bool,
    /// The reader waits until events are taken.
    pub is_full: bool,
    pub is_left: bool,
    pub has_events: bool,
    pub has_handles: bool,
    /// What this session added to the client's unfinished jobs.
    pub n_counted: usize,
    /// The generation of the hints' connection that subscribed.
    pub subscribed: u64,
}

impl State {
    pub fn job(&mut self, id: &JobId) -> Option<&mut Published> {
        self.jobs.iter_mut().find(|it| it.id == *id && !it.has_ended)
    }

    /// Queues what an entry gave, for the listener.
    pub fn received(&mut self, events: Vec<Event>, behind: Option<EntryId>) {
        let n = events.len();
        for (at, event) in events.into_iter().enumerate() {
            self.note_end(&event);
            self.queue.push_back(Queued { event, behind: behind.filter(|_| at + 1 == n) });
        }
        if n == 0 {
            self.pass(behind);
        }
        self.wake();
    }

    /// An entry up to which nothing else waits is handed out with the last event.
    fn pass(&mut self, behind: Option<EntryId>) {
        let place = self.queue.back_mut().map(|it| &mut it.behind);
        match place {
            Some(place) => *place = (*place).max(behind),
            None => self.consumed = self.consumed.max(behind.unwrap_or_default()),
        }
    }

    fn note_end(&mut self, event: &Event) {
        let Event::Ended { job, .. } = event else { return };
        if let Some(job) = self.job(job) {
            job.has_ended = true;
            if let Some(waiter) = job.waiter.take() {
                let _ = waiter.send(Ok(())); // its end was read, so it was published
            }
        }
        if self.is_unpublished() {
            for (id, fields) in self.given_up.drain(..) {
                self.ops.push_front(Op::Revoke(id, fields));
            }
        }
        if !self.has_events {
            self.jobs.retain(|it| !it.has_ended);
        }
    }

    pub fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Takes the next event for the listener.
    pub fn take(&mut self) -> Option<Event> {
        let Queued { event, behind } = self.queue.pop_front()?;
        match &event {
            Event::Audio { job, pos, samples, is_final } => {
                if let Some(job) = self.jobs.iter_mut().find(|it| it.id == *job) {
                    job.hand(*pos, samples.len(), *is_final);
                }
            }
            Event::Ended { job, .. } => self.jobs.retain(|it| it.id != *job),
            _ => {}
        }
        self.consumed = self.consumed.max(behind.unwrap_or_default());
        Some(event)
    }

    /// Ends a job without a worker; `failure` is for its speaker.
    pub fn end(&mut self, id: &JobId, end: End, failure: SpeakFailed) -> Vec<Event> {
        if let Some(waiter) = self.job(id).and_then(|it| it.waiter.take()) {
            let _ = waiter.send(Err(failure));
        }
        self.hearing.end(id, end)
    }

    pub fn end_unavailable(&mut self, id: &JobId, problem: Unavailable) {
        let end = End::Failed(Failure::new(ErrorCode::Unavailable, problem.to_string()));
        let events = self.end(id, end, problem.into());
        self.received(events, None);
    }

    /// Silence: of the jobs published so far nothing is handed out after this but the final chunks that are owed and
    /// their ends. Returns those jobs. What was not published is dropped.
    pub fn stop(&mut self) -> Vec<JobId> {
        let owed = self.hearing.stop();
        let mut cut: Vec<(JobId, u64)> = Vec::new();
        let (mut stopped, mut passed) = (Vec::new(), None);
        for mut queued in std::mem::take(&mut self.queue) {
            if let Event::Ended { job, is_muted, .. } = &mut queued.event {
                *is_muted |= cut.iter().any(|(it, _)| it == job);
                stopped.extend(is_muted.then(|| job.clone()));
                self.queue.push_back(queued);
            } else {
                passed = passed.max(queued.behind);
                add_first(&mut cut, queued.event);
            }
        }
        owed.into_iter().for_each(|it| add_first(&mut cut, it));
        self.pass(passed);
        stopped.extend_from_slice(self.hearing.unfinished());
        let is_open = |id: &JobId| self.jobs.iter().any(|it| it.id == *id && it.handed > 0 && !it.has_final);
        let mut first: Vec<Event> = cut.into_iter().filter(|(job, _)| is_open(job)).map(final_chunk).collect();
        let unsent: Vec<JobId> = self.jobs.iter().filter(|it| !it.is_attempted).map(|it| it.id.clone()).collect();
        for job in &unsent {
            first.extend(self.end(job, End::Cancelled(None), SpeakFailed::Stopped));
        }
        for event in first.into_iter().rev() {
            self.note_end(&event);
            self.queue.push_front(Queued { event, behind: None });
        }
        for job in &mut self.jobs {
            job.is_stopped = true;
        }
        let is_attempted = |id: &JobId| self.jobs.iter().any(|it| it.id == *id && it.is_attempted);
        self.ops.retain(|it| match it {
            Op::Publish(id) => is_attempted(id), // its ID is needed for the cancel
            Op::Text(_) => false,
            _ => true,
        });
        if self.jobs.iter().any(|it| !it.has_ended) {
            self.ops.push_back(Op::Cancel(EntryId::default()));
        }
        self.wake();
        stopped
    }

    /// Ends jobs that Redis did not take in time.
    pub fn expire(&mut self, now: Instant, why: &Unavailable) {
        let is_late = |it: &&Published| !it.has_ended && it.entries.is_none() && it.deadline <= now;
        let late: Vec<(JobId, bool)> =
            self.jobs.iter().filter(is_late).map(|it| (it.id.clone(), it.is_stopped)).collect();
        for (job, is_stopped) in late {
            let attempted = self.job(&job).filter(|it| it.is_attempted).map(|it| it.fields.clone());
            self.given_up.extend(attempted.map(|it| (job.clone(), it)));
            if is_stopped {
                let events = self.end(&job, End::Cancelled(None), SpeakFailed::Stopped);
                self.received(events, None);
            } else {
                self.end_unavailable(&job, why.clone());
            }
        }
    }

    /// Nothing that a cancel of all entries would cover is unfinished.
    pub fn is_unpublished(&self) -> bool {
        self.jobs.iter().all(|it| it.has_ended || !it.is_attempted)
    }

    /// Up to where a cancel covers the first unfinished job and none behind it. None for another job.
    pub fn cut_of(&self, id: &JobId) -> Option<EntryId> {
        let mut unfinished = self.jobs.iter().filter(|it| !it.has_ended);
        let (first, last) = unfinished.next().filter(|it| it.id == *id)?.entries?;
        let next = unfinished.filter_map(|it| it.entries).map(|it| it.0).min();
        Some(if next.is_some_and(|it| it <= last) { first } else { last })
    }

    /// Queues all that a Redis which was lost may have forgotten, in its order.
    ///
    /// A stopped job whose ID is known is cancelled up to that and ends here: published again it would have a higher ID,
    /// and a cancel up to that would cover the jobs behind it too.
    pub fn begin_again(&mut self) {
        let stopped: Vec<(JobId, EntryId)> =
            self.live(true).filter_map(|it| Some((it.id.clone(), it.entries?.1))).collect();
        let waiting = self.ops.iter().filter_map(|it| if let Op::Cancel(upto) = it { Some(*upto) } else { None });
        let upto = stopped.iter().map(|it| it.1).chain(waiting).max();
        for (job, _) in &stopped {
            let events = self.end(job, End::Cancelled(None), SpeakFailed::Stopped);
            self.received(events, None);
        }
        let mut ops: VecDeque<Op> = self.live(true).map(|it| Op::Publish(it.id.clone())).collect();
        if upto.is_some() || !ops.is_empty() {
            ops.push_back(Op::Cancel(upto.unwrap_or_default()));
        }
        let (first, last): (Vec<_>, Vec<_>) = std::mem::take(&mut self.ops)
            .into_iter()
            .filter(|it| !matches!(it, Op::Publish(_) | Op::Text(_) | Op::Cancel(_)))
            .partition(|it| matches!(it, Op::CancelAll(_) | Op::Revoke(..)));
        ops.extend(first);
        for job in self.live(false) {
            ops.push_back(Op::Publish(job.id.clone()));
            if let Some(text) = &mut job.text {
                text.n_written = 0;
                ops.push_back(Op::Text(job.id.clone()));
            }
        }
        ops.extend(last);
        self.ops = ops;
    }

    fn live(&mut self, is_stopped: bool) -> impl Iterator<Item = &mut Published> {
        self.jobs.iter_mut().filter(move |it| !it.has_ended && it.is_stopped == is_stopped)
    }
}

/// Adds the position of a job's first audio.
fn add_first(cut: &mut Vec<(JobId, u64)>, event: Event) {
    if let Event::Audio { job, pos, .. } = event
        && !cut.iter().any(|(it, _)| *it == job)
    {
        cut.push((job, pos));
    }
}

fn final_chunk((job, pos): (JobId, u64)) -> Event {
    Event::Audio { job, pos, samples: Bytes::new(), is_final: true }
}
