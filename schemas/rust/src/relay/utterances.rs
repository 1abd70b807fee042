//! The utterances of one socket: a session's events in, replies out.

use std::collections::VecDeque;

use bytes::Bytes;

use super::reply::Reply;
use crate::{Encoding, End, Event, JobId};

/// Answered utterances that are kept, because their audio may still be played.
const KEPT: usize = 32;

#[derive(Debug)]
struct Utterance {
    number: u64,
    job: JobId,
    /// Samples that were sent since `start` or the last stop.
    samples: u64,
    has_chunk: bool,
    has_final: bool,
    is_muted: bool,
    is_answered: bool,
}

impl Utterance {
    /// The empty final chunk that the client waits for.
    fn closing(&mut self) -> Option<Reply> {
        let is_owed = self.has_chunk && !self.has_final;
        self.has_final |= is_owed;
        is_owed.then(|| Reply::AudioChunk { data: Bytes::new(), is_final: true })
    }
}

/// The utterances since `start`, in their order.
#[derive(Debug)]
pub(super) struct Utterances {
    pub sample_bytes: usize,
    is_binary: bool,
    has_segments: bool,
    n_numbered: u64,
    known: VecDeque<Utterance>,
    /// Samples of utterances that are not kept any more.
    n_forgotten: u64,
}

impl Utterances {
    pub fn new(encoding: Encoding, is_binary: bool, has_segments: bool) -> Self {
        let sample_bytes = encoding.sample_bytes();
        Self { sample_bytes, is_binary, has_segments, n_numbered: 0, known: VecDeque::new(), n_forgotten: 0 }
    }

    /// The number of the next utterance, also of one that is then refused.
    pub fn number(&mut self) -> u64 {
        self.n_numbered += 1;
        self.n_numbered
    }

    pub fn published(&mut self, number: u64, job: JobId) {
        let (has_chunk, has_final, is_muted, is_answered) = (false, false, false, false);
        self.known.push_back(Utterance { number, job, samples: 0, has_chunk, has_final, is_muted, is_answered });
    }

    pub fn n_unanswered(&self) -> usize {
        self.known.iter().filter(|it| !it.is_answered).count()
    }

    /// Whether audio of this job is sent.
    pub fn is_heard(&self, job: &JobId) -> bool {
        self.known.iter().any(|it| it.job == *job && !it.is_answered && !it.is_muted)
    }

    /// What the client receives for an event.
    pub fn take(&mut self, event: Event) -> Vec<Reply> {
        match event {
            Event::Begin { .. } => Vec::new(),
            Event::Segment { job, segment } if self.has_segments => {
                let found = self.find(&job).filter(|it| !it.is_muted);
                let reply = |it: &mut Utterance| Reply::Segment {
                    utterance: it.number,
                    index: segment.index,
                    pos: segment.pos,
                    text: segment.text,
                };
                found.map(reply).into_iter().collect()
            }
            Event::Segment { .. } => Vec::new(),
            Event::Audio { job, samples, is_final, .. } => self.audio(&job, samples, is_final),
            Event::Ended { job, end, .. } => self.ended(&job, end),
        }
    }

    /// The same for audio.
    pub fn audio(&mut self, job: &JobId, samples: Bytes, is_final: bool) -> Vec<Reply> {
        let (is_binary, n) = (self.is_binary, samples.len() / self.sample_bytes);
        let Some(it) = self.find(job).filter(|it| !it.is_muted && !it.has_final) else { return Vec::new() };
        (it.has_chunk, it.has_final) = (true, is_final);
        it.samples += n as u64;
        if !is_binary {
            return vec![Reply::AudioChunk { data: samples, is_final }];
        }
        let frame = (!samples.is_empty()).then_some(Reply::Samples(samples));
        let last = is_final.then_some(Reply::AudioChunk { data: Bytes::new(), is_final });
        frame.into_iter().chain(last).collect()
    }

    /// Mutes all utterances so far. Returns the final chunks that are owed.
    ///
    /// The client drops what it has not played, and counts what it plays from 0 again.
    pub fn stop(&mut self) -> Vec<Reply> {
        self.n_forgotten = 0;
        self.known.retain(|it| !it.is_answered);
        let mute = |it: &mut Utterance| {
            (it.is_muted, it.samples) = (true, 0);
            it.closing()
        };
        self.known.iter_mut().filter_map(mute).collect()
    }

    /// The last utterance of which something was played, when `n` samples were played since `start` or the last stop:
    /// its number, its job and how many of its samples were played. None as well if it is not kept any more.
    pub fn played(&self, n: u64) -> Option<(u64, &JobId, u64)> {
        let mut n_left = n.saturating_sub(self.n_forgotten);
        let mut last = None;
        for it in self.known.iter().filter(|it| it.samples > 0) {
            if n_left == 0 {
                break;
            }
            last = Some((it.number, &it.job, it.samples.min(n_left)));
            n_left = n_left.saturating_sub(it.samples);
        }
        last
    }

    fn find(&mut self, job: &JobId) -> Option<&mut Utterance> {
        self.known.iter_mut().find(|it| it.job == *job && !it.is_answered)
    }

    fn ended(&mut self, job: &JobId, end: End) -> Vec<Reply> {
        let Some(it) = self.find(job) else { return Vec::new() };
        it.is_answered = true;
        let answer = match end {
            End::Complete(_) => Reply::Complete { cancelled: it.is_muted },
            End::Cancelled(_) => Reply::Complete { cancelled: true },
            End::Failed(failure) => Reply::error(failure.code, failure.message),
        };
        let replies = it.closing().into_iter().chain([answer]).collect();
        self.forget();
        replies
    }

    fn forget(&mut self) {
        let n_answered = self.known.len() - self.n_unanswered();
        for _ in KEPT..n_answered {
            let oldest = self.known.iter().position(|it| it.is_answered);
            self.n_forgotten += oldest.and_then(|at| self.known.remove(at)).map_or(0, |it| it.samples);
        }
    }
}

#[cfg(test)]
#[path = "golden.rs"]
mod golden;
