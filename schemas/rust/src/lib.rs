#![doc = include_str!("../README.md")]

#[cfg(feature = "redis")]
#[macro_use]
mod log;

mod errors;
mod heard;
mod hearing;
mod ids;
mod job;
pub mod wire;

#[cfg(feature = "redis")]
mod address;
#[cfg(feature = "redis")]
mod client;
#[cfg(feature = "redis")]
mod commands;
#[cfg(feature = "redis")]
mod events;
#[cfg(feature = "redis")]
mod failures;
#[cfg(feature = "redis")]
mod link;
#[cfg(feature = "redis")]
mod outbox;
#[cfg(feature = "redis")]
mod plane;
#[cfg(feature = "redis")]
mod reader;
#[cfg(feature = "redis")]
mod registry;
#[cfg(feature = "axum")]
mod relay;
#[cfg(feature = "redis")]
mod resume;
#[cfg(feature = "redis")]
mod session;
#[cfg(feature = "redis")]
mod shared;
#[cfg(feature = "redis")]
mod state;
#[cfg(feature = "redis")]
mod text;
#[cfg(feature = "redis")]
mod trace;

pub use errors::{ErrorCode, Failure, FieldError};
pub use heard::Heard;
pub use hearing::{End, Entry, Event, Hearing};
pub use ids::{EntryId, JobId, SessionId};
pub use job::{Encoding, Job};

#[cfg(feature = "redis")]
pub use client::{Client, ClientBuilder, Readers, Stats};
#[cfg(feature = "redis")]
pub use events::Events;
#[cfg(feature = "redis")]
pub use failures::{ConfigError, SpeakFailed, TextFull, Unavailable};
#[cfg(feature = "axum")]
pub use relay::{Relay, RelayOptions, speak_route};
#[cfg(feature = "redis")]
pub use resume::Resume;
#[cfg(feature = "redis")]
pub use session::Session;
#[cfg(feature = "redis")]
pub use text::TextWriter;

#[cfg(test)]
mod golden;
