//! [`ReadError`]: why reading, verifying or writing a vault failed. Messages contain names, options and error codes,
//! never content. Neighbour: `verify` has the findings of a verification.

use std::io;
use std::path::Path;

use vault::store::StoreError;

/// The result of a call that reads, verifies or writes a vault.
pub type Result<T, E = ReadError> = std::result::Result<T, E>;

/// Most messages that a [`ShortList`] keeps.
const MAX_LISTED: usize = 100;

/// A failure, in words (several lines for several failures).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ReadError(String);

impl ReadError {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// A store's error about the object `name`.
    pub(crate) fn from_object_error(name: &str, error: &StoreError) -> Self {
        Self(format!("{name}: {error}"))
    }

    /// A file system's error about the file at `path`.
    pub(crate) fn from_file_error(path: &Path, error: &io::Error) -> Self {
        Self(format!("{}: {error}", path.display()))
    }

    /// Joins the messages of several errors, a line each.
    pub(crate) fn join(errors: &[Self]) -> Self {
        Self(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    }

    /// Replaces the message with the result of `reword`.
    pub(crate) fn map_message(self, reword: impl FnOnce(String) -> String) -> Self {
        Self(reword(self.0))
    }
}

/// The first messages about unreadable objects, and how many more there are: an attacker may have planted any number.
#[derive(Default)]
pub(crate) struct ShortList {
    listed: Vec<String>,
    omitted: u64,
}

impl ShortList {
    pub(crate) fn push(&mut self, message: String) {
        if self.listed.len() < MAX_LISTED { self.listed.push(message) } else { self.omitted += 1 }
    }

    /// The messages, and a last one that counts the others; `what` names them.
    pub(crate) fn finish(mut self, what: &str) -> Vec<String> {
        self.listed.extend((self.omitted > 0).then(|| format!("and {} {what}", self.omitted)));
        self.listed
    }
}

/// The error if `subject` exists in several accounts: line numbers and session names are unique only within an account.
pub(crate) fn several_accounts_error<A: AsRef<str>>(subject: &str, accounts: impl IntoIterator<Item = A>) -> ReadError {
    let accounts: Vec<String> = accounts.into_iter().map(|account| account.as_ref().to_owned()).collect();
    let count = accounts.len();
    let accounts = accounts.join(", ");
    ReadError::new(format!("{subject} exists in {count} accounts: give --account with one of {accounts}"))
}

#[cfg(test)]
impl ReadError {
    pub(crate) fn contains(&self, text: &str) -> bool {
        self.to_string().contains(text)
    }
}
