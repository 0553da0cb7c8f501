//! **What**: [`Position`]: where a writer's chain of one account stands, and the file that keeps it ([`Saved`]).
//! **Why**: the next digest must link to the last one, whatever happened in between. **Invariants**: saved after a
//! digest was stored and before its records are done, so that the spool and the file together always know. **Not
//! here**: the file itself (`uploader/journal`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use kernel::clock::UnixNanos;

use crate::sessions::SessionLine;

use super::digest::Link;
use super::erasures::NewestErasures;
use super::tree::Frontier;

/// Epochs that were left, kept in mind.
const MAX_LEFT: usize = 32;

/// Where a chain stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The epoch that its lines bear.
    pub of: String,
    /// The epoch that its digests bear: the same, unless the chain had to leave it.
    pub epoch: String,
    /// Number of the line that is leaf 0.
    pub base: u64,
    /// Number of the next digest.
    pub next: u64,
    /// Digests so far, through all epochs: what was read twice is told by it.
    pub serial: u64,
    /// The tree.
    pub tree: Frontier,
    /// The last digest, of whatever epoch.
    pub prev: Option<Link>,
    /// End of the last digest's time.
    pub end: u64,
    /// Lines that only say that one was lost.
    pub gaps: u64,
    /// Why the first digest links to none, or continues another epoch.
    pub reason: Option<String>,
    /// The last digest was final.
    pub closed: bool,
    /// Epochs that were left: what is sealed for them is void.
    pub left: Vec<String>,
}

impl Position {
    /// The start of an epoch at its line `base`, behind `before`.
    pub fn start(of: &str, base: u64, before: Option<&Self>, now: UnixNanos) -> Self {
        Self {
            of: of.to_owned(),
            epoch: of.to_owned(),
            base,
            next: 0,
            serial: before.map_or(0, |before| before.serial),
            tree: Frontier::default(),
            prev: before.and_then(|before| before.prev.clone()),
            end: before.map_or(now.0, |before| before.end),
            gaps: 0,
            reason: None,
            closed: false,
            left: before.map(|before| before.left.clone()).unwrap_or_default(),
        }
    }

    /// The number of the next line.
    pub fn leaf(&self) -> u64 {
        self.base + self.tree.size()
    }

    /// Goes on with the same lines in another tree.
    #[must_use]
    pub fn leave(&self, epoch: String, reason: &str) -> Self {
        let mut next = Self {
            epoch,
            base: self.leaf(),
            next: 0,
            tree: Frontier::default(),
            gaps: 0,
            reason: Some(reason.to_owned()),
            closed: false,
            ..self.clone()
        };
        next.left.push(self.epoch.clone());
        let over = next.left.len().saturating_sub(MAX_LEFT);
        next.left.drain(..over);
        next
    }
}

/// The file: every chain of this gateway's vault.
#[derive(Default, Serialize, Deserialize)]
pub struct Saved {
    /// The format, 1.
    pub v: u8,
    /// The chains.
    pub chains: Vec<SavedChain>,
    /// Payload objects whose names were taken, and the names that they have instead.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub aside: BTreeMap<String, String>,
    /// The newest erasures that were reported.
    #[serde(default, skip_serializing_if = "NewestErasures::is_empty")]
    pub erasures: NewestErasures,
}

/// One of them.
#[derive(Serialize, Deserialize)]
pub struct SavedChain {
    /// Account.
    pub account: String,
    /// Writer.
    pub writer: String,
    /// Where it stands.
    pub position: Position,
    /// Sessions that have no line of their own yet, of digests that are stored.
    #[serde(default)]
    pub sessions: Vec<SessionLine>,
}
