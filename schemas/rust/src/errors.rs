use std::fmt;

/// A value that the contract does not allow in a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
#[non_exhaustive]
pub struct FieldError {
    /// The field's name.
    pub field: &'static str,
    /// What is wrong, and what to do.
    pub problem: String,
}

impl FieldError {
    pub(crate) fn new(field: &'static str, problem: impl Into<String>) -> Self {
        Self { field, problem: problem.into() }
    }
}

macro_rules! codes {
    ($($name:ident $code:literal $is_retryable:literal $doc:literal,)*) => {
        /// Why an utterance failed or a message was refused. Treat an unknown code like `internal`.
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $(#[doc = $doc] $name,)*
            /// A code that this version does not know.
            Other(String),
        }

        impl ErrorCode {
            /// The code on the wire.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$name => $code,)*
                    Self::Other(code) => code,
                }
            }

            /// Whether the same job under a new `job_id` may well succeed. An `error` message states it too.
            pub fn is_retryable(&self) -> bool {
                match self {
                    $(Self::$name => $is_retryable,)*
                    Self::Other(_) => false,
                }
            }
        }

        impl From<&str> for ErrorCode {
            fn from(code: &str) -> Self {
                match code {
                    $($code => Self::$name,)*
                    _ => Self::Other(code.into()),
                }
            }
        }

        #[cfg(test)]
        pub(crate) const CODES: &[(&str, bool)] = &[$(($code, $is_retryable)),*];
    };
}

codes! {
    UnknownVoice "unknown_voice" false "No voice card has the job's voice.",
    VoiceUnavailable "voice_unavailable" false "The engine cannot use the voice's recording.",
    TextEmpty "text_empty" false "The text is missing, empty or white space alone.",
    TextTooLong "text_too_long" false "The text is longer than the worker's limit.",
    TextStalled "text_stalled" true "A text that is being written got neither a piece nor its end for too long.",
    UnsupportedFormat "unsupported_format" false "The sample rate or the encoding is not in the contract.",
    InvalidField "invalid_field" false "Another field has a bad value.",
    InvalidVersion "invalid_version" false "The workers do not support this version of the contract.",
    Expired "expired" true "No worker began the job within its time to live.",
    NoAudio "no_audio" true "Every sample that was made is silent.",
    WorkerLost "worker_lost" true "Every attempt ended because its worker stopped.",
    EngineFailed "engine_failed" true "The speech engine failed at every attempt.",
    Internal "internal" true "The worker failed in another way, or an entry cannot be read.",
    NotStarted "not_started" false "A relay's code: a message came before `start`.",
    AlreadyStarted "already_started" false "A relay's code: a second `start`.",
    BadMessage "bad_message" false "A relay's code: a message that cannot be read.",
    Unavailable "unavailable" true "A relay's code: the job could not be published.",
    NoAnswer "no_answer" true "A relay's code: no worker gave any sign for too long.",
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How an utterance failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
#[non_exhaustive]
pub struct Failure {
    /// The kind of failure.
    pub code: ErrorCode,
    /// Problem and remedy, for people.
    pub message: String,
    /// The job's field at fault.
    pub field: Option<String>,
    /// Whether the same job under a new `job_id` may well succeed.
    pub is_retryable: bool,
}

impl Failure {
    /// A failure that the client side found, not the worker.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let is_retryable = code.is_retryable();
        Self { code, message: message.into(), field: None, is_retryable }
    }
}
