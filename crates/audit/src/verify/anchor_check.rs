//! Compares the chains with anchors: the anchored digests must exist, and each epoch must have been anchored at about
//! its claimed time. A thief of a signing key can write chains that claim to be years old, and the next anchor would
//! include them; only an anchor from the claimed time proves that they existed then.
//!
//! An anchor covers its digest and all digests before it. Anchor times are trusted because the anchor's own key signed
//! them. Neighbour: `anchor` parses anchor files.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::chains::{ChainId, epoch_folder};
use kernel::clock::UnixNanos;
use vault::chain::digest::DigestLink;
use vault::object_names::{account_segment, parse_time, rfc3339};

use super::anchor::{self, AnchorEntry};
use super::options::DEFAULT_ANCHORED_WITHIN;
use super::run_state::{ChainVerification, EpochVerification, VerificationRun};

/// Time of the first anchor that covers an epoch, by account (as in object names), writer and epoch.
type FirstAnchors<'c> = BTreeMap<(&'c str, &'c str, &'c str), UnixNanos>;

/// For each epoch, the earliest start of the epoch and those before it; `None` if a start is unreadable. A process that
/// starts during an outage of the store dates its first digest late, so an epoch's own start alone is no bound.
fn chain_starts(epochs: &[EpochVerification]) -> Vec<Option<UnixNanos>> {
    let find_epoch = |name: &str| epochs.iter().find(|epoch| epoch.name == name);
    let parse_start = |epoch: &EpochVerification| epoch.began_at.as_deref().and_then(parse_time);
    let earliest_start = |epoch: &EpochVerification| {
        let (mut earliest, mut previous) =
            (parse_start(epoch), epoch.prev.as_ref().and_then(|prev| find_epoch(&prev.epoch)));
        for _ in epochs {
            let Some(epoch) = previous else { break };
            earliest = earliest.zip(parse_start(epoch)).map(|(one, other)| one.min(other));
            previous = epoch.prev.as_ref().and_then(|prev| find_epoch(&prev.epoch));
        }
        earliest
    };
    epochs.iter().map(earliest_start).collect()
}

impl VerificationRun<'_> {
    pub(super) fn check_anchors(&mut self, chains: &[ChainVerification]) {
        let mut first_anchors = FirstAnchors::new();
        for (number, text) in self.options.anchors.iter().enumerate() {
            let location = format!("anchor {}", number + 1);
            match anchor::open(text, &self.options.anchor_keys) {
                Err(why) => self.report.fail("anchor", location, why),
                Ok(entries) => self.check_anchor(&location, &entries, chains, &mut first_anchors),
            }
        }
        if self.options.anchors.is_empty() {
            return;
        }
        for ChainVerification { id: chain, epochs } in chains {
            for epoch in epochs {
                let anchored = first_anchors.get(&(chain.account.as_str(), chain.writer.as_str(), epoch.name.as_str()));
                self.check_epoch_anchor(chain, epoch, anchored.copied());
            }
            for (epoch, began) in epochs.iter().zip(chain_starts(epochs)) {
                self.check_arrival(chain, epoch, began);
            }
        }
    }

    /// Checks that the digests of one anchor exist, and notes which epochs it covers.
    fn check_anchor<'c>(
        &mut self,
        location: &str,
        entries: &[AnchorEntry],
        chains: &'c [ChainVerification],
        first_anchors: &mut FirstAnchors<'c>,
    ) {
        for entry in entries {
            let account = account_segment(&entry.account);
            let is_excluded = self.options.account.as_ref().is_some_and(|account| *account != entry.account)
                || self.options.writer.as_ref().is_some_and(|writer| *writer != entry.writer);
            if is_excluded {
                continue;
            }
            let chain = chains.iter().find(|chain| chain.id.account == account && chain.id.writer == entry.writer);
            let epochs = chain.map(|chain| chain.epochs.as_slice()).unwrap_or_default();
            let find_epoch = |name: &str| epochs.iter().find(|epoch| epoch.name == name);
            let mut epoch = find_epoch(&entry.digest.epoch);
            let digest_sha256 = epoch.and_then(|epoch| epoch.digests.get(&entry.digest.n));
            if digest_sha256.map(|sha256| kernel::hex::encode(sha256)).as_ref() != Some(&entry.digest.sha256) {
                let DigestLink { epoch, n, .. } = &entry.digest;
                let message = format!(
                    "digest {n} of {}/{}/{epoch}, anchored at {}, is missing or was replaced",
                    entry.account, entry.writer, entry.time
                );
                self.report.fail("anchor", location, message);
                continue;
            }
            let (Some(chain), Some(time)) = (chain, parse_time(&entry.time)) else { continue };
            // the anchor also covers all earlier epochs, by their links; the loop bound guards against cycles
            for _ in epochs {
                let Some(covered) = epoch else { break };
                let key = (chain.id.account.as_str(), chain.id.writer.as_str(), covered.name.as_str());
                let earliest = first_anchors.entry(key).or_insert(time);
                *earliest = (*earliest).min(time);
                epoch = covered.prev.as_ref().and_then(|prev| find_epoch(&prev.epoch));
            }
        }
    }

    fn anchored_within(&self) -> Duration {
        self.options.anchored_within.unwrap_or(DEFAULT_ANCHORED_WITHIN)
    }

    /// Checks that an epoch was anchored at about the time of its first digest.
    fn check_epoch_anchor(&mut self, chain: &ChainId, epoch: &EpochVerification, anchored: Option<UnixNanos>) {
        let (location, within) = (epoch_folder(chain, &epoch.name), self.anchored_within());
        let Some(began) = epoch.began_at.as_deref().and_then(parse_time) else {
            let message = "the time of its first digest is unreadable, so no anchor can confirm it";
            return self.report.fail("unanchored", location, message);
        };
        let latest = began.plus(within);
        if anchored.is_some_and(|anchored| anchored <= latest) {
            return;
        }
        if anchored.is_none() && self.options.now <= latest {
            return self.report.not_verified.push(format!("{location}: too recent to be in an anchor"));
        }
        let hours = within.as_secs() / 3600;
        let began = epoch.began_at.as_deref().unwrap_or_default();
        let problem = match anchored {
            None => format!("it claims to have begun at {began}, but no given anchor covers it"),
            Some(_) => format!(
                "it claims to have begun at {began}, but no given anchor that covers it was made within {hours} hours"
            ),
        };
        let why = "a thief of the signing key could have written it later: give anchors from that time";
        self.report.fail("unanchored", location, format!("{problem}: {why}"));
    }

    /// Checks that an epoch's lines did not arrive before the start of its chain, which anchors confirm.
    fn check_arrival(&mut self, chain: &ChainId, epoch: &EpochVerification, began: Option<UnixNanos>) {
        let (Some(first), Some(began)) = (epoch.first_arrival, began) else { return };
        if first.plus(self.anchored_within()) < began {
            let message = format!(
                "its lines claim to have arrived from {} on, but its chain began at {}: a thief of the signing key \
                 could have written them later",
                rfc3339(first),
                rfc3339(began)
            );
            self.report.fail("unanchored", epoch_folder(chain, &epoch.name), message);
        }
    }
}
