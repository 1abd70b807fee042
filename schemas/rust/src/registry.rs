//! The open sessions of a client, by the key of their stream, which is the channel of their hints too.

use crate::link::{Listener, lock};
use crate::shared::Shared;
use redis::{PushInfo, PushKind, Value};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

#[derive(Default)]
pub(crate) struct Registry {
    sessions: Mutex<HashMap<Arc<str>, Weak<Shared>>>,
    hints: AtomicU64,
}

impl Registry {
    pub fn add(&self, session: &Arc<Shared>) {
        lock(&self.sessions).insert(session.audio.clone(), Arc::downgrade(session));
    }

    /// Removes a session, unless another one took its place.
    pub fn remove(&self, session: &Shared) {
        let mut sessions = lock(&self.sessions);
        if sessions.get(&session.audio).is_some_and(|it| std::ptr::eq(it.as_ptr(), session)) {
            sessions.remove(&session.audio);
        }
    }

    pub fn all(&self) -> Vec<Arc<Shared>> {
        lock(&self.sessions).values().filter_map(Weak::upgrade).collect()
    }

    pub fn hints(&self) -> u64 {
        self.hints.load(Ordering::Relaxed)
    }
}

impl Listener for Registry {
    fn pushed(&self, push: &PushInfo) {
        let (PushKind::Message | PushKind::SMessage, Some(Value::BulkString(channel))) =
            (&push.kind, push.data.first())
        else {
            return;
        };
        let session = std::str::from_utf8(channel).ok().and_then(|it| lock(&self.sessions).get(it)?.upgrade());
        if let Some(session) = session {
            self.hints.fetch_add(1, Ordering::Relaxed);
            session.hinted();
        }
    }

    fn reconnected(&self) {
        for session in self.all() {
            session.reconnected();
        }
    }
}
