//! Where a session is, to continue there.

use crate::state::{Fields, Published, State, Text};
use crate::{EntryId, FieldError, Hearing, JobId, SessionId};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// What a session has handed out, and the jobs that it still expects. It can be serialized. The events behind it come
/// once more after [`Client::resume`](crate::Client::resume), and unfinished jobs are published again, which speaks none
/// of them twice. A text that was being written is ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct Resume {
    session: SessionId,
    cursor: EntryId,
    newest: EntryId,
    n_jobs: u64,
    jobs: Vec<(JobId, RawJob)>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Raw {
    session_id: String,
    cursor: String,
    newest: String,
    n_jobs: u64,
    jobs: Vec<(String, RawJob)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct RawJob {
    fields: Fields,
    ttl_ms: u64,
    entries: Option<(String, String)>,
    is_stopped: bool,
    handed: u64,
    has_final: bool,
    pieces: Option<Fields>,
}

impl Resume {
    /// A session of which nothing was read and nothing was published.
    #[must_use]
    pub fn fresh(session: SessionId) -> Self {
        Self { session, cursor: EntryId::default(), newest: EntryId::default(), n_jobs: 0, jobs: Vec::new() }
    }

    /// The session's ID.
    #[must_use]
    pub fn session_id(&self) -> &SessionId {
        &self.session
    }

    /// The last entry of the stream that was handed out.
    #[must_use]
    pub fn cursor(&self) -> EntryId {
        self.cursor
    }

    pub(crate) fn of(session: &SessionId, state: &State) -> Self {
        let jobs = state.jobs.iter().map(|it| (it.id.clone(), RawJob::of(it))).collect();
        let State { consumed, newest, n_jobs, .. } = *state;
        Self { session: session.clone(), cursor: consumed, newest, n_jobs, jobs }
    }

    pub(crate) fn into_state(self, deadline: Duration) -> (SessionId, State) {
        let mut state = State {
            hearing: Hearing::at(self.cursor),
            consumed: self.cursor,
            newest: self.newest,
            n_jobs: self.n_jobs,
            has_events: true,
            has_handles: true,
            ..State::default()
        };
        let (stopped, others): (Vec<_>, Vec<_>) = self.jobs.into_iter().partition(|(_, it)| it.is_stopped);
        for jobs in [stopped, others] {
            state.hearing.stop(); // before the others
            for (id, job) in jobs {
                let job = job.published(id, Instant::now() + deadline);
                state.hearing.resumed(&job.id, job.encoding(), job.handed, job.has_final);
                state.jobs.push(job);
            }
        }
        state.begin_again();
        (self.session, state)
    }
}

impl RawJob {
    fn of(job: &Published) -> Self {
        Self {
            fields: job.fields.clone(),
            ttl_ms: u64::try_from(job.ttl.as_millis()).unwrap_or(u64::MAX),
            entries: job.entries.map(|(first, last)| (first.to_string(), last.to_string())),
            is_stopped: job.is_stopped,
            handed: job.handed,
            has_final: job.has_final,
            pieces: job.text.as_ref().map(|it| it.pieces.clone()),
        }
    }

    fn published(self, id: JobId, deadline: Instant) -> Published {
        let text = self.pieces.map(|pieces| {
            let mut text = Text { n_bytes: pieces.iter().map(|(_, it)| it.len()).sum(), pieces, ..Text::default() };
            text.is_complete = text.pieces.last().is_some_and(|(kind, _)| kind == "end");
            text.add("end", "1"); // nobody writes it any more
            text
        });
        let parsed = |(first, last): (String, String)| Some((first.parse().ok()?, last.parse().ok()?));
        let entries = self.entries.and_then(parsed);
        Published {
            id,
            fields: self.fields,
            ttl: Duration::from_millis(self.ttl_ms),
            published_at: entries.map(|_| Instant::now()),
            entries,
            deadline,
            is_attempted: true,
            is_stopped: self.is_stopped,
            has_ended: false,
            handed: self.handed,
            has_final: self.has_final,
            text,
            waiter: None,
        }
    }
}

impl From<Resume> for Raw {
    fn from(at: Resume) -> Self {
        let jobs = at.jobs.into_iter().map(|(id, job)| (id.to_string(), job)).collect();
        let (cursor, newest) = (at.cursor.to_string(), at.newest.to_string());
        Self { session_id: at.session.to_string(), cursor, newest, n_jobs: at.n_jobs, jobs }
    }
}

impl TryFrom<Raw> for Resume {
    type Error = FieldError;

    fn try_from(raw: Raw) -> Result<Self, FieldError> {
        let jobs = raw.jobs.into_iter().map(|(id, job)| Ok((JobId::new(id)?, job)));
        Ok(Self {
            jobs: jobs.collect::<Result<_, FieldError>>()?,
            session: SessionId::new(raw.session_id)?,
            cursor: raw.cursor.parse()?,
            newest: raw.newest.parse()?,
            n_jobs: raw.n_jobs,
        })
    }
}
