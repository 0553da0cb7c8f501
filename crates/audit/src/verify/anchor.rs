//! Anchors: the newest digest of every writer, signed by another party and kept elsewhere. A chain alone can't show
//! that its end was cut off or that its key was stolen; an anchor can: it covers its digest and all before it, and was
//! made at the time that its own key signed. So an anchored digest must exist, and each epoch must have been anchored
//! at about its claimed time: a thief of a key can write chains that claim to be years old. The signed checkpoint
//! covers an RFC 6962 tree of the entries' lines. Storing anchors is up to the user.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::options::DEFAULT_ANCHORED_WITHIN;
use super::report::ChainHead;
use super::run_state::{ChainVerification, EpochVerification, VerificationRun, find_epoch, with_earlier_epochs};
use crate::chains::ChainId;
use kernel::clock::UnixNanos;
use vault::chain::digest::DigestLink;
use vault::chain::note::{self, Checkpoint, SigningKey, VerifyKey};
use vault::chain::tree::{Frontier, leaf_hash};
use vault::object_names::{account_segment, parse_time, rfc3339};

/// The newest digest of one writer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnchorEntry {
    /// Time of the anchor, RFC 3339.
    pub time: String,
    /// Account whose lines it covers.
    pub account: String,
    pub writer: String,
    pub digest: DigestLink,
    /// Number of leaves.
    pub tree_size: u64,
    /// Root of the tree, base64.
    pub root: String,
}

/// Builds an anchor file: a line of JSON for each entry, an empty line, and the signed checkpoint.
pub fn make(heads: &[ChainHead], time: &str, key: &SigningKey) -> String {
    let (mut lines, mut tree) = (String::new(), Frontier::default());
    for head in heads {
        let ChainHead { account, writer, digest, tree_size, root, .. } = head.clone();
        let entry = AnchorEntry { time: time.to_owned(), account, writer, digest, tree_size, root };
        let line = serde_json::to_string(&entry).unwrap_or_default(); // strings and numbers: can't fail
        tree.push(leaf_hash(line.as_bytes()));
        lines.push_str(&line);
        lines.push('\n');
    }
    let origin = format!("{}/anchor", key.public().name());
    let checkpoint = Checkpoint { origin, size: tree.size(), root: tree.root() };
    format!("{lines}\n{}", key.sign_note(&checkpoint.text()))
}

/// Opens an anchor and checks its signature; returns its entries.
///
/// # Errors
/// The anchor is malformed, or none of the keys signed it.
pub fn open(text: &str, keys: &[VerifyKey]) -> Result<Vec<AnchorEntry>, &'static str> {
    if keys.is_empty() {
        return Err("no public key to check the anchor: give --anchor-key");
    }
    let (lines, signed) = text.split_once("\n\n").ok_or("it is not an anchor file")?;
    let (note, key) = note::open_note(signed, keys).ok_or("none of the given keys signed it")?;
    let checkpoint = Checkpoint::parse(note).ok_or("its checkpoint is malformed")?;
    let (mut tree, mut entries) = (Frontier::default(), Vec::new());
    for line in lines.lines() {
        tree.push(leaf_hash(line.as_bytes()));
        entries.push(serde_json::from_str::<AnchorEntry>(line).map_err(|_| "an entry is malformed")?);
    }
    let expected = Checkpoint { origin: format!("{}/anchor", key.name()), size: tree.size(), root: tree.root() };
    if checkpoint != expected {
        return Err("its entries differ from the signed ones");
    }
    Ok(entries)
}

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
            match open(text, &self.options.anchor_keys) {
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
