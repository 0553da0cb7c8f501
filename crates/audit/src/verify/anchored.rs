//! Compares the chains with anchors: the anchored digests must exist, and each epoch must have been anchored at about
//! its claimed time. A thief of a signing key can write accounts and writers of past years, and the next anchor would
//! include them; only an anchor of that time proves that they existed.
//!
//! An anchor covers its digest and all digests before it. Anchor times are trusted because the anchor's own key signed
//! them. Neighbour: `anchor` parses anchor files.

use std::collections::BTreeMap;

use crate::chains::{Line, folder};
use kernel::clock::UnixNanos;
use vault::chain::digest::Link;
use vault::names::{account_segment, rfc3339};

use super::anchor::{self, Anchor};
use super::times::moment;
use super::walk::{Epoch, Walk};

/// The start of each epoch's chain: the first of the epochs that it follows. A process that starts during an outage of
/// the store dates its first digest late, so its own start is no bound if another epoch precedes it.
fn beginnings(epochs: &[Epoch]) -> Vec<Option<UnixNanos>> {
    let named = |name: &str| epochs.iter().find(|epoch| epoch.name == name);
    let began = |epoch: &Epoch| epoch.began.as_deref().and_then(moment);
    let of_chain = |epoch: &Epoch| {
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

impl Walk<'_> {
    /// Compares the chains with all anchors.
    pub(super) fn anchors(&mut self, lines: &[(Line, Vec<Epoch>)]) {
        // time of the first anchor, by account, writer and epoch
        let mut first: BTreeMap<(&str, &str, &str), UnixNanos> = BTreeMap::new();
        for (number, text) in self.options.anchors.iter().enumerate() {
            let at = format!("anchor {}", number + 1);
            match anchor::open(text, &self.options.anchor_keys) {
                Err(why) => self.report.fail("anchor", at, why),
                Ok(anchor) => self.anchor(&at, &anchor, lines, &mut first),
            }
        }
        if self.options.anchors.is_empty() {
            return;
        }
        for (line, epochs) in lines {
            for epoch in epochs {
                let anchored = first.get(&(line.account.as_str(), line.writer.as_str(), epoch.name.as_str()));
                self.anchored(line, epoch, anchored.copied());
            }
            for (epoch, began) in epochs.iter().zip(beginnings(epochs)) {
                self.arrived(line, epoch, began);
            }
        }
    }

    /// Checks that the digests of one anchor exist, and notes which epochs it covers.
    fn anchor<'l>(
        &mut self,
        at: &str,
        anchor: &Anchor,
        lines: &'l [(Line, Vec<Epoch>)],
        first: &mut BTreeMap<(&'l str, &'l str, &'l str), UnixNanos>,
    ) {
        for entry in &anchor.entries {
            let account = account_segment(&entry.account);
            let wanted = |(line, _): &&(Line, Vec<Epoch>)| line.account == account && line.writer == entry.writer;
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
                let Link { epoch, n, .. } = &entry.digest;
                let what = format!(
                    "digest {n} of {}/{}/{epoch}, anchored at {}, is missing or another one",
                    entry.account, entry.writer, anchor.time
                );
                self.report.fail("anchor", at, what);
                continue;
            }
            let (Some((line, _)), Some(time)) = (chain, moment(&entry.time)) else { continue };
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
    fn anchored(&mut self, line: &Line, epoch: &Epoch, anchored: Option<UnixNanos>) {
        let (at, within) = (folder(line, &epoch.name), self.options.anchored_within);
        let Some(began) = epoch.began.as_deref().and_then(moment) else {
            let what = "the time of its first digest is none, so that no anchor can be of about that time";
            return self.report.fail("unanchored", at, what);
        };
        let latest = began.plus(within);
        if anchored.is_some_and(|anchored| anchored <= latest) {
            return;
        }
        if anchored.is_none() && self.options.now <= latest {
            return self.report.not_verified.push(format!("{at}: it is too young to stand in an anchor"));
        }
        let hours = within.as_secs() / 3600;
        let began = epoch.began.as_deref().unwrap_or_default();
        let what = match anchored {
            None => format!("it says that it began at {began}, and no anchor given here tells of it"),
            Some(_) => format!(
                "it says that it began at {began}, and no anchor given here that tells of it was made within {hours} hours"
            ),
        };
        let why = "whoever stole the signing key could have written it later: give the anchors of that time";
        self.report.fail("unanchored", at, format!("{what}: {why}"));
    }

    /// Checks that an epoch's lines did not arrive before the start of its chain, which anchors confirm.
    fn arrived(&mut self, line: &Line, epoch: &Epoch, began: Option<UnixNanos>) {
        let (Some(first), Some(began)) = (epoch.arrived, began) else { return };
        if first.plus(self.options.anchored_within) < began {
            let what = format!(
                "its lines say that they arrived from {} on, and its chain began at {}: whoever stole the signing key could have \
                 written them later",
                rfc3339(first),
                rfc3339(began)
            );
            self.report.fail("unanchored", folder(line, &epoch.name), what);
        }
    }
}
