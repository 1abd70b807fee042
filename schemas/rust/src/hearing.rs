use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use crate::heard::Received;
use crate::wire::{self, Audio, Begin, Cancelled, Complete, Message, Segment, SpeakError};
use crate::{Encoding, EntryId, ErrorCode, Failure, Heard, JobId};

/// Finished jobs whose segments are kept, because their audio may still be played.
const KEPT: usize = 32;
const UNREADABLE: &str = "an entry of this job cannot be read; use a relay and a worker of one version of the contract";

/// One entry of a session's stream: its ID and the flat fields `type`, `job_id` and `data`, empty where missing.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// The entry's ID.
    pub id: EntryId,
    /// The field `type`.
    pub kind: &'a str,
    /// The field `job_id`.
    pub job_id: &'a str,
    /// The field `data`.
    pub data: &'a [u8],
}

/// What a listener of a session receives.
///
/// Of each job: at most one `Begin` that is no take-over, then `Segment` and `Audio`, then exactly one `Ended`. A job of
/// which audio was received has exactly one `Audio` with `is_final`, before its `Ended`; its samples may be empty.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A worker begins the job, or another worker continues it.
    #[non_exhaustive]
    Begin {
        /// The job.
        job: JobId,
        /// The worker's message.
        begin: Begin,
        /// Another attempt began before.
        is_take_over: bool,
    },
    /// A part of the text, before its audio. Of one index the later one holds.
    #[non_exhaustive]
    Segment {
        /// The job.
        job: JobId,
        /// The worker's message.
        segment: Segment,
    },
    /// Samples that were not received before.
    #[non_exhaustive]
    Audio {
        /// The job.
        job: JobId,
        /// The index of the first sample within the job.
        pos: u64,
        /// The samples, in the job's encoding.
        samples: Bytes,
        /// No more audio of this job follows.
        is_final: bool,
    },
    /// The job's answer: nothing of it follows.
    #[non_exhaustive]
    Ended {
        /// The job.
        job: JobId,
        /// How it ended.
        end: End,
        /// It was stopped by this listener.
        is_muted: bool,
    },
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum End {
    /// All of it was made.
    Complete(Complete),
    /// It was cancelled; without a message where it was dropped before a worker could have it.
    Cancelled(Option<Cancelled>),
    /// It failed.
    Failed(Failure),
}

#[derive(Debug, Default)]
struct JobState {
    received: Received,
    sample_bytes: usize,
    has_begun: bool,
    is_muted: bool,
    has_chunk: bool,
    has_final: bool,
}

/// One session's reader without input and output: entries of its stream in, events out.
///
/// Entries of other jobs, and those that follow a job's end, are skipped: a job that was published again may have a
/// second end. The rules are in the contract's README.
#[derive(Debug, Default)]
pub struct Hearing {
    unfinished: Vec<JobId>,
    jobs: HashMap<JobId, JobState>,
    finished: VecDeque<JobId>,
    is_interrupted: bool,
    cursor: EntryId,
}

impl Hearing {
    /// A reader from the start of the stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// A reader that continues behind an entry.
    pub fn at(cursor: EntryId) -> Self {
        Self { cursor, ..Self::default() }
    }

    /// The last entry that was read: continue behind it, also after a reconnect.
    pub fn cursor(&self) -> EntryId {
        self.cursor
    }

    /// The jobs that were published and have not ended, in their order.
    pub fn unfinished(&self) -> &[JobId] {
        &self.unfinished
    }

    /// Whether a worker began the job.
    pub fn has_begun(&self, job: &JobId) -> bool {
        self.jobs.get(job).is_some_and(|it| it.has_begun)
    }

    /// Call it before the job's XADD. A job that is published again is known already.
    pub fn published(&mut self, job: &JobId) {
        if !self.unfinished.contains(job) {
            self.unfinished.push(job.clone());
            self.finished.retain(|it| it != job);
            self.jobs.insert(job.clone(), JobState { sample_bytes: 1, ..JobState::default() });
        }
    }

    /// A job of which samples were handed out before the cursor, perhaps with its `begin`.
    #[cfg(feature = "redis")]
    pub(crate) fn resumed(&mut self, job: &JobId, encoding: Encoding, made: u64, has_final: bool) {
        self.published(job);
        if let Some(state) = self.jobs.get_mut(job) {
            state.sample_bytes = encoding.sample_bytes();
            state.received.made = made;
            (state.has_begun, state.has_chunk, state.has_final) = (made > 0, made > 0 || has_final, has_final);
        }
    }

    /// Mutes all jobs published so far, until their ends. Returns the final chunks that are owed.
    pub fn stop(&mut self) -> Vec<Event> {
        let Self { unfinished, jobs, .. } = self;
        let owed = unfinished.iter().filter_map(|job| {
            let state = jobs.get_mut(job)?;
            state.is_muted = true;
            state.closing(job)
        });
        owed.collect()
    }

    /// Reads one entry.
    pub fn entry(&mut self, entry: &Entry<'_>) -> Vec<Event> {
        self.cursor = self.cursor.max(entry.id);
        if entry.kind == "cancel" {
            self.is_interrupted = true;
            return Vec::new();
        }
        let Some(job) = self.unfinished.iter().find(|it| it.as_str() == entry.job_id).cloned() else {
            return Vec::new();
        };
        let end = match wire::read(entry.kind, entry.data) {
            Ok(None) => return Vec::new(),
            Ok(Some(Message::Complete(it))) => End::Complete(it),
            Ok(Some(Message::Cancelled(it))) => End::Cancelled(Some(it)),
            Ok(Some(Message::Error(it))) => End::Failed(it.into()),
            Ok(Some(message)) => return self.spoken(job, message).into_iter().collect(),
            Err(_) => End::Failed(Failure::new(ErrorCode::Internal, UNREADABLE)),
        };
        self.is_interrupted = false;
        self.end(&job, end)
    }

    /// Ends a job that no worker answers, or that was not published. Nothing for a job that has ended.
    pub fn end(&mut self, job: &JobId, end: End) -> Vec<Event> {
        let Some(at) = self.unfinished.iter().position(|it| it == job) else { return Vec::new() };
        let Some(state) = self.jobs.get_mut(job) else { return Vec::new() };
        state.received.is_complete = matches!(end, End::Complete(_));
        let closing = state.closing(job);
        let is_muted = state.is_muted;
        self.unfinished.remove(at);
        self.finished.push_back(job.clone());
        if self.finished.len() > KEPT
            && let Some(oldest) = self.finished.pop_front()
        {
            self.jobs.remove(&oldest);
        }
        closing.into_iter().chain([Event::Ended { job: job.clone(), end, is_muted }]).collect()
    }

    /// What was heard of a job after `played` of its samples were put out. `None` for a job that is not known any more:
    /// the last 32 that ended are kept.
    pub fn heard(&self, job: &JobId, played: u64) -> Option<Heard> {
        self.jobs.get(job).map(|it| it.received.heard(played))
    }

    fn spoken(&mut self, job: JobId, message: Message) -> Option<Event> {
        let state = self.jobs.get_mut(&job)?;
        match message {
            Message::Begin(begin) => {
                self.is_interrupted = false;
                state.sample_bytes = Encoding::from_name(&begin.encoding).unwrap_or(Encoding::Mulaw).sample_bytes();
                let is_take_over = std::mem::replace(&mut state.has_begun, true);
                Some(Event::Begin { job, begin, is_take_over })
            }
            Message::Segment(segment) => {
                state.received.segments.insert(segment.index, segment.clone());
                (!state.is_muted).then_some(Event::Segment { job, segment })
            }
            Message::Audio(audio) if !self.is_interrupted => state.chunk(job, audio),
            _ => None,
        }
    }
}

impl JobState {
    fn chunk(&mut self, job: JobId, audio: Audio) -> Option<Event> {
        let Audio { pos, data, is_final, .. } = audio;
        let made = &mut self.received.made;
        let n_known = usize::try_from(made.saturating_sub(pos)).unwrap_or(usize::MAX).saturating_mul(self.sample_bytes);
        let samples = data.slice(n_known.min(data.len())..);
        let first = pos.max(*made);
        *made = pos.saturating_add((data.len() / self.sample_bytes) as u64).max(*made);
        if self.is_muted || self.has_final || (samples.is_empty() && !is_final) {
            return None;
        }
        (self.has_chunk, self.has_final) = (true, is_final);
        Some(Event::Audio { job, pos: first, samples, is_final })
    }

    /// An empty final chunk where the listener waits for one.
    fn closing(&mut self, job: &JobId) -> Option<Event> {
        let is_owed = self.has_chunk && !self.has_final;
        self.has_final |= is_owed;
        let pos = self.received.made;
        is_owed.then(|| Event::Audio { job: job.clone(), pos, samples: Bytes::new(), is_final: true })
    }
}

impl From<SpeakError> for Failure {
    fn from(error: SpeakError) -> Self {
        let SpeakError { code, message, field, retryable, .. } = error;
        Self { code: code.as_str().into(), message, field, is_retryable: retryable }
    }
}
