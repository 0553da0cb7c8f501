//! **What**: what every store has: kinds of object, [`StoreError`], and the traits of who writes ([`VaultStore`]) and
//! who reads ([`VaultReader`]). **Invariants**: as in the module above. **Not here**: the stores themselves
//! (`directory`, `s3`).

use bytes::Bytes;
use futures_util::future::BoxFuture;

use kernel::clock::UnixNanos;

use super::limits::Swept;
use super::settings::LockMode;

/// Largest object that is read, bytes; the largest that is written holds one fragment of about 140 MiB.
pub(super) const MAX_READ: usize = 512 << 20;

/// Kinds of object: they may lie in different buckets and be locked differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// A session key, sealed to the auditors.
    Key,
    /// Fragments.
    Payload,
    /// Index lines.
    Index,
    /// Digests and their signatures.
    Chain,
}

impl ObjectKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Key, Self::Payload, Self::Index, Self::Chain];

    /// The metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Payload => "payload",
            Self::Index => "index",
            Self::Chain => "chain",
        }
    }
}

/// A put that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// Written by this attempt.
    Written,
    /// It was there. For a name of ours with sealed bytes: an earlier attempt succeeded.
    Exists,
}

/// Why a put or a read failed. Texts are fixed or from the store's error codes, never payload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Not now: network, 5xx, a full disk. What an attempt wrote is not known.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// Not now, and this attempt has written nothing: the store said so (409, 429, 503 SlowDown).
    #[error("the store is not available: {0}")]
    Busy(String),
    /// The store refuses: credential, bucket, policy, lock settings. Someone has to change something.
    #[error("the store refuses: {0}")]
    Denied(String),
    /// The store received other bytes than we sent (or have other bytes than before): look at memory and disk.
    #[error("the store received other bytes than were sent: {0}")]
    Corrupt(String),
    /// The name exists with other bytes.
    #[error("the object exists with other bytes")]
    Differs,
    /// No such object.
    #[error("no such object")]
    Missing,
    /// It is in an archive class of the store: whole, and not to be read before it is restored.
    #[error("archived (GLACIER, DEEP_ARCHIVE): restore it first (`aws s3api restore-object`)")]
    Archived,
    /// Larger than any object of its kind: not read.
    #[error("larger than any object of its kind in a vault")]
    TooLarge,
    /// The store is at its configured size: nothing more is taken, nothing is removed.
    #[error("the store is at its `max_size`: raise it, or let retention free some")]
    Full,
}

impl StoreError {
    /// The metric label.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Unavailable(_) | Self::Busy(_) => "retry",
            Self::Denied(_) => "denied",
            Self::Corrupt(_) => "corrupt",
            Self::Differs => "differs",
            Self::Missing => "missing",
            Self::Archived => "archived",
            Self::TooLarge => "too_large",
            Self::Full => "full",
        }
    }
}

/// Writes objects once.
pub trait VaultStore: Send + Sync {
    /// Writes `bytes` under `name` unless it exists, locked from `now` on where the store can lock. May be repeated
    /// with the same bytes.
    fn put_once<'a>(
        &'a self,
        kind: ObjectKind,
        name: &'a str,
        bytes: Bytes,
        now: UnixNanos,
    ) -> BoxFuture<'a, Result<Put, StoreError>>;

    /// Removes what is expired at `now`; `None`: the store has rules of its own.
    fn sweep(&self, _now: UnixNanos) -> BoxFuture<'_, Result<Option<Swept>, StoreError>> {
        Box::pin(async { Ok(None) })
    }
}

/// One version of an object, or a delete marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The object's name.
    pub name: String,
    /// The version's id.
    pub id: String,
    /// It hides what is below it, and is no object.
    pub marker: bool,
}

/// Versions in order of names, and where the next ones start: name and id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionPage {
    /// These.
    pub versions: Vec<Version>,
    /// The next page, if there is one.
    pub next: Option<(String, String)>,
}

/// What the store says of a version: when it was written, and how it is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// When it was written, by the store's clock.
    pub written: UnixNanos,
    /// Its lock and the time until which it holds.
    pub lock: Option<(LockMode, UnixNanos)>,
}

/// Reads objects: the auditor's side.
pub trait VaultReader: Send + Sync {
    /// A whole object, or `range` of it (first byte, length).
    fn get<'a>(
        &'a self,
        kind: ObjectKind,
        name: &'a str,
        range: Option<(u64, u64)>,
    ) -> BoxFuture<'a, Result<Bytes, StoreError>>;

    /// All names that start with `prefix`, sorted.
    fn list<'a>(&'a self, kind: ObjectKind, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>, StoreError>>;

    /// A page of all versions of names that start with `prefix`, from `after` on; `None`: the store keeps no versions.
    fn versions<'a>(
        &'a self,
        _kind: ObjectKind,
        _prefix: &'a str,
        _after: Option<(String, String)>,
    ) -> BoxFuture<'a, Result<Option<VersionPage>, StoreError>> {
        Box::pin(async { Ok(None) })
    }

    /// When an object was written, by the store's clock; `None`: it does not tell.
    fn written<'a>(
        &'a self,
        _kind: ObjectKind,
        _name: &'a str,
    ) -> BoxFuture<'a, Result<Option<UnixNanos>, StoreError>> {
        Box::pin(async { Ok(None) })
    }

    /// How a version is locked; `None`: the store can't lock.
    fn held<'a>(&'a self, _kind: ObjectKind, _version: &'a Version) -> BoxFuture<'a, Result<Option<Held>, StoreError>> {
        Box::pin(async { Ok(None) })
    }
}
