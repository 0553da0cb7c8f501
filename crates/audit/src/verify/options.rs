//! Options of a verification ([`VerifyOptions`]) and its progress ([`VerifyProgress`]).

use std::path::PathBuf;
use std::time::Duration;

use kernel::clock::UnixNanos;
use vault::chain::note::VerifyKey;
use vault::store::settings::LockMode;

/// Default time within which an epoch must be anchored: anchors are made hourly, or at least daily.
pub(super) const DEFAULT_ANCHORED_WITHIN: Duration = Duration::from_secs(25 * 3600);

#[derive(Clone, Default)]
pub struct VerifyOptions {
    /// Public keys of the writers' signers.
    pub keys: Vec<VerifyKey>,
    /// Only this account.
    pub account: Option<String>,
    /// Only this writer.
    pub writer: Option<String>,
    /// Payload is read only for digests that end at or after this time, RFC 3339.
    pub from: Option<String>,
    /// Payload is read only for digests that start at or before this time, RFC 3339.
    pub to: Option<String>,
    /// Whether to check chain and index only.
    pub no_payload: bool,
    /// Whether to check the chain alone: signatures, links, cut-off ends, forks. Neither the content of digests nor
    /// unnamed objects are checked.
    pub chain_only: bool,
    /// The content of digests that end before this time (RFC 3339) may be gone or hidden, because its retention is
    /// over.
    pub expired: Option<String>,
    /// Secret keys of an auditor.
    pub auditors: Vec<age::x25519::Identity>,
    /// Public keys of the people who sign erasure requests.
    pub erasers: Vec<VerifyKey>,
    /// Public keys of the people who sign requests to open sessions.
    pub openers: Vec<VerifyKey>,
    /// Contents of anchor files that were kept elsewhere.
    pub anchors: Vec<String>,
    /// Public keys that sign anchors.
    pub anchor_keys: Vec<VerifyKey>,
    /// Longest time from an epoch's first digest to the first anchor that covers the epoch, if anchors are given;
    /// `None`: `DEFAULT_ANCHORED_WITHIN`.
    pub anchored_within: Option<Duration>,
    /// Leaves seen elsewhere (`gen_ai.payload.leaf` on spans), which the chain must contain.
    pub leaves: Vec<String>,
    /// Required lock of every version of an object; without it, unlocked objects are reported if others are locked.
    pub retention: Option<RequiredLock>,
    /// Whether to skip the locks.
    pub no_locks: bool,
    /// File for verified positions, so that an interrupted run can be resumed, and for digests found valid.
    pub resume: Option<PathBuf>,
    /// Current time, to detect chains without recent digests.
    pub now: UnixNanos,
}

#[derive(Clone, Copy, Debug)]
pub struct VerifyProgress {
    /// Digests judged.
    pub done: u64,
    /// Digests in total.
    pub all: u64,
    /// Payload read, bytes.
    pub bytes: u64,
}

/// Required lock of objects. Keys are always under governance, so that they can be erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequiredLock {
    /// Mode for all objects except keys.
    pub mode: LockMode,
    /// Minimum retention, from the time the object was written.
    pub least: Duration,
}
