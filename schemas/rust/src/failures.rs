//! The errors of the client. None of them contains a URL or a password.

use crate::FieldError;
use std::borrow::Cow;
use thiserror::Error;

/// A client that cannot be built as it is configured.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{problem}; {remedy}")]
pub struct ConfigError {
    problem: Cow<'static, str>,
    remedy: Cow<'static, str>,
}

impl ConfigError {
    pub(crate) const fn fixed(problem: &'static str, remedy: &'static str) -> Self {
        Self { problem: Cow::Borrowed(problem), remedy: Cow::Borrowed(remedy) }
    }

    pub(crate) fn new(problem: impl Into<Cow<'static, str>>, remedy: impl Into<Cow<'static, str>>) -> Self {
        Self { problem: problem.into(), remedy: remedy.into() }
    }
}

/// Redis did not carry out a command in time, or refused it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{message}")]
pub struct Unavailable {
    message: String,
    is_refused: bool,
}

impl Unavailable {
    pub(crate) fn away(last_error: &str) -> Self {
        let why = if last_error.is_empty() { "no reply in time" } else { last_error };
        let remedy = "check that Redis runs and that the client's address is right, then repeat";
        Self { message: format!("Redis cannot be reached ({why}); {remedy}"), is_refused: false }
    }

    pub(crate) fn refused(reply: &str) -> Self {
        let remedy = "give the user its rights (NOPERM), or Redis more memory (OOM)";
        Self { message: format!("Redis refused a command ({reply}); {remedy}"), is_refused: true }
    }

    pub(crate) fn closed() -> Self {
        Self { message: "the client or the session is closed; open a new one".into(), is_refused: true }
    }

    /// Whether the same call may well succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        !self.is_refused
    }
}

/// A job that was not published.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum SpeakFailed {
    /// A field of the job is outside of its range.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// Redis was away for the client's deadline, or refused the job.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The text is too long. The part before was spoken.
    #[error(transparent)]
    TextFull(#[from] TextFull),
    /// A stop came before the job was published.
    #[error("the job was stopped before it was published; submit it again to speak it")]
    Stopped,
}

impl SpeakFailed {
    /// Whether the same job may well succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(problem) if problem.is_retryable())
    }
}

/// A text that is written while it is spoken has more than 65,536 bytes.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a text takes at most 65,536 bytes; end this one and open another")]
pub struct TextFull;
