//! Why a fragment can't be opened ([`OpenFailure`]), and objects among a session's keys that are not usable keys
//! ([`BadKey`]). Neighbours: `opener` opens fragments, `session_keys` opens keys.

use crate::error::ReadError;

/// Why a fragment can't be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenFailure {
    /// There is no key object.
    NoKey(String),
    /// None of the given identities opens a key.
    NoIdentity(String),
    /// The content would exceed the memory limit.
    TooLarge,
    /// The scope of the fragment at this offset is unknown.
    UnknownScope(String, u64),
    Other(ReadError),
}

impl OpenFailure {
    /// Adds the fragment's object and offset to the message.
    pub(super) fn with_place(self, name: &str, offset: u64) -> Self {
        let add_place = |why: String| format!("{name} at {offset}: {why}");
        match self {
            Self::NoKey(why) => Self::NoKey(add_place(why)),
            Self::NoIdentity(why) => Self::NoIdentity(add_place(why)),
            Self::TooLarge => Self::TooLarge,
            Self::UnknownScope(why, _) => Self::UnknownScope(add_place(why), offset),
            Self::Other(error) => Self::Other(error.map_message(add_place)),
        }
    }
}

impl From<OpenFailure> for ReadError {
    fn from(failure: OpenFailure) -> Self {
        match failure {
            OpenFailure::TooLarge => Self::new("its content exceeds the memory limit for content"),
            OpenFailure::NoKey(why) | OpenFailure::UnknownScope(why, _) | OpenFailure::NoIdentity(why) => {
                Self::new(why)
            }
            OpenFailure::Other(error) => error,
        }
    }
}

/// An object among a session's keys that is not a usable key, or can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadKey {
    pub name: String,
    pub why: String,
    /// Whether the object is in archive storage, and must be restored before it can be read.
    pub archived: bool,
}
