//! Why a fragment can't be opened ([`Shut`]), and objects among a session's keys that are not usable keys ([`BadKey`]).
//! Neighbours: `opener` opens fragments, `keys` finds keys.

use crate::error::ReadError;

/// Why a fragment can't be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shut {
    /// There is no key object.
    NoKey(String),
    /// None of the given identities opens a key.
    NoIdentity(String),
    /// The content would exceed the memory limit.
    NoRoom,
    /// The scope of the fragment at this offset is unknown.
    Untold(String, u64),
    /// Any other error.
    Other(ReadError),
}

impl Shut {
    /// Adds the fragment's place to the message.
    pub(super) fn at(self, name: &str, offset: u64) -> Self {
        let said = |why: String| format!("{name} at {offset}: {why}");
        match self {
            Self::NoKey(why) => Self::NoKey(said(why)),
            Self::NoIdentity(why) => Self::NoIdentity(said(why)),
            Self::NoRoom => Self::NoRoom,
            Self::Untold(why, _) => Self::Untold(said(why), offset),
            Self::Other(error) => Self::Other(error.reworded(said)),
        }
    }
}

impl From<Shut> for ReadError {
    fn from(shut: Shut) -> Self {
        match shut {
            Shut::NoRoom => Self::unavailable("its content is larger than what is read into memory"),
            Shut::NoKey(why) | Shut::Untold(why, _) => Self::NotFound(why),
            Shut::NoIdentity(why) => Self::Forbidden(why),
            Shut::Other(error) => error,
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
