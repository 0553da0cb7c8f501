//! Common to all stores: kinds of object, [`StoreError`], and the traits for writing ([`VaultStore`]) and reading
//! ([`VaultReader`]). The invariants are those of the parent module. Neighbours: the stores in `directory` and `s3`.

use bytes::Bytes;
use futures_util::future::BoxFuture;

use kernel::clock::UnixNanos;

use super::settings::LockMode;

/// Largest object that is read; the largest that is written holds one fragment of about 140 MiB.
pub(super) const MAX_READ_BYTES: usize = 512 << 20;

kernel::word_enum! {
    /// Kinds of object, which may use different buckets and locks. The words are values of a metric label.
    pub ObjectKind {
        /// A session key, sealed to the auditors.
        Key = "key",
        /// Sealed fragments.
        Payload = "payload",
        Index = "index",
        /// Digests and their signatures.
        Chain = "chain",
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// Written by this attempt.
    Written,
    /// The object existed. If the name is the writer's own and the bytes are sealed, an earlier attempt succeeded.
    Exists,
}

impl PutOutcome {
    /// The value of the metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Exists => "exists",
        }
    }
}

/// Why a put or a read failed. Texts are fixed or from the store's error codes, never payload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Temporary: network, 5xx, a full disk. Whether the attempt wrote anything is unknown.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// Temporary, and the attempt wrote nothing: the store said so (409, 429, 503 SlowDown).
    #[error("the store is not available: {0}")]
    Busy(String),
    /// The store refuses: credential, bucket, policy, lock settings. An operator must change something.
    #[error("the store refuses: {0}")]
    Denied(String),
    /// The store received other bytes than were sent, or the bytes changed before sending: check memory and disk.
    #[error("the store received different bytes than were sent (check memory and disk): {0}")]
    Corrupt(String),
    /// The name exists with other bytes.
    #[error("an object with this name exists with different bytes")]
    Differs,
    /// No such object.
    #[error("no such object")]
    Missing,
    /// The object is intact in an archive class of the store, and must be restored before it can be read.
    #[error("archived (GLACIER, DEEP_ARCHIVE): restore it first (`aws s3api restore-object`)")]
    Archived,
    /// The object is not read, because it is larger than any object that a gateway writes.
    #[error("larger than any object of its kind in a vault")]
    TooLarge,
    /// The store is at its configured size: it accepts no more and removes nothing.
    #[error("the store has reached its `max_size`: raise it, or wait until stored objects expire")]
    Full,
}

impl StoreError {
    /// The value of the metric label.
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

/// The future answer of a store.
pub type StoreFuture<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepResult {
    pub objects: u64,
    /// Bytes removed.
    pub bytes: u64,
    /// Expired objects that were kept because they are under legal hold.
    pub held: u64,
}

/// Writes objects once.
pub trait VaultStore: Send + Sync {
    /// Writes `bytes` under `name` unless the name exists, locked from `now` on if the store can lock. May be repeated
    /// with the same bytes.
    fn put_once<'a>(
        &'a self,
        kind: ObjectKind,
        name: &'a str,
        bytes: Bytes,
        now: UnixNanos,
    ) -> StoreFuture<'a, PutOutcome>;

    /// Keeps a store that may expire content below its maximum size: removes the oldest content, of digests that end
    /// before `declared`. Returns the time that digests have to declare before more is removed.
    fn make_room(&self, _declared: Option<UnixNanos>) -> StoreFuture<'_, Option<UnixNanos>> {
        Box::pin(async { Ok(None) })
    }

    /// Removes objects that are expired at `now`; `None` if the store has its own expiry rules.
    fn sweep(&self, _now: UnixNanos) -> StoreFuture<'_, Option<SweepResult>> {
        Box::pin(async { Ok(None) })
    }
}

/// One version of an object, or a delete marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectVersion {
    pub name: String,
    pub id: String,
    /// Whether this is a delete marker, which hides the versions below it and is no object.
    pub marker: bool,
}

/// Name and version id at which a page of versions starts.
pub type PageStart = (String, String);

/// A page of versions in order of names, and the start of the next page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionPage {
    pub versions: Vec<ObjectVersion>,
    /// The start of the next page, if there is one.
    pub next: Option<PageStart>,
}

/// A version's write time and lock, as the store reports them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionLock {
    /// Write time by the store's clock.
    pub written: UnixNanos,
    /// Lock mode and expiry; `None` if the version is not locked.
    pub lock: Option<(LockMode, UnixNanos)>,
}

/// Reads objects, for auditors.
pub trait VaultReader: Send + Sync {
    /// A whole object, or `range` of it (first byte, length).
    fn get<'a>(&'a self, kind: ObjectKind, name: &'a str, range: Option<(u64, u64)>) -> StoreFuture<'a, Bytes>;

    /// All names that start with `prefix`, sorted.
    fn list<'a>(&'a self, kind: ObjectKind, prefix: &'a str) -> StoreFuture<'a, Vec<String>>;

    /// A page of all versions of names that start with `prefix`, from `after` on; `None` if the store keeps no
    /// versions.
    fn versions<'a>(
        &'a self,
        _kind: ObjectKind,
        _prefix: &'a str,
        _after: Option<PageStart>,
    ) -> StoreFuture<'a, Option<VersionPage>> {
        Box::pin(async { Ok(None) })
    }

    /// When an object was written, by the store's clock; `None` if the store does not report it.
    fn written_at<'a>(&'a self, _kind: ObjectKind, _name: &'a str) -> StoreFuture<'a, Option<UnixNanos>> {
        Box::pin(async { Ok(None) })
    }

    /// A version's lock; `None` if the store can't lock.
    fn version_lock<'a>(
        &'a self,
        _kind: ObjectKind,
        _version: &'a ObjectVersion,
    ) -> StoreFuture<'a, Option<VersionLock>> {
        Box::pin(async { Ok(None) })
    }
}
