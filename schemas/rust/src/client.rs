//! The client: its settings, its links to Redis and its sessions.

use crate::address;
use crate::failures::{ConfigError, Unavailable};
use crate::link::Link;
use crate::plane::Plane;
use crate::reader::OwnConnections;
use crate::registry::Registry;
use crate::shared::Shared;
use crate::{Events, Resume, Session, SessionId};
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::runtime::Handle;

/// How sessions are read that have an unfinished job. Idle sessions are not read at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Readers {
    /// So many sessions that speak at a time have a blocking connection each. All others share one connection and are
    /// read on the workers' hints, and once a second. On a Cluster all are read so.
    pub own_connections: usize,
}

impl Default for Readers {
    fn default() -> Self {
        Self { own_connections: 64 }
    }
}

impl Readers {
    /// At most `n` blocking connections; 0 for hints alone.
    #[must_use]
    pub fn own_connections(n: usize) -> Self {
        Self { own_connections: n }
    }
}

/// Figures of a client since it was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Open sessions.
    pub sessions: usize,
    /// Jobs that were submitted and have not ended.
    pub unfinished: usize,
    /// Jobs that Redis took.
    pub published: u64,
    /// Jobs that were published again after a new connection.
    pub republished: u64,
    /// Connections that were made again after a loss.
    pub reconnects: u64,
    /// Jobs that ended without a worker's answer.
    pub gave_up: u64,
    /// Reads of a stream without a hint.
    pub looks: u64,
    /// Hints that arrived.
    pub hints: u64,
    /// Connections to Redis that are open now; one to a Cluster counts once.
    pub connections: usize,
}

#[derive(Default)]
pub(crate) struct Counters {
    pub unfinished: AtomicUsize,
    pub published: AtomicU64,
    pub republished: AtomicU64,
    pub gave_up: AtomicU64,
    pub looks: AtomicU64,
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// The settings of a [`Client`].
#[derive(Clone)]
#[must_use]
pub struct ClientBuilder {
    url: String,
    sessions: Option<String>,
    login: Option<(Option<String>, Option<String>)>,
    password_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    settings: Settings,
}

#[derive(Clone)]
pub(crate) struct Settings {
    pub prefix: String,
    pub readers: Readers,
    pub deadline: Duration,
    pub queue: usize,
    pub is_trimmed: bool,
    pub text_wait: Duration,
    pub grace: Duration,
}

impl ClientBuilder {
    /// The URL of the Redis of the audio streams, where it is another one than the jobs'.
    pub fn sessions(mut self, url: impl Into<String>) -> Self {
        self.sessions = Some(url.into());
        self
    }

    /// User and password for both. They win over those of the URLs. An empty user is the server's default user.
    pub fn credentials(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        let given = |it: String| Some(it).filter(|it| !it.is_empty());
        self.login = Some((given(user.into()), given(password.into())));
        self
    }

    /// A file with the password. It wins over other passwords and is read for each connection.
    pub fn password_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.password_file = Some(path.into());
        self
    }

    /// A PEM file with the authority of the servers' certificates, in place of the system's; feature `tls`. It is read
    /// for each connection.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(path.into());
        self
    }

    /// The first part of all keys, as the workers have it; `makima` by default.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.settings.prefix = prefix.into();
        self
    }

    /// How sessions are read.
    pub fn readers(mut self, readers: Readers) -> Self {
        self.settings.readers = readers;
        self
    }

    /// How long a job may wait for Redis until it ends as `unavailable`; 5 s by default.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.settings.deadline = deadline;
        self
    }

    /// About so many events of a session wait for [`Events`](crate::Events); a session with more is not read. 8 by default.
    pub fn queue(mut self, n_events: usize) -> Self {
        self.settings.queue = n_events.max(1);
        self
    }

    /// Whether a stream is trimmed behind each end that was handed out; true by default.
    pub fn trim(mut self, is_trimmed: bool) -> Self {
        self.settings.is_trimmed = is_trimmed;
        self
    }

    /// The workers' `MAKIMA_TTS_TEXT_WAIT_S`; 30 s by default.
    pub fn text_wait(mut self, text_wait: Duration) -> Self {
        self.settings.text_wait = text_wait;
        self
    }

    /// The room in the times after which a silent job is given up and an unread stream is renewed: 15 s, for tests less.
    #[doc(hidden)]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.settings.grace = grace;
        self
    }

    /// A client, within a tokio runtime. It connects when it is first used, and again for ever.
    pub fn build(self) -> Result<Client, ConfigError> {
        let Ok(handle) = Handle::try_current() else {
            return Err(ConfigError::new("there is no tokio runtime here", "build the client within one"));
        };
        let jobs_plane = self.plane(&self.url)?;
        let other_plane = self.sessions.as_ref().filter(|it| **it != self.url).map(|it| self.plane(it)).transpose()?;
        let sessions_plane = other_plane.clone().unwrap_or_else(|| jobs_plane.clone());
        let registry = Arc::new(Registry::default());
        let listener = Arc::downgrade(&registry);
        let link = |plane: &Plane| Link::new(plane.clone(), handle.clone(), listener.clone());
        let jobs = link(&jobs_plane);
        let n_own = if sessions_plane.is_cluster() { 0 } else { self.settings.readers.own_connections };
        Ok(Client(Arc::new(Inner {
            sessions: other_plane.as_ref().map_or_else(|| jobs.clone(), link),
            hints: link(&sessions_plane),
            own: OwnConnections::new(sessions_plane, n_own),
            jobs,
            settings: self.settings,
            handle,
            registry,
            counters: Counters::default(),
            is_watched: AtomicBool::new(false),
        })))
    }

    fn plane(&self, url: &str) -> Result<Plane, ConfigError> {
        let plane = Plane {
            address: address::parse(url)?,
            login: self.login.clone(),
            password_file: self.password_file.clone(),
            ca_file: self.ca_file.clone(),
        };
        plane.check()?;
        Ok(plane)
    }
}

/// A client of makima-tts. Its clones share their connections and sessions.
#[derive(Clone)]
pub struct Client(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub settings: Settings,
    pub handle: Handle,
    pub jobs: Link,
    pub sessions: Link,
    pub hints: Link,
    pub own: OwnConnections,
    pub registry: Arc<Registry>,
    pub counters: Counters,
    is_watched: AtomicBool,
}

impl Client {
    /// Settings with the worker's URL: `redis://`, `rediss://`, `unix://`, `redis+sentinel://` or `redis+cluster://`.
    pub fn builder(url: impl Into<String>) -> ClientBuilder {
        let settings = Settings {
            prefix: "makima".into(),
            readers: Readers::default(),
            deadline: Duration::from_secs(5),
            queue: 8,
            is_trimmed: true,
            text_wait: Duration::from_secs(30),
            grace: Duration::from_secs(15),
        };
        let url = url.into();
        ClientBuilder { url, sessions: None, login: None, password_file: None, ca_file: None, settings }
    }

    /// A new session. Nothing goes to Redis before its first job. One session ID is open once.
    pub fn open(&self, id: SessionId) -> (Session, Events) {
        self.resume(Resume::fresh(id))
    }

    /// A session that continues where another one was, possibly of a program that ended.
    pub fn resume(&self, at: Resume) -> (Session, Events) {
        self.0.watch();
        Shared::open(self.0.clone(), at)
    }

    /// The client's figures.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let Inner { counters, jobs, sessions, hints, .. } = &*self.0;
        let links = if jobs.is_same(sessions) { vec![jobs, hints] } else { vec![jobs, sessions, hints] };
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            sessions: self.0.registry.all().len(),
            unfinished: counters.unfinished.load(Ordering::Relaxed),
            published: load(&counters.published),
            republished: load(&counters.republished),
            reconnects: links.iter().map(|it| it.reconnects()).sum(),
            gave_up: load(&counters.gave_up),
            looks: load(&counters.looks),
            hints: self.0.registry.hints(),
            connections: links.iter().filter(|it| it.now().is_some()).count() + self.0.own.open(),
        }
    }

    /// Whether Redis answers, for both planes.
    pub async fn ping(&self) -> Result<(), Unavailable> {
        let (jobs, within) = (self.0.jobs_key(), self.0.settings.deadline);
        self.0.jobs.ping(&jobs, within).await?;
        if self.0.jobs.is_same(&self.0.sessions) { Ok(()) } else { self.0.sessions.ping(&jobs, within).await }
    }

    /// Leaves all sessions, waits for that no longer than the deadline, and disconnects.
    pub async fn close(&self) {
        let leaving: Vec<_> = self.0.registry.all().iter().filter_map(|it| it.leave()).collect();
        let all = futures_util::future::join_all(leaving);
        let _ = tokio::time::timeout(self.0.settings.deadline, all).await;
        for link in [&self.0.jobs, &self.0.sessions, &self.0.hints] {
            link.close();
        }
        self.0.own.close();
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.stats()).finish()
    }
}

impl Inner {
    pub fn jobs_key(&self) -> String {
        format!("{}:{{speak}}:jobs", self.settings.prefix)
    }

    pub fn key(&self, session: &SessionId, what: &str) -> String {
        format!("{}:{{{session}}}:{what}", self.settings.prefix)
    }

    /// Starts the task that notices a Redis which was lost: a PING each second while anything is unfinished.
    fn watch(self: &Arc<Self>) {
        if !self.is_watched.swap(true, Ordering::Relaxed) {
            self.handle.spawn(watch(Arc::downgrade(self)));
        }
    }
}

async fn watch(client: Weak<Inner>) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let Some(client) = client.upgrade() else { return };
        if client.counters.unfinished.load(Ordering::Relaxed) == 0 {
            continue;
        }
        let key = client.jobs_key();
        let mut links = vec![&client.jobs];
        links.extend(Some(&client.sessions).filter(|it| !it.is_same(&client.jobs)));
        for link in links.into_iter().filter(|it| it.now().is_some()) {
            let _ = link.ping(&key, Duration::from_secs(5)).await; // after an error the link connects again
        }
    }
}
