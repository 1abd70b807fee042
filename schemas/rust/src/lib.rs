#![doc = include_str!("../README.md")]

mod errors;
mod heard;
mod hearing;
mod ids;
mod job;
pub mod wire;

pub use errors::{ErrorCode, Failure, FieldError};
pub use heard::Heard;
pub use hearing::{End, Entry, Event, Hearing};
pub use ids::{EntryId, JobId, SessionId};
pub use job::{Encoding, Job};

#[cfg(test)]
mod golden;
