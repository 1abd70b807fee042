//! A text that is written while it is spoken.

use crate::failures::TextFull;
use crate::{JobId, Session};

/// Writes the text of a job while it is spoken. Nothing here waits for Redis. Dropped, it ends the text.
#[derive(Debug)]
pub struct TextWriter {
    session: Session,
    job: JobId,
}

impl TextWriter {
    pub(crate) fn new(session: Session, job: JobId) -> Self {
        Self { session, job }
    }

    /// The job.
    #[must_use]
    pub fn job_id(&self) -> &JobId {
        &self.job
    }

    /// Continues the text. Pieces may be cut anywhere; one for a job that has ended or was stopped is dropped.
    pub fn write(&self, piece: &str) -> Result<(), TextFull> {
        let is_written = piece.is_empty() || self.session.0.write(&self.job, "text", piece);
        is_written.then_some(()).ok_or(TextFull)
    }

    /// Speaks what is there now, whether or not a sentence ends.
    pub fn flush(&self) {
        self.session.0.write(&self.job, "flush", "1");
    }

    /// Ends the text.
    pub fn end(self) {}

    /// Whether pieces are still spoken: the job has not ended and was not stopped.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.session.0.is_open(&self.job)
    }
}

impl Drop for TextWriter {
    fn drop(&mut self) {
        self.session.0.write(&self.job, "end", "1");
    }
}
