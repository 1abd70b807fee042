//! The handle of one session.

use crate::failures::{SpeakFailed, Unavailable};
use crate::link::lock;
use crate::shared::Shared;
use crate::state::Text;
use crate::{FieldError, Heard, Job, JobId, Resume, SessionId, TextWriter};
use futures_core::Stream;
use futures_util::StreamExt;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::oneshot;

/// One client's conversation. Its jobs are spoken in their order. Its clones are the same session; when all of them and
/// [`Events`](crate::Events) are dropped, the session is left in the background.
pub struct Session(pub(crate) Arc<Shared>);

impl Session {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        shared.add_handle();
        Self(shared)
    }

    /// The session's ID.
    #[must_use]
    pub fn id(&self) -> &SessionId {
        &self.0.id
    }

    /// Publishes a job without waiting for Redis. A job that Redis does not take within the client's deadline, or
    /// refuses, ends with the code `unavailable`.
    pub fn submit(&self, job: Job) -> Result<JobId, FieldError> {
        self.0.publish(&job, None, None)
    }

    /// Publishes a job and waits until Redis has it. A job that fails here gives an event `Ended` too.
    pub async fn speak(&self, job: Job) -> Result<JobId, SpeakFailed> {
        self.published(&job, None).await
    }

    /// Publishes a job of [`Job::open`], whose text is written with what this returns.
    pub fn open_text(&self, job: Job) -> Result<TextWriter, FieldError> {
        let id = self.0.publish(&job, Some(Text::default()), None)?;
        Ok(TextWriter::new(self.clone(), id))
    }

    /// Publishes a job of [`Job::open`] and writes the pieces of its text as they come. Returns after the last one.
    pub async fn speak_stream(&self, job: Job, text: impl Stream<Item = String>) -> Result<JobId, SpeakFailed> {
        let id = self.published(&job, Some(Text::default())).await?;
        let writer = TextWriter::new(self.clone(), id.clone());
        let mut text = pin!(text);
        while let Some(piece) = text.next().await.filter(|_| writer.is_open()) {
            writer.write(&piece)?;
        }
        Ok(id)
    }

    async fn published(&self, job: &Job, text: Option<Text>) -> Result<JobId, SpeakFailed> {
        let (waiter, published) = oneshot::channel();
        let id = self.0.publish(job, text, Some(waiter))?;
        published.await.unwrap_or_else(|_| Err(Unavailable::closed().into()))?;
        Ok(id)
    }

    /// Silence at once: when this returns, [`Events`](crate::Events) gives no more audio of the jobs submitted so far but an empty final
    /// chunk where one is owed. Cancels them in the background, and returns those whose end is still to come.
    pub fn stop(&self) -> Vec<JobId> {
        self.0.stop()
    }

    /// Stops, and cancels all jobs of this session ID that any program has published until now.
    pub async fn cancel_all(&self) -> Result<(), Unavailable> {
        self.within(self.0.cancel_all()).await
    }

    /// What was heard of a job after `played` of its samples were put out; None for a job that is not known any more.
    #[must_use]
    pub fn heard(&self, job: &JobId, played: u64) -> Option<Heard> {
        lock(&self.0.state).hearing.heard(job, played)
    }

    /// The jobs that were submitted and have not ended, in their order.
    #[must_use]
    pub fn unfinished(&self) -> Vec<JobId> {
        lock(&self.0.state).hearing.unfinished().to_vec()
    }

    /// Where [`Events`](crate::Events) is now, to continue there with [`Client::resume`](crate::Client::resume).
    #[must_use]
    pub fn resume_point(&self) -> Resume {
        Resume::of(&self.0.id, &lock(&self.0.state))
    }

    /// Cancels what is unfinished and lets the stream expire soon. [`Events`](crate::Events) ends.
    pub async fn leave(self) -> Result<(), Unavailable> {
        match self.0.leave() {
            Some(left) => self.within(left).await,
            None => Ok(()),
        }
    }

    async fn within(&self, done: oneshot::Receiver<Result<(), Unavailable>>) -> Result<(), Unavailable> {
        match tokio::time::timeout(self.0.client.settings.deadline, done).await {
            Ok(result) => result.unwrap_or_else(|_| Err(Unavailable::closed())),
            Err(_) => Err(self.0.client.sessions.away()),
        }
    }
}

impl Clone for Session {
    fn clone(&self) -> Self {
        Self::new(self.0.clone())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.0.drop_handle();
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Session").field(&self.0.id).finish()
    }
}
