use std::fmt;
use std::time::Duration;

use crate::{Encoding, FieldError, Job, JobId, SessionId};

/// How a relay speaks, and whom it lets in.
///
/// ```
/// use std::time::Duration;
/// use makima_tts_client::RelayOptions;
/// let options = RelayOptions::new().voice("makima").pace_ahead(Duration::from_secs(5)).origin("https://example.org");
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
#[must_use]
pub struct RelayOptions {
    pub(super) voice: Option<String>,
    pub(super) language: Option<String>,
    pub(super) ttl: Option<Duration>,
    pub(super) ahead: Option<Duration>,
    pub(super) pace_ahead: Duration,
    pub(super) max_unfinished: usize,
    pub(super) max_sockets: usize,
    pub(super) token: Option<Token>,
    pub(super) origins: Vec<String>,
}

/// A secret, which is not printed.
#[derive(Clone)]
pub(super) struct Token(pub(super) String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl Default for RelayOptions {
    fn default() -> Self {
        Self {
            voice: None,
            language: None,
            ttl: None,
            ahead: None,
            pace_ahead: Duration::from_secs(10),
            max_unfinished: 10,
            max_sockets: 10_000,
            token: None,
            origins: Vec::new(),
        }
    }
}

impl RelayOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The name of the voice card that speaks. By default the worker decides.
    pub fn voice(mut self, name: impl Into<String>) -> Self {
        self.voice = Some(name.into());
        self
    }

    /// The language, or `Auto`. By default the script of each text decides.
    pub fn language(mut self, name: impl Into<String>) -> Self {
        self.language = Some(name.into());
        self
    }

    /// How long an utterance may wait to begin: 1 ms to 5 minutes. By default the worker decides.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// How far a worker may be ahead of a listener: 3 s to 10 minutes, or zero for no limit. By default the worker
    /// decides.
    pub fn ahead(mut self, ahead: Duration) -> Self {
        self.ahead = Some(ahead);
        self
    }

    /// The most audio that is sent to a client before it can have played it: 10 s by default, zero for no limit.
    pub fn pace_ahead(mut self, ahead: Duration) -> Self {
        self.pace_ahead = ahead;
        self
    }

    /// The most utterances of a socket that wait for their answer: 10 by default.
    pub fn max_unfinished(mut self, utterances: usize) -> Self {
        self.max_unfinished = utterances;
        self
    }

    /// The most sockets at once: 10,000 by default.
    pub fn max_sockets(mut self, sockets: usize) -> Self {
        self.max_sockets = sockets;
        self
    }

    /// Requires this token of each socket.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(Token(token.into()));
        self
    }

    /// Lets in pages of this origin too, for example `https://example.org`; `*` lets in all.
    pub fn origin(mut self, origin: impl Into<String>) -> Self {
        self.origins.push(origin.into());
        self
    }

    /// An error if voice, language, ttl or ahead have a value that no job may have.
    pub fn check(&self) -> Result<(), FieldError> {
        let job = self.dress(Job::new("."), (24_000, Encoding::default()));
        job.fields(&SessionId::new("s")?, &JobId::new("j")?).map(drop)
    }

    pub(super) fn dress(&self, job: Job, (rate, encoding): (u32, Encoding)) -> Job {
        let job = job.sample_rate(rate).encoding(encoding);
        let job = self.voice.iter().fold(job, |job, it| job.voice(it));
        let job = self.language.iter().fold(job, |job, it| job.language(it));
        let job = self.ttl.iter().fold(job, |job, it| job.ttl(*it));
        self.ahead.iter().fold(job, |job, it| job.ahead(*it))
    }

    pub(super) fn pace(&self) -> Option<Duration> {
        (!self.pace_ahead.is_zero()).then_some(self.pace_ahead)
    }
}
