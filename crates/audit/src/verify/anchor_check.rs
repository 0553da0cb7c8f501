//! Compares the chains with anchors: the anchored digests must exist, and each epoch must have been anchored at about
//! its claimed time. A thief of a signing key can write chains that claim to be years old, and the next anchor would
//! include them; only an anchor from the claimed time proves that they existed then.
//!
//! An anchor covers its digest and all digests before it. Anchor times are trusted because the anchor's own key signed
//! them. Neighbour: `anchor` parses anchor files.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::chains::ChainId;
use kernel::clock::UnixNanos;
use vault::chain::digest::DigestLink;
use vault::object_names::{account_segment, parse_time, rfc3339};

use super::anchor::{self, AnchorEntry};
use super::options::DEFAULT_ANCHORED_WITHIN;
use super::run_state::{ChainVerification, EpochVerification, VerificationRun, find_epoch, with_earlier_epochs};

/// Time of the first anchor that covers an epoch.
type FirstAnchors<'c> = BTreeMap<(&'c ChainId, &'c str), UnixNanos>;

/// For each epoch, the earliest start of the epoch and those before it; `None` if a start is unreadable. A process that
/// starts during an outage of the store dates its first digest late, so an epoch's own start alone is no bound.
fn chain_starts(epochs: &[EpochVerification]) -> Vec<Option<UnixNanos>> {
    let parse_start = |epoch: &EpochVerification| epoch.began_at.as_deref().and_then(parse_time);
    // an unreadable start is less than any other
    epochs.iter().map(|epoch| with_earlier_epochs(epochs, epoch).map(parse_start).min().flatten()).collect()
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
        for ChainVerification { epochs, .. } in chains {
            for epoch in epochs {
                self.check_epoch_anchor(epoch, first_anchors.get(&(&epoch.chain, epoch.name.as_str())).copied());
            }
            for (epoch, began) in epochs.iter().zip(chain_starts(epochs)) {
                self.check_arrival(epoch, began);
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
            let DigestLink { epoch, n, sha256 } = &entry.digest;
            let anchored = find_epoch(epochs, epoch).filter(|epoch| epoch.has_digest_with(*n, sha256));
            let Some(anchored) = anchored else {
                let message = format!(
                    "digest {n} of {}/{}/{epoch}, anchored at {}, is missing or was replaced",
                    entry.account, entry.writer, entry.time
                );
                self.report.fail("anchor", location, message);
                continue;
            };
            let Some(time) = parse_time(&entry.time) else { continue };
            // the anchor also covers all earlier epochs, by their links
            for covered in with_earlier_epochs(epochs, anchored) {
                let earliest = first_anchors.entry((&covered.chain, &covered.name)).or_insert(time);
                *earliest = (*earliest).min(time);
            }
        }
    }

    fn anchored_within(&self) -> Duration {
        self.options.anchored_within.unwrap_or(DEFAULT_ANCHORED_WITHIN)
    }

    /// Checks that an epoch was anchored at about the time of its first digest.
    fn check_epoch_anchor(&mut self, epoch: &EpochVerification, anchored: Option<UnixNanos>) {
        let (location, within) = (epoch.folder(), self.anchored_within());
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
    fn check_arrival(&mut self, epoch: &EpochVerification, began: Option<UnixNanos>) {
        let (Some(first), Some(began)) = (epoch.first_arrival, began) else { return };
        if first.plus(self.anchored_within()) < began {
            let message = format!(
                "its lines claim to have arrived from {} on, but its chain began at {}: a thief of the signing key \
                 could have written them later",
                rfc3339(first),
                rfc3339(began)
            );
            self.report.fail("unanchored", epoch.folder(), message);
        }
    }
}
