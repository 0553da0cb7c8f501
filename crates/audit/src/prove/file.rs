//! **What**: a proof file. **Invariants**: fields are only added; `v` says when not. **Not here**: making and checking
//! it.

use serde::{Deserialize, Serialize};

/// A proof file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// The format, 1.
    pub v: u8,
    /// The public key that signed; who checks takes it from elsewhere.
    pub key: String,
    /// One for each line.
    pub proofs: Vec<Proof>,
    /// An anchor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchor: Option<String>,
}

/// A line is in a tree, and that tree is the beginning of the newest one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// Place in the tree, from 0.
    pub index: u64,
    /// The index line, without its line feed.
    pub line: String,
    /// Signed checkpoint of the first tree that held it.
    pub note: String,
    /// Audit path to its root, base64.
    pub path: Vec<String>,
    /// Signed checkpoint of the newest tree.
    pub newest: String,
    /// Consistency of the two, base64.
    pub consistency: Vec<String>,
    /// The fragment that the line names, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fragment: Option<String>,
}
