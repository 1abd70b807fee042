//! The messages of a session's stream: msgpack maps, read with [`read`].
//!
//! The fields stand in the contract's order, so a message that is written again has the same bytes. Nil and a missing
//! key both read as `None`.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

macro_rules! message {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[non_exhaustive]
        pub struct $name {
            v: u32,
            r#type: String,
            /// The job.
            pub job_id: String,
            /// The session.
            pub session_id: String,
            $($(#[$field_meta])* pub $field: $type,)*
        }

        impl $name {
            fn kind(&self) -> (u32, &str) {
                (self.v, &self.r#type)
            }
        }
    };
}

message!(
    /// An attempt at a job starts: the first one, or one that continues at the sample `resumed_at`.
    Begin {
        /// The voice card's name.
        voice: String,
        /// The speech model.
        model: String,
        /// Samples a second.
        sample_rate: u32,
        /// `pcm_s16le`, `pcm_f32le`, `mulaw` or `alaw`.
        encoding: String,
        /// Counts from 1.
        attempt: u64,
        /// The sample at which this attempt continues.
        resumed_at: u64,
        /// `codes` or `regenerated`; how a later attempt continues.
        resumed_by: Option<String>,
        /// What the samples depend on beside the job and the voice.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        computed_on: Option<String>,
        /// Whether no sample depends on the change of worker.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resumed_exactly: Option<bool>,
        /// The job's language, or the one that was chosen for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        language: Option<String>,
        /// The attempt's span.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        traceparent: Option<String>,
    }
);

message!(
    /// A part of the text, before its first audio. Of one `index` the later message holds.
    Segment {
        /// Counts from 0.
        index: u32,
        /// The sample at which it begins.
        pos: u64,
        /// Its text, cleaned.
        text: String,
    }
);

message!(
    /// Samples.
    Audio {
        /// The job's chunk counter, from 0.
        seq: u64,
        /// The index of the first sample.
        pos: u64,
        /// The samples, in the job's encoding.
        data: Bytes,
        /// True on exactly the last chunk before `complete`.
        is_final: bool,
    }
);

message!(
    /// The utterance is complete.
    Complete {
        /// `stop`, `length`, `runaway`, `silent`; treat an unknown one like `stop`.
        finish: String,
        /// The number of samples.
        samples: u64,
        /// The number of audio messages.
        chunks: u64,
        /// The duration in ms.
        audio_ms: u64,
        /// From publishing to the first `begin`, in ms.
        queue_ms: u64,
        /// From the first `begin` to the first audio, in ms.
        first_audio_ms: u64,
        /// Silence before the first audible sample, in ms.
        leading_silence_ms: u64,
        /// Time of making over duration.
        rtf: f64,
        /// The seed that was used.
        seed: u64,
        /// The voice card's name.
        voice: String,
        /// The speech model.
        model: String,
        /// What was made into audio, which may be more than what was heard.
        text_spoken: String,
    }
);

message!(
    /// The job was cancelled.
    Cancelled {
        /// The number of samples that were made.
        samples: u64,
        /// What was made into audio.
        text_spoken: Option<String>,
    }
);

message!(
    /// The job failed.
    SpeakError {
        /// The error's code.
        code: String,
        /// Problem and remedy, for people.
        message: String,
        /// The job's field at fault.
        field: Option<String>,
        /// Whether the same job under a new `job_id` may well succeed.
        retryable: bool,
    }
);

/// A message of a session's stream.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Message {
    /// `begin`
    Begin(Begin),
    /// `segment`
    Segment(Segment),
    /// `audio`
    Audio(Audio),
    /// `complete`
    Complete(Complete),
    /// `cancelled`
    Cancelled(Cancelled),
    /// `error`
    Error(SpeakError),
}

/// An entry of a known type whose `data` is no message of this contract. It ends its job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an entry of type {kind} cannot be read: {problem}; use a client and a worker of one version of the contract")]
#[non_exhaustive]
pub struct Unreadable {
    /// The entry's flat field `type`.
    pub kind: String,
    /// What is wrong.
    pub problem: String,
}

/// Reads the `data` of an entry whose flat field `type` is `kind`. `None` for an unknown type: skip the entry.
pub fn read(kind: &str, data: &[u8]) -> Result<Option<Message>, Unreadable> {
    let read = match kind {
        "begin" => map(kind, data, Begin::kind).map(Message::Begin),
        "segment" => map(kind, data, Segment::kind).map(Message::Segment),
        "audio" => map(kind, data, Audio::kind).map(Message::Audio),
        "complete" => map(kind, data, Complete::kind).map(Message::Complete),
        "cancelled" => map(kind, data, Cancelled::kind).map(Message::Cancelled),
        "error" => map(kind, data, SpeakError::kind).map(Message::Error),
        _ => return Ok(None),
    };
    read.map(Some).map_err(|problem| Unreadable { kind: kind.into(), problem })
}

fn map<T: DeserializeOwned>(kind: &str, data: &[u8], own: fn(&T) -> (u32, &str)) -> Result<T, String> {
    let mut rest = data;
    let message = rmp_serde::from_read(&mut rest).map_err(|problem| problem.to_string())?;
    match own(&message) {
        _ if !rest.is_empty() => Err(format!("{} bytes follow its map", rest.len())),
        (1, own) if own == kind => Ok(message),
        (v, own) => Err(format!("it holds a {own} of version {v}, and this client reads version 1")),
    }
}

impl Message {
    /// The message as msgpack: a map in the contract's order.
    pub fn to_bytes(&self) -> Result<Vec<u8>, rmp_serde::encode::Error> {
        match self {
            Self::Begin(it) => rmp_serde::to_vec_named(it),
            Self::Segment(it) => rmp_serde::to_vec_named(it),
            Self::Audio(it) => rmp_serde::to_vec_named(it),
            Self::Complete(it) => rmp_serde::to_vec_named(it),
            Self::Cancelled(it) => rmp_serde::to_vec_named(it),
            Self::Error(it) => rmp_serde::to_vec_named(it),
        }
    }
}
