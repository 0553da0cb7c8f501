//! [`ChainDigest`]: the objects stored since the previous digest and the root over all lines so far, signed. An auditor
//! walks back from the newest digest to the first.
//!
//! The bytes are produced once and signed as they are. Keys have a fixed order; unknown keys are refused on reading,
//! because they might change the meaning of the rest. Neighbours: `uploader` produces digests, the crate `audit`
//! verifies them.

use std::collections::BTreeMap;

use kernel::sha256::Sha256;
use serde::{Deserialize, Serialize};

use crate::object_names::account_segment;
use crate::recipients::AccountRecipients;

/// Version of the digest format.
pub const VERSION: u8 = 1;

/// The digest as stored: compact JSON. Its 64-byte signature is a separate object next to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainDigest {
    /// Version of the format: [`VERSION`].
    pub v: u8,
    /// Account whose lines the digest covers.
    pub account: String,
    pub writer: String,
    /// Epoch; each epoch has its own tree.
    pub epoch: String,
    /// Number of the digest in its epoch, from 0.
    pub n: u64,
    /// End of the previous digest's time range, RFC 3339.
    pub start: String,
    /// Time at which the digest was made; never before `start`.
    pub end: String,
    /// The previous digest; for the first of an epoch, the last of the writer's previous epoch.
    pub prev: Option<DigestLink>,
    /// Why there is no previous digest, or why this epoch continues the lines of another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Set if the lines have the numbers of another epoch whose own chain ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continues: Option<ChainContinuation>,
    /// Number of leaves in the tree.
    pub tree_size: u64,
    /// Root of the tree, base64.
    pub root: String,
    /// Index object with the new lines; null if there are none.
    pub index: Option<IndexReference>,
    /// Object with lines of finished sessions; absent if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<SessionsReference>,
    /// Payload objects that the new lines refer to.
    pub objects: Vec<PayloadReference>,
    /// Counts of the epoch, including lines that are not yet stored.
    pub counters: DigestCounters,
    /// Whether this is the last digest, because the writer stopped.
    #[serde(default, rename = "final", skip_serializing_if = "std::ops::Not::not")]
    pub last: bool,
    /// Whether a later process than the lines' own wrote the digest, from records in the spool.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recovered: bool,
    /// The gateway that made the digest; absent in digests of erasers, and of gateways without a known configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<GatewayIdentity>,
    /// C2SP checkpoint of origin, size and root.
    pub note: String,
}

/// A program and its configuration, so that the chain records changes of either (SOC 2, CC8.1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GatewayIdentity {
    pub version: String,
    /// SHA-256 of the configuration file's bytes, hex, as `sha256sum` prints it. The values behind `${env:…}` and
    /// `${file:…}` are not included.
    pub configuration: String,
    /// The public keys to which this gateway seals the session keys of the digest's account; absent in digests of older
    /// versions. Programs of older versions skip the field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipients: Option<AccountRecipients>,
}

impl GatewayIdentity {
    /// This program with a configuration of this text.
    pub fn current(configuration: &str) -> Self {
        let configuration = kernel::hex::encode(&Sha256::digest(configuration));
        Self { version: env!("CARGO_PKG_VERSION").to_owned(), configuration, recipients: None }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DigestLink {
    pub epoch: String,
    pub n: u64,
    /// SHA-256 of the digest's bytes, hex.
    pub sha256: String,
}

/// The position at which a tree continues another epoch's lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainContinuation {
    /// The epoch that the lines name.
    pub epoch: String,
    /// Number of the line that is leaf 0 of this tree.
    pub leaf: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexReference {
    /// Name of the object.
    pub key: String,
    /// The store's version id: always null, because a digest's bytes are fixed before the first attempt to store
    /// anything.
    pub version_id: Option<String>,
    /// SHA-256 of the object, hex.
    pub sha256: String,
    /// Number of its first line.
    pub first_leaf: u64,
    /// Number of its lines.
    pub leaves: u64,
}

/// An object with session lines. They are not leaves: they summarise lines that are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionsReference {
    /// Name of the object.
    pub key: String,
    /// SHA-256 of the object, hex.
    pub sha256: String,
    pub lines: u64,
}

/// A payload object. Size and hash are null if the process that made the digest did not store the object itself; the
/// hashes of its fragments are in the lines in any case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayloadReference {
    /// Name of the object.
    pub key: String,
    /// Always null, as in [`IndexReference`].
    pub version_id: Option<String>,
    /// Size, bytes.
    pub size: Option<u64>,
    /// SHA-256 of the object, hex.
    pub sha256: Option<String>,
    /// The alternative name in the same folder, if a foreign object occupied the object's own name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored_as: Option<String>,
}

/// Counts of the epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DigestCounters {
    /// Lines that were numbered.
    pub acked: u64,
    /// Lines in the tree, counted from the epoch's first.
    pub uploaded: u64,
    /// `acked` minus `uploaded`: lines that would be lost with the spool's volume.
    pub pending: u64,
    /// Lines in the tree that only record a lost line.
    pub gaps: u64,
    /// Vault records that this process could not read in its spool.
    pub damaged: u64,
    /// The newest digest of each of the account's chains of erasures, by writer, as erasers reported it. This field and
    /// those below are part of the counters because older programs refuse unknown fields of a digest but skip those of
    /// its counters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub erasures: BTreeMap<String, DigestLink>,
    /// Time (RFC 3339) by which the next digest is written, even if there is no news. Absent in a writer's last digest,
    /// and in those of erasers and older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_by: Option<String>,
    /// Content that digests before this time (RFC 3339) name may be gone, because the store, a folder for trying out,
    /// removes its oldest content when it is full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expired_before: Option<String>,
}

pub fn checkpoint_origin(key: &str, account: &str, writer: &str, epoch: &str) -> String {
    format!("{key}/{}/{writer}/{epoch}", account_segment(account))
}
