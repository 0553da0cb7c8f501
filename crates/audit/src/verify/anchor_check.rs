//! Compares the chains with anchors: the anchored digests must exist, and each epoch must have been anchored at about
//! its claimed time. A thief of a signing key can write accounts and writers of past years, and the next anchor would
//! include them; only an anchor of that time proves that they existed.
//!
//! An anchor covers its digest and all digests before it. Anchor times are trusted because the anchor's own key signed
//! them. Neighbour: `anchor` parses anchor files.

use std::collections::BTreeMap;

use crate::chains::{ChainId, epoch_folder};
use kernel::clock::UnixNanos;
use vault::chain::digest::DigestLink;
use vault::object_names::{account_segment, rfc3339};

use super::anchor::{self, Anchor};
use super::run_state::{EpochVerification, VerificationRun};
use super::times::parse_time;

/// The start of each epoch's chain: the first of the epochs that it follows. A process that starts during an outage of
/// the store dates its first digest late, so its own start is no bound if another epoch precedes it.
fn chain_starts(epochs: &[EpochVerification]) -> Vec<Option<UnixNanos>> {
    let named = |name: &str| epochs.iter().find(|epoch| epoch.name == name);
    let began = |epoch: &EpochVerification| epoch.began_at.as_deref().and_then(parse_time);
    let of_chain = |epoch: &EpochVerification| {
        let (mut least, mut at) = (began(epoch), epoch.prev.as_ref().and_then(|prev| named(&prev.epoch)));
        for _ in epochs {
            let Some(before) = at else { break };
            least = least.zip(began(before)).map(|(one, other)| one.min(other));
            at = before.prev.as_ref().and_then(|prev| named(&prev.epoch));
        }
        least
    };
    epochs.iter().map(of_chain).collect()
}

impl VerificationRun<'_> {
    /// Compares the chains with all anchors.
    pub(super) fn check_anchors(&mut self, lines: &[(ChainId, Vec<EpochVerification>)]) {
        // time of the first anchor, by account, writer and epoch
        let mut first: BTreeMap<(&str, &str, &str), UnixNanos> = BTreeMap::new();
        for (number, text) in self.options.anchors.iter().enumerate() {
            let at = format!("anchor {}", number + 1);
            match anchor::open(text, &self.options.anchor_keys) {
                Err(why) => self.report.fail("anchor", at, why),
                Ok(anchor) => self.check_anchor(&at, &anchor, lines, &mut first),
            }
        }
        if self.options.anchors.is_empty() {
            return;
        }
        for (line, epochs) in lines {
            for epoch in epochs {
                let anchored = first.get(&(line.account.as_str(), line.writer.as_str(), epoch.name.as_str()));
                self.check_epoch_anchor(line, epoch, anchored.copied());
            }
            for (epoch, began) in epochs.iter().zip(chain_starts(epochs)) {
                self.check_arrival(line, epoch, began);
            }
        }
    }

    /// Checks that the digests of one anchor exist, and notes which epochs it covers.
    fn check_anchor<'l>(
        &mut self,
        at: &str,
        anchor: &Anchor,
        lines: &'l [(ChainId, Vec<EpochVerification>)],
        first: &mut BTreeMap<(&'l str, &'l str, &'l str), UnixNanos>,
    ) {
        for entry in &anchor.entries {
            let account = account_segment(&entry.account);
            let wanted =
                |(line, _): &&(ChainId, Vec<EpochVerification>)| line.account == account && line.writer == entry.writer;
            let elsewhere = self.options.account.as_ref().is_some_and(|account| *account != entry.account)
                || self.options.writer.as_ref().is_some_and(|writer| *writer != entry.writer);
            if elsewhere {
                continue;
            }
            let chain = lines.iter().find(wanted);
            let epochs = chain.map(|(_, epochs)| epochs.as_slice()).unwrap_or_default();
            let named = |name: &str| epochs.iter().find(|epoch| epoch.name == name);
            let mut epoch = named(&entry.digest.epoch);
            let found = epoch.and_then(|epoch| epoch.digests.get(&entry.digest.n));
            if found.map(|sha256| kernel::hex::encode(sha256)).as_ref() != Some(&entry.digest.sha256) {
                let DigestLink { epoch, n, .. } = &entry.digest;
                let what = format!(
                    "digest {n} of {}/{}/{epoch}, anchored at {}, is missing or was replaced",
                    entry.account, entry.writer, anchor.time
                );
                self.report.fail("anchor", at, what);
                continue;
            }
            let (Some((line, _)), Some(time)) = (chain, parse_time(&entry.time)) else { continue };
            // the anchor also covers all earlier epochs, by their links; the loop bound guards against cycles
            for _ in epochs {
                let Some(covered) = epoch else { break };
                let key = (line.account.as_str(), line.writer.as_str(), covered.name.as_str());
                let known = first.entry(key).or_insert(time);
                *known = (*known).min(time);
                epoch = covered.prev.as_ref().and_then(|prev| named(&prev.epoch));
            }
        }
    }

    /// Checks that an epoch was anchored at about the time of its first digest.
    fn check_epoch_anchor(&mut self, line: &ChainId, epoch: &EpochVerification, anchored: Option<UnixNanos>) {
        let (at, within) = (epoch_folder(line, &epoch.name), self.options.anchored_within);
        let Some(began) = epoch.began_at.as_deref().and_then(parse_time) else {
            let what = "the time of its first digest is unreadable, so no anchor can confirm it";
            return self.report.fail("unanchored", at, what);
        };
        let latest = began.plus(within);
        if anchored.is_some_and(|anchored| anchored <= latest) {
            return;
        }
        if anchored.is_none() && self.options.now <= latest {
            return self.report.not_verified.push(format!("{at}: too recent to be in an anchor"));
        }
        let hours = within.as_secs() / 3600;
        let began = epoch.began_at.as_deref().unwrap_or_default();
        let what = match anchored {
            None => format!("it claims to have begun at {began}, but no given anchor covers it"),
            Some(_) => format!(
                "it claims to have begun at {began}, but no given anchor that covers it was made within {hours} hours"
            ),
        };
        let why = "a thief of the signing key could have written it later: give anchors from that time";
        self.report.fail("unanchored", at, format!("{what}: {why}"));
    }

    /// Checks that an epoch's lines did not arrive before the start of its chain, which anchors confirm.
    fn check_arrival(&mut self, line: &ChainId, epoch: &EpochVerification, began: Option<UnixNanos>) {
        let (Some(first), Some(began)) = (epoch.first_arrival, began) else { return };
        if first.plus(self.options.anchored_within) < began {
            let what = format!(
                "its lines claim to have arrived from {} on, but its chain began at {}: a thief of the signing key could have \
                 written them later",
                rfc3339(first),
                rfc3339(began)
            );
            self.report.fail("unanchored", epoch_folder(line, &epoch.name), what);
        }
    }
}
