//! [`ChainPosition`]: the state of a writer's chain for one account, and the file that stores it ([`SavedChains`]). The
//! next digest must link to the last one after any crash, so the position is saved after a digest was stored and before
//! its records are done: the spool and the file together are always complete. Neighbour: `uploader/journal` writes the
//! file.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use kernel::clock::UnixNanos;

use crate::sessions::SessionLine;

use super::digest::{DigestCounters, DigestLink};
use super::erasures::NewestErasures;
use super::tree::Frontier;

/// Limit for remembered abandoned epochs; the oldest are forgotten.
const MAX_ABANDONED_EPOCHS: usize = 32;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainPosition {
    #[serde(rename = "of")]
    pub line_epoch: String,
    /// The epoch that its digests name: the same as `line_epoch`, unless the chain had to abandon that epoch.
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
    /// Counters of the last digest, without `next_by`: other ones are news.
    #[serde(default)]
    pub counters: DigestCounters,
    /// Why the first digest has no previous one, or continues another epoch.
    pub reason: Option<String>,
    /// Whether the last digest was final.
    pub closed: bool,
    /// Abandoned epochs: digests sealed for them are void.
    #[serde(rename = "left")]
    pub abandoned_epochs: Vec<String>,
}

impl ChainPosition {
    /// The start of an epoch at its line `base`, after the position `previous`.
    pub fn start(epoch: &str, base: u64, previous: Option<&Self>, now: UnixNanos) -> Self {
        let start = Self { line_epoch: epoch.to_owned(), epoch: epoch.to_owned(), base, end: now.0, ..Self::default() };
        let Some(Self { serial, prev, end, abandoned_epochs, .. }) = previous.cloned() else { return start };
        Self { serial, prev, end, abandoned_epochs, ..start }
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
        next.abandoned_epochs.push(self.epoch.clone());
        let excess = next.abandoned_epochs.len().saturating_sub(MAX_ABANDONED_EPOCHS);
        next.abandoned_epochs.drain(..excess);
        next
    }
}

/// Content of the file: the state of every chain of this gateway's vault.
#[derive(Default, Serialize, Deserialize)]
pub struct SavedChains {
    /// Version of the format: 1.
    pub v: u8,
    pub chains: Vec<SavedChain>,
    /// Payload and key objects whose names were taken, with their alternative names.
    #[serde(default, rename = "aside", skip_serializing_if = "BTreeMap::is_empty")]
    pub alternative_names: BTreeMap<String, String>,
    /// The newest erasures that were reported.
    #[serde(default, skip_serializing_if = "NewestErasures::is_empty")]
    pub erasures: NewestErasures,
}

/// The chain of one account and writer, across all epochs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ChainId {
    pub account: Arc<str>,
    pub writer: Arc<str>,
}

#[derive(Serialize, Deserialize)]
pub struct SavedChain {
    #[serde(flatten)]
    pub id: ChainId,
    pub position: ChainPosition,
    /// Sessions in stored digests that have no session line yet.
    #[serde(default)]
    pub sessions: Vec<SessionLine>,
}
