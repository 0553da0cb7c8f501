//! **What**: [`ReadError`]: why reading, verifying or writing a vault failed, by what the caller can do about it.
//! **Invariants**: the sentence is made of names, options and error codes, never of content. **Not here**: findings
//! (`verify`).

use std::io;
use std::path::Path;

use vault::store::StoreError;

/// What went wrong: a kind, and the sentence for a person (a line each, where there are several).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The object, session, line or key does not exist.
    #[error("{0}")]
    NotFound(String),
    /// It exists, but its bytes are not what was written or signed.
    #[error("{0}")]
    Damaged(String),
    /// Access is denied: permissions, a signature, a missing key, or a legal hold.
    #[error("{0}")]
    Forbidden(String),
    /// Temporary: the store, the disk, a concurrent run, or the memory limit. A retry may succeed.
    #[error("{0}")]
    Unavailable(String),
    /// The arguments can't be satisfied as they are given.
    #[error("{0}")]
    Invalid(String),
}

impl ReadError {
    /// See [`Self::NotFound`].
    pub(crate) fn not_found(text: impl Into<String>) -> Self {
        Self::NotFound(text.into())
    }

    /// See [`Self::Damaged`].
    pub(crate) fn damaged(text: impl Into<String>) -> Self {
        Self::Damaged(text.into())
    }

    /// See [`Self::Forbidden`].
    pub(crate) fn forbidden(text: impl Into<String>) -> Self {
        Self::Forbidden(text.into())
    }

    /// See [`Self::Unavailable`].
    pub(crate) fn unavailable(text: impl Into<String>) -> Self {
        Self::Unavailable(text.into())
    }

    /// See [`Self::Invalid`].
    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Self::Invalid(text.into())
    }

    /// What the store says of an object.
    pub(crate) fn of_object(name: &str, error: &StoreError) -> Self {
        Self::of_store(error, format!("{name}: {error}"))
    }

    /// What the store says, in this sentence.
    pub(crate) fn of_store(error: &StoreError, text: String) -> Self {
        match error {
            StoreError::Missing => Self::NotFound(text),
            StoreError::Denied(_) => Self::Forbidden(text),
            StoreError::Corrupt(_) | StoreError::Differs | StoreError::TooLarge => Self::Damaged(text),
            StoreError::Unavailable(_) | StoreError::Busy(_) | StoreError::Archived | StoreError::Full => {
                Self::Unavailable(text)
            }
        }
    }

    /// What the system says of a file.
    pub(crate) fn of_file(path: &Path, error: &io::Error) -> Self {
        Self::of_io(error, format!("{}: {error}", path.display()))
    }

    /// What the system says, in this sentence.
    pub(crate) fn of_io(error: &io::Error, text: String) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::NotFound(text),
            io::ErrorKind::PermissionDenied => Self::Forbidden(text),
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Self::Damaged(text),
            _ => Self::Unavailable(text),
        }
    }

    /// Several errors as one, a line each: of the first one's kind.
    pub(crate) fn all(errors: Vec<Self>) -> Self {
        let text = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        match errors.into_iter().next() {
            Some(first) => first.reworded(|_| text),
            None => Self::Unavailable(text),
        }
    }

    /// The same kind in another sentence, made from this one's.
    pub(crate) fn reworded(self, say: impl FnOnce(String) -> String) -> Self {
        match self {
            Self::NotFound(text) => Self::NotFound(say(text)),
            Self::Damaged(text) => Self::Damaged(say(text)),
            Self::Forbidden(text) => Self::Forbidden(say(text)),
            Self::Unavailable(text) => Self::Unavailable(say(text)),
            Self::Invalid(text) => Self::Invalid(say(text)),
        }
    }
}

/// More than one account has what was asked for: line numbers and session names are unique only within an account.
pub(crate) fn several_accounts<A: AsRef<str>>(what: &str, accounts: impl IntoIterator<Item = A>) -> ReadError {
    let accounts: Vec<String> = accounts.into_iter().map(|account| account.as_ref().to_owned()).collect();
    let count = accounts.len();
    ReadError::Invalid(format!("{what}: {count} accounts have such lines; give --account: {}", accounts.join(", ")))
}

#[cfg(test)]
impl ReadError {
    /// Whether the sentence has this in it.
    pub(crate) fn contains(&self, text: &str) -> bool {
        self.to_string().contains(text)
    }
}
