//! [`ReadError`]: why reading, verifying or writing a vault failed, classified by what the caller can do about it.
//! Messages contain names, options and error codes, never content. Neighbour: `verify` has the findings of a
//! verification.

use std::io;
use std::path::Path;

use vault::store::StoreError;

/// A kind of failure and its message (several lines for several failures).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The object, session, line or key does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The object exists, but its bytes differ from those that were written or signed.
    #[error("{0}")]
    Damaged(String),
    /// Access is denied because of permissions, a signature, a missing key or a legal hold.
    #[error("{0}")]
    Forbidden(String),
    /// A temporary failure of the store or the disk, a concurrent run, or the memory limit. A retry may succeed.
    #[error("{0}")]
    Unavailable(String),
    /// The arguments as given can't be satisfied.
    #[error("{0}")]
    Invalid(String),
}

impl ReadError {
    pub(crate) fn not_found(text: impl Into<String>) -> Self {
        Self::NotFound(text.into())
    }

    pub(crate) fn damaged(text: impl Into<String>) -> Self {
        Self::Damaged(text.into())
    }

    pub(crate) fn forbidden(text: impl Into<String>) -> Self {
        Self::Forbidden(text.into())
    }

    pub(crate) fn unavailable(text: impl Into<String>) -> Self {
        Self::Unavailable(text.into())
    }

    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Self::Invalid(text.into())
    }

    /// Classifies a store's error about the object `name`.
    pub(crate) fn from_object_error(name: &str, error: &StoreError) -> Self {
        Self::from_store_error(error, format!("{name}: {error}"))
    }

    /// Classifies a store's error, with `text` as the message.
    pub(crate) fn from_store_error(error: &StoreError, text: String) -> Self {
        match error {
            StoreError::Missing => Self::NotFound(text),
            StoreError::Denied(_) => Self::Forbidden(text),
            StoreError::Corrupt(_) | StoreError::Differs | StoreError::TooLarge => Self::Damaged(text),
            StoreError::Unavailable(_) | StoreError::Busy(_) | StoreError::Archived | StoreError::Full => {
                Self::Unavailable(text)
            }
        }
    }

    /// Classifies a file system's error about the file at `path`.
    pub(crate) fn from_file_error(path: &Path, error: &io::Error) -> Self {
        Self::from_io_error(error, format!("{}: {error}", path.display()))
    }

    /// Classifies a file system's error, with `text` as the message.
    pub(crate) fn from_io_error(error: &io::Error, text: String) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::NotFound(text),
            io::ErrorKind::PermissionDenied => Self::Forbidden(text),
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Self::Damaged(text),
            _ => Self::Unavailable(text),
        }
    }

    /// Joins errors into one that has the kind of the first and the messages of all, a line each.
    pub(crate) fn join(errors: Vec<Self>) -> Self {
        let text = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        match errors.into_iter().next() {
            Some(first) => first.map_message(|_| text),
            None => Self::Unavailable(text),
        }
    }

    /// Keeps the kind and replaces the message with the result of `reword`.
    pub(crate) fn map_message(self, reword: impl FnOnce(String) -> String) -> Self {
        match self {
            Self::NotFound(text) => Self::NotFound(reword(text)),
            Self::Damaged(text) => Self::Damaged(reword(text)),
            Self::Forbidden(text) => Self::Forbidden(reword(text)),
            Self::Unavailable(text) => Self::Unavailable(reword(text)),
            Self::Invalid(text) => Self::Invalid(reword(text)),
        }
    }
}

/// The error if `subject` exists in several accounts: line numbers and session names are unique only within an account.
pub(crate) fn several_accounts_error<A: AsRef<str>>(subject: &str, accounts: impl IntoIterator<Item = A>) -> ReadError {
    let accounts: Vec<String> = accounts.into_iter().map(|account| account.as_ref().to_owned()).collect();
    let count = accounts.len();
    let accounts = accounts.join(", ");
    ReadError::Invalid(format!("{subject} exists in {count} accounts: give --account with one of {accounts}"))
}

#[cfg(test)]
impl ReadError {
    pub(crate) fn contains(&self, text: &str) -> bool {
        self.to_string().contains(text)
    }
}
