//! The stream of a session's events.

use crate::Event;
use crate::link::lock;
use crate::shared::Shared;
use futures_core::Stream;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// The events of a session, in their order. While it is not polled the audio waits in Redis. It ends after the session
/// was left, and when no [`Session`](crate::Session) is left and all jobs have ended.
#[must_use = "a session whose events are not taken is not read"]
pub struct Events(Arc<Shared>);

impl Events {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// The next event; None at the end.
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        let mut state = lock(&self.0.state);
        if let Some(event) = self.0.take(&mut state) {
            return Poll::Ready(Some(event));
        }
        if state.is_left || (!state.has_handles && state.hearing.unfinished().is_empty()) {
            return Poll::Ready(None);
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.has_events = false;
        let has_handles = state.has_handles;
        drop(state);
        if !has_handles {
            drop(self.0.leave());
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Events").field(&self.0.id).finish()
    }
}
