use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::FieldError;

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $field:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and keeps an ID: 1 to 128 of `A-Za-z0-9._:-`.
            pub fn new(id: impl AsRef<str>) -> Result<Self, FieldError> {
                let id = id.as_ref();
                let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
                if (1..=128).contains(&id.len()) && id.bytes().all(is_allowed) {
                    return Ok(Self(id.into()));
                }
                Err(FieldError::new($field, format!("{id:?} is no ID; use 1 to 128 of A-Z a-z 0-9 . _ : -")))
            }

            /// The ID as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

id_type!(
    /// The name of one client's conversation. Use a fresh one for each connection.
    SessionId,
    "session_id"
);
id_type!(
    /// The name of one job within its session. The same one again is the same job.
    JobId,
    "job_id"
);

impl SessionId {
    /// An ID with 128 random bits. Panics when the operating system has no randomness.
    #[cfg(feature = "redis")]
    #[allow(clippy::expect_used)] // a predictable ID would let one client read another's audio
    pub fn fresh() -> Self {
        let mut bits = [0; 16];
        getrandom::fill(&mut bits).expect("the operating system gives random bytes");
        Self(format!("{:032x}", u128::from_be_bytes(bits)).into())
    }
}

/// The ID of a stream's entry. Later entries have greater IDs. The first part is no time of writing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId {
    /// The part before the hyphen: for entries of one utterance its epoch.
    pub ms: u64,
    /// The part behind the hyphen.
    pub n: u64,
}

impl FromStr for EntryId {
    type Err = FieldError;

    fn from_str(id: &str) -> Result<Self, FieldError> {
        let (ms, n) = id.split_once('-').unwrap_or((id, "0"));
        match (ms.parse(), n.parse()) {
            (Ok(ms), Ok(n)) => Ok(Self { ms, n }),
            _ => Err(FieldError::new("id", format!("{id:?} is no ID of a stream's entry; use two integers as in 7-0"))),
        }
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.n)
    }
}
