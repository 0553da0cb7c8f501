//! Judges the links between a writer's epochs, its newest digest, and leaves seen elsewhere. A cut-off end or a fork
//! shows only between epochs, or from outside. If the writer itself declares a problem in a signed digest (lost state,
//! a damaged spool), it is a warning; otherwise a failure. Neighbours: `epoch` (within an epoch), `anchored`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::chains::{ChainId, epoch_folder};
use crate::read::LeafId;
use kernel::clock::UnixNanos;
use vault::chain::digest::DigestLink;
use vault::object_names::{parse_time, rfc3339};

use super::run_state::{ChainVerification, EpochVerification, VerificationRun, find_epoch};

/// A chain without digests for this long is reported, unless its newest digest says when the next one is due.
const MAX_SILENCE: Duration = Duration::from_secs(2 * 3600 + 600);

impl VerificationRun<'_> {
    /// Judges the epochs of one writer.
    pub(super) fn check_links(&mut self, chain: &ChainId, epochs: &[EpochVerification]) {
        let (failures_before, excused_before) = (self.report.failures, self.excused_failures);
        self.check_epochs(chain, epochs);
        let has_unexcused_failure = self.report.failures - failures_before > self.excused_failures - excused_before;
        if has_unexcused_failure || epochs.iter().any(|epoch| epoch.broken) {
            self.report.broken.insert(chain.clone());
        }
    }

    fn check_epochs(&mut self, chain: &ChainId, epochs: &[EpochVerification]) {
        let mut followed: BTreeMap<(&str, u64), &EpochVerification> = BTreeMap::new();
        let mut roots = Vec::new();
        for epoch in epochs {
            let location = epoch.folder();
            let Some(prev) = &epoch.prev else {
                if !epoch.digests.contains_key(&0) {
                    continue; // the missing digests were reported
                }
                roots.push(epoch);
                continue;
            };
            if let Some(other) = followed.insert((&prev.epoch, prev.n), epoch) {
                let message = format!("it continues from the same digest as the epoch {}", other.name);
                self.report.fail("fork", &location, message);
            }
            self.check_link(epoch, prev, epochs);
        }
        if let Some((_, later)) = roots.split_first() {
            for epoch in later {
                let message = "it names no previous digest: the writer lost its state, or another writer uses \
                            the same name; earlier epochs may be missing";
                self.report.warn("unlinked", epoch.folder(), message);
            }
        }
        for epoch in &roots {
            if epoch.reason.is_none() {
                let message = "it names no previous digest and gives no reason";
                self.report.fail("link", epoch.folder(), message);
            }
        }
        if roots.is_empty() && epochs.iter().any(|epoch| epoch.digests.contains_key(&0)) {
            self.report.fail("link", epoch_folder(chain, ""), "no epoch starts the chain");
        }
        let heads: Vec<&EpochVerification> =
            epochs.iter().filter(|epoch| !epochs.iter().any(|other| is_successor(other, epoch))).collect();
        if heads.len() > roots.len().max(1) {
            let names: Vec<&str> = heads.iter().map(|epoch| epoch.name.as_str()).collect();
            let message = format!("several epochs are the last of the chain: {}", names.join(", "));
            self.report.fail("fork", epoch_folder(chain, ""), message);
        }
        for epoch in heads {
            self.check_head(epoch);
        }
    }

    /// Judges a link to the previous epoch.
    fn check_link(&mut self, epoch: &EpochVerification, prev: &DigestLink, epochs: &[EpochVerification]) {
        let location = epoch.folder();
        let Some(previous) = find_epoch(epochs, &prev.epoch) else {
            return self.report.fail(
                "epoch_missing",
                location,
                format!("the previous epoch {} is missing", prev.epoch),
            );
        };
        match previous.digests.get(&prev.n) {
            None => {
                let message = format!("digest {} of the epoch {}, its last, is missing", prev.n, prev.epoch);
                return self.report.fail("epoch_truncated", location, message);
            }
            Some(sha256) if kernel::hex::encode(sha256) != prev.sha256 => {
                let message =
                    format!("digest {} of the epoch {} differs from the one that it names", prev.n, prev.epoch);
                return self.report.fail("link", location, message);
            }
            Some(_) => {}
        }
        // foreign objects after the named digest don't extend the epoch
        let named_digest = previous.newest_valid.as_ref().filter(|newest| newest.digest.n == prev.n);
        let Some(last) = named_digest.or(previous.last.as_ref()) else { return };
        // lines must continue exactly where the abandoned tree ends, without gaps or repetitions
        if let Some(continues) = &epoch.continues
            && epoch.line_epoch == previous.line_epoch
            && previous.base.checked_add(last.tree_size) != Some(continues.leaf)
        {
            // more digests than the one that it names mean a fork, whatever the lines
            let (code, end) = if last.digest.n == prev.n { ("tree_size", "end") } else { ("fork", "end now") };
            let message = format!("its lines do not start where the lines of the epoch {} {end}", prev.epoch);
            self.report.fail(code, location.clone(), message);
        }
        let reason = epoch.reason.as_deref().filter(|_| epoch.continues.is_some());
        let reason = reason.filter(|reason| ["damaged:", "dropped:"].iter().any(|why| reason.starts_with(why)));
        match reason {
            Some(reason) => self.report.warn(
                "epoch_abandoned",
                location,
                format!("the chain left the epoch {}: {reason}", prev.epoch),
            ),
            None if epoch.continues.is_some() => {
                // the writer's signed reason applies: a foreign object in place of its digest made it leave the epoch
                self.excused_failures += u64::from(previous.has_foreign_end && epoch.reason.is_some());
                let reason = epoch.reason.as_deref().unwrap_or("no reason is given");
                self.report.fail("fork", location, format!("the chain left the epoch {}: {reason}", prev.epoch));
            }
            None if last.digest.n != prev.n => {
                let message = format!("the epoch {} continues after the digest that it names", prev.epoch);
                self.report.fail("fork", location, message);
            }
            None if !last.is_final => {
                let message = format!("it follows the epoch {}, whose last digest is not final", prev.epoch);
                self.report.fail("epoch_truncated", location, message);
            }
            None => {}
        }
    }

    /// Judges the newest digest of a writer.
    fn check_head(&mut self, epoch: &EpochVerification) {
        let (Some(last), location) = (&epoch.newest_valid, epoch.folder()) else { return };
        let silent_until = || rfc3339(parse_time(&last.end).unwrap_or(UnixNanos(0)).plus(MAX_SILENCE));
        let due = last.next_by.clone().unwrap_or_else(silent_until);
        if !last.is_final && due < rfc3339(self.options.now) {
            let message = format!(
                "no digest since {}, which was not a final one, although one was due by {due}: the writer was killed \
                 and not started again, can't reach the store, or newer digests were cut off",
                last.end
            );
            self.report.warn("no_recent_digest", &location, message);
        }
        self.report.heads.push(last.clone());
    }

    /// Checks that leaves seen elsewhere are in a chain.
    pub(super) fn check_leaves(&mut self, chains: &[ChainVerification]) {
        for leaf in &self.options.leaves {
            let Ok(LeafId { writer, epoch, number }) = LeafId::parse(leaf) else {
                self.report.fail("leaf_missing", leaf, "is not a leaf: use `writer/epoch/number`");
                continue;
            };
            let contains_leaf = |found: &EpochVerification| {
                let size = found.last.as_ref().map_or(0, |last| last.tree_size);
                found.line_epoch == epoch && (found.base..found.base.saturating_add(size)).contains(&number)
            };
            // the span does not name the account, and each account numbers its lines from 0
            let (mut is_found, mut accounts_without) = (false, BTreeSet::new());
            for ChainVerification { id, epochs } in chains.iter().filter(|chain| chain.id.writer == writer) {
                if epochs.iter().any(contains_leaf) {
                    is_found = true;
                } else if epochs.iter().any(|found| found.line_epoch == epoch) {
                    accounts_without.insert(id.account.as_str());
                }
            }
            if !is_found {
                let message = "no chain contains it: its digest was removed, or is not written yet";
                self.report.fail("leaf_missing", leaf, message);
            } else if !accounts_without.is_empty() {
                let accounts = accounts_without.into_iter().collect::<Vec<_>>().join(", ");
                let message = format!(
                    "a chain contains it, but those of {accounts} do not: verify with --account set to the \
                     account that reported this leaf"
                );
                self.report.fail("leaf_missing", leaf, message);
            }
        }
    }
}

/// Whether `other` names `epoch` as its previous epoch.
fn is_successor(other: &EpochVerification, epoch: &EpochVerification) -> bool {
    other.prev.as_ref().is_some_and(|prev| prev.epoch == epoch.name)
}
