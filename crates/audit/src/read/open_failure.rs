//! Why a fragment can't be opened ([`OpenFailure`]), and objects among a session's keys that are not usable keys
//! ([`BadKey`]). Neighbours: `opener` opens fragments, `keys` finds keys.

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
    /// Any other error.
    Other(ReadError),
}

impl OpenFailure {
    /// Adds the fragment's place to the message.
    pub(super) fn with_place(self, name: &str, offset: u64) -> Self {
        let said = |why: String| format!("{name} at {offset}: {why}");
        match self {
            Self::NoKey(why) => Self::NoKey(said(why)),
            Self::NoIdentity(why) => Self::NoIdentity(said(why)),
            Self::TooLarge => Self::TooLarge,
            Self::UnknownScope(why, _) => Self::UnknownScope(said(why), offset),
            Self::Other(error) => Self::Other(error.map_message(said)),
        }
    }
}

impl From<OpenFailure> for ReadError {
    fn from(shut: OpenFailure) -> Self {
        match shut {
            OpenFailure::TooLarge => Self::unavailable("its content exceeds the memory limit for content"),
            OpenFailure::NoKey(why) | OpenFailure::UnknownScope(why, _) => Self::NotFound(why),
            OpenFailure::NoIdentity(why) => Self::Forbidden(why),
            OpenFailure::Other(error) => error,
        }
    }
}

/// An object among a session's keys that is not a usable key, or can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadKey {
    /// Name of the object.
    pub name: String,
    /// What is wrong.
    pub why: String,
    /// The object is intact, but must be restored before it can be read.
    pub archived: bool,
}
