//! **What**: what a verification is asked for ([`Options`]) and how far it is ([`Progress`]).

use std::path::PathBuf;
use std::time::Duration;

use kernel::clock::UnixNanos;
use vault::chain::note::VerifyKey;
use vault::store::settings::LockMode;

/// After so long an epoch should stand in an anchor: they are made hourly, or at least daily.
const WITHIN: Duration = Duration::from_secs(25 * 3600);

/// What is wanted.
pub struct Options {
    /// Public keys of the writers' signers.
    pub keys: Vec<VerifyKey>,
    /// Only this account.
    pub account: Option<String>,
    /// Only this writer.
    pub writer: Option<String>,
    /// Payload is read of digests that end at or after this, RFC 3339.
    pub from: Option<String>,
    /// Payload is read of digests that start at or before this.
    pub to: Option<String>,
    /// Chain and index only.
    pub no_payload: bool,
    /// The chain alone: signatures, links, what was cut off, forks. Neither what digests name nor what nobody names is
    /// looked at.
    pub chain_only: bool,
    /// What digests that end before this (RFC 3339) name may be gone or hidden: its retention is over.
    pub expired: Option<String>,
    /// Secret keys of an auditor.
    pub auditors: Vec<age::x25519::Identity>,
    /// Public keys of those who sign requests to erase.
    pub erasers: Vec<VerifyKey>,
    /// Anchors that were kept elsewhere, as their files hold them.
    pub anchors: Vec<String>,
    /// Public keys of those who anchored.
    pub anchor_keys: Vec<VerifyKey>,
    /// How long after its first digest an epoch must stand in an anchor, where anchors are given.
    pub anchored_within: Duration,
    /// Leaves that were seen elsewhere (`gen_ai.payload.leaf` on spans): the chain must hold them.
    pub leaves: Vec<String>,
    /// How every version of an object must be locked; else only what is locked unlike the rest is told.
    pub retention: Option<Retention>,
    /// Locks are not looked at.
    pub no_locks: bool,
    /// Where to keep what was verified, so that a run that ended early goes on, and digests that were seen.
    pub resume: Option<PathBuf>,
    /// Now, to tell a chain that is silent.
    pub now: UnixNanos,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            account: None,
            writer: None,
            from: None,
            to: None,
            no_payload: false,
            chain_only: false,
            expired: None,
            auditors: Vec::new(),
            erasers: Vec::new(),
            anchors: Vec::new(),
            anchor_keys: Vec::new(),
            anchored_within: WITHIN,
            leaves: Vec::new(),
            retention: None,
            no_locks: false,
            resume: None,
            now: UnixNanos::default(),
        }
    }
}

/// How far it is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Digests that were judged.
    pub done: u64,
    /// Digests there are.
    pub all: u64,
    /// Payload read, bytes.
    pub bytes: u64,
}

/// How objects must be locked. Keys are always under governance, so that they can be erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Mode of all but keys.
    pub mode: LockMode,
    /// At least so long from the moment it was written on.
    pub least: Duration,
}
