//! [`ChainPosition`]: the state of a writer's chain for one account, and the file that stores it ([`SavedChains`]). The
//! next digest must link to the last one after any crash, so the position is saved after a digest was stored and before
//! its records are done: the spool and the file together are always complete. Neighbour: `uploader/journal` writes the
//! file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use kernel::clock::UnixNanos;

use crate::sessions::SessionLine;

use super::digest::DigestLink;
use super::erasures::NewestErasures;
use super::tree::Frontier;

/// Most abandoned epochs that are remembered.
const MAX_ABANDONED_EPOCHS: usize = 32;

/// State of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainPosition {
    /// The epoch that its lines name.
    pub of: String,
    /// The epoch that its digests name: the same, unless the chain had to abandon that epoch.
    pub epoch: String,
    /// Number of the line that is leaf 0 of the tree.
    pub base: u64,
    /// Number of the next digest.
    pub next: u64,
    /// Digests so far, across all epochs; detects a digest that was read twice.
    pub serial: u64,
    /// Tree over the lines of stored digests.
    pub tree: Frontier,
    /// The last digest, of any epoch.
    pub prev: Option<DigestLink>,
    /// End of the last digest's time range, ns since 1970.
    pub end: u64,
    /// Lines that only record a lost line.
    pub gaps: u64,
    /// Why the first digest has no previous one, or continues another epoch.
    pub reason: Option<String>,
    /// Whether the last digest was final.
    pub closed: bool,
    /// Abandoned epochs: digests sealed for them are void.
    pub left: Vec<String>,
}

impl ChainPosition {
    /// The start of an epoch at its line `base`, after the position `before`.
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

    /// Number of the next line.
    pub fn next_leaf(&self) -> u64 {
        self.base + self.tree.size()
    }

    /// Continues the same lines in another tree, under another epoch.
    #[must_use]
    pub fn abandon_epoch(&self, epoch: String, reason: &str) -> Self {
        let mut next = Self {
            epoch,
            base: self.next_leaf(),
            next: 0,
            tree: Frontier::default(),
            gaps: 0,
            reason: Some(reason.to_owned()),
            closed: false,
            ..self.clone()
        };
        next.left.push(self.epoch.clone());
        let over = next.left.len().saturating_sub(MAX_ABANDONED_EPOCHS);
        next.left.drain(..over);
        next
    }
}

/// Content of the file: every chain of this gateway's vault.
#[derive(Default, Serialize, Deserialize)]
pub struct SavedChains {
    /// Version of the format: 1.
    pub v: u8,
    /// All chains.
    pub chains: Vec<SavedChain>,
    /// Payload objects whose names were taken, with their alternative names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub aside: BTreeMap<String, String>,
    /// The newest erasures that were reported.
    #[serde(default, skip_serializing_if = "NewestErasures::is_empty")]
    pub erasures: NewestErasures,
}

/// One chain in the file.
#[derive(Serialize, Deserialize)]
pub struct SavedChain {
    /// Account of the chain.
    pub account: String,
    /// Writer's name.
    pub writer: String,
    /// State of the chain.
    pub position: ChainPosition,
    /// Sessions in stored digests that have no session line yet.
    #[serde(default)]
    pub sessions: Vec<SessionLine>,
}
