//! The proof file format. Fields are only ever added; any other change increases `v`. Neighbours: the parent module
//! makes proof files, `check` checks them.

use serde::{Deserialize, Serialize};

/// The content of a proof file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProofFile {
    /// Version of the format: 1.
    pub v: u8,
    /// The public key that signed the checkpoints. A checker must get the key from another source.
    pub key: String,
    /// One proof for each line.
    pub proofs: Vec<LineProof>,
    /// The content of an anchor file, if one was included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchor: Option<String>,
}

/// Proves that a line is in a tree, and that the tree is a prefix of the newest one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LineProof {
    /// Position in the tree, from 0.
    pub index: u64,
    /// The index line, without its line feed.
    pub line: String,
    /// Signed checkpoint of the first tree that contains the line.
    pub note: String,
    /// Audit path of the line in that tree, base64.
    pub path: Vec<String>,
    /// Signed checkpoint of the newest tree.
    pub newest: String,
    /// Consistency proof between the two trees, base64.
    pub consistency: Vec<String>,
    /// The fragment that the line names, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fragment: Option<String>,
}
