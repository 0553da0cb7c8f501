//! **What**: [`Digest`]: what was stored since the digest before, and the root of all lines so far, signed.
//! **Why**: from the newest one an auditor walks back to the first. **Invariants**: the bytes are made once and signed
//! as they are; keys in a fixed order; unknown ones are refused when read (they might change what the rest means).
//! **Not here**: making one (`uploader`), judging one (`verify`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::names::account_segment;

/// The format.
pub const VERSION: u8 = 1;

/// The digest, as its object holds it: compact JSON. The signature of these bytes (64 bytes) lies beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Digest {
    /// [`VERSION`].
    pub v: u8,
    /// Account.
    pub account: String,
    /// Writer.
    pub writer: String,
    /// Epoch: a tree of its own.
    pub epoch: String,
    /// Number in the epoch, from 0.
    pub n: u64,
    /// Where the time of the digest before ended, RFC 3339.
    pub start: String,
    /// When it was made; never before `start`.
    pub end: String,
    /// The digest before; of the first in an epoch the last of the writer's epoch before.
    pub prev: Option<Link>,
    /// Why there is none before, or why lines of another epoch go on here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The lines here bear the numbers of another epoch, whose own chain ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continues: Option<Continues>,
    /// Leaves in the tree.
    pub tree_size: u64,
    /// Its root, base64.
    pub root: String,
    /// The lines that are new; `None`: none.
    pub index: Option<Index>,
    /// Lines of sessions that are over; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<Sessions>,
    /// Payload objects that these lines point into.
    pub objects: Vec<Object>,
    /// What is behind it.
    pub counters: Counters,
    /// The last one: the writer stopped.
    #[serde(default, rename = "final", skip_serializing_if = "std::ops::Not::not")]
    pub last: bool,
    /// Written by a later process, from what the spool had kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recovered: bool,
    /// The gateway that made it; absent in those of erasers, and of gateways that were not told their configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<MadeBy>,
    /// C2SP checkpoint of (origin, size, root).
    pub note: String,
}

/// A program and what it was told: a change of either shows in the chain (SOC 2, CC8.1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MadeBy {
    /// Version of tollgate.
    pub version: String,
    /// SHA-256 of the configuration file's bytes, hex: what `sha256sum` says. What `${env:…}` and `${file:…}` stand for
    /// is not in it.
    pub configuration: String,
}

impl MadeBy {
    /// This program with a configuration of this text.
    pub fn this(configuration: &str) -> Self {
        let configuration = kernel::hex::encode(&Sha256::digest(configuration));
        Self { version: env!("CARGO_PKG_VERSION").to_owned(), configuration }
    }
}

/// Names a digest.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Link {
    /// Its epoch.
    pub epoch: String,
    /// Its number.
    pub n: u64,
    /// SHA-256 of its bytes, hex.
    pub sha256: String,
}

/// Where a continued epoch goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Continues {
    /// The epoch in the lines.
    pub epoch: String,
    /// Number of the line that is leaf 0 of this tree.
    pub leaf: u64,
}

/// An index object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// Its name.
    pub key: String,
    /// The store's version: null, because a digest's bytes are fixed before the first attempt to store anything.
    pub version_id: Option<String>,
    /// SHA-256, hex.
    pub sha256: String,
    /// Number of its first line.
    pub first_leaf: u64,
    /// Its lines.
    pub leaves: u64,
}

/// An object with lines of sessions. They are no leaves: they sum up lines that are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions {
    /// Its name.
    pub key: String,
    /// SHA-256, hex.
    pub sha256: String,
    /// Its lines.
    pub lines: u64,
}

/// A payload object. Size and hash are null where the process that stored it is not the one that made the digest: the
/// hashes of its fragments stand in the lines in any case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// Its name.
    pub key: String,
    /// The store's version; null if it did not say.
    pub version_id: Option<String>,
    /// Bytes.
    pub size: Option<u64>,
    /// SHA-256, hex.
    pub sha256: Option<String>,
    /// Where it is, if its own name was taken by somebody else's object: a name in the same folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored_as: Option<String>,
}

/// Counts of the epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Lines that were numbered.
    pub acked: u64,
    /// Lines in the tree, counted from the epoch's first.
    pub uploaded: u64,
    /// The difference: what would be lost with the spool's volume.
    pub pending: u64,
    /// Lines in the tree that only say that one was lost.
    pub gaps: u64,
    /// Records of the vault that this process could not read in its spool.
    pub damaged: u64,
    /// The newest digest of each chain of erasures of the account, by writer, as erasers reported it. It stands here
    /// because programs of before refuse unknown fields of a digest, and skip those of its counters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub erasures: BTreeMap<String, Link>,
}

/// The origin of an epoch's checkpoints.
pub fn origin(key: &str, account: &str, writer: &str, epoch: &str) -> String {
    format!("{key}/{}/{writer}/{epoch}", account_segment(account))
}
