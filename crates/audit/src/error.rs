//! [`ReadError`]: why reading, verifying or writing a vault failed. Messages contain names, options and error codes,
//! never content. Neighbour: `verify` has the findings of a verification.

use std::io;
use std::path::Path;

use vault::store::StoreError;

/// Most unreadable objects that are listed.
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

/// The first messages, and how many more there are; `what` names the others.
pub(crate) fn shorten_list(mut messages: Vec<String>, what: &str) -> Vec<String> {
    let omitted = messages.len().saturating_sub(MAX_LISTED);
    messages.truncate(MAX_LISTED);
    messages.extend((omitted > 0).then(|| format!("and {omitted} {what}")));
    messages
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
