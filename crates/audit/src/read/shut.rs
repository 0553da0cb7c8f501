//! **What**: why a fragment stays closed ([`Shut`]), and what among a session's keys is none ([`BadKey`]).
//! **Not here**: opening (`opener`), looking for keys (`keys`).

use crate::error::ReadError;

/// Why something stays closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shut {
    /// There is no key object.
    NoKey(String),
    /// None of the identities given opens a key.
    NoIdentity(String),
    /// There is no room in memory for what it holds.
    NoRoom,
    /// Nothing tells whose the fragment at this offset is.
    Untold(String, u64),
    /// Anything else.
    Other(ReadError),
}

impl Shut {
    /// The same, of a fragment.
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

/// Something among a session's keys that is none, or can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadKey {
    /// The object.
    pub name: String,
    /// What is wrong.
    pub why: String,
    /// It is whole, and has to be restored before it can be read.
    pub archived: bool,
}
