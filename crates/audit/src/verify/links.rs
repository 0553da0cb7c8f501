//! Judges the links between a writer's epochs, its newest digest, and leaves seen elsewhere. A cut-off end or a fork
//! shows only between epochs, or from outside. If the writer itself declares a problem in a signed digest (lost state,
//! a damaged spool), it is a warning; otherwise a failure. Neighbours: `epoch` (within an epoch), `anchored`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::chains::{Line, folder};
use crate::read::Leaf;
use vault::chain::digest::Link;
use vault::names::rfc3339;

use super::report::Head;
use super::walk::{Epoch, Walk};

/// A chain without digests for this long is reported.
const SILENCE: Duration = Duration::from_secs(2 * 3600 + 600);

impl Walk<'_> {
    /// Judges the epochs of one writer.
    pub(super) fn links(&mut self, line: &Line, epochs: &[Epoch]) {
        let (before, excused) = (self.report.failures, self.excused);
        self.between(line, epochs);
        let wrong = self.report.failures - before > self.excused - excused;
        if wrong || epochs.iter().any(|epoch| epoch.broken) {
            self.report.broken.insert((line.account.clone(), line.writer.clone()));
        }
    }

    fn between(&mut self, line: &Line, epochs: &[Epoch]) {
        let mut followed: BTreeMap<(&str, u64), &Epoch> = BTreeMap::new();
        let mut roots = Vec::new();
        for epoch in epochs {
            let at = folder(line, &epoch.name);
            let Some(prev) = &epoch.prev else {
                if !epoch.digests.contains_key(&0) {
                    continue; // the missing digests were reported
                }
                roots.push(epoch);
                continue;
            };
            if let Some(other) = followed.insert((&prev.epoch, prev.n), epoch) {
                let what = format!("it follows the same digest as the epoch {}", other.name);
                self.report.fail("fork", &at, what);
            }
            self.link(line, epoch, prev, epochs);
        }
        if let Some((_, later)) = roots.split_first() {
            for epoch in later {
                let what = "no digest before it is named: the writer had lost its state, or this is another writer of \
                            the same name; whether epochs before it are missing can't be told";
                self.report.warn("unlinked", folder(line, &epoch.name), what);
            }
        }
        for epoch in &roots {
            if epoch.reason.is_none() {
                self.report.fail("link", folder(line, &epoch.name), "no digest before it is named, and no reason why");
            }
        }
        if roots.is_empty() && epochs.iter().any(|epoch| epoch.digests.contains_key(&0)) {
            self.report.fail("link", folder(line, ""), "no epoch is the first");
        }
        let heads: Vec<&Epoch> =
            epochs.iter().filter(|epoch| !epochs.iter().any(|other| follows(other, epoch))).collect();
        if heads.len() > roots.len().max(1) {
            let names: Vec<&str> = heads.iter().map(|epoch| epoch.name.as_str()).collect();
            self.report.fail("fork", folder(line, ""), format!("no digest follows the epochs {}", names.join(", ")));
        }
        for epoch in heads {
            self.head(line, epoch);
        }
    }

    /// Judges a link to the previous epoch.
    fn link(&mut self, line: &Line, epoch: &Epoch, prev: &Link, epochs: &[Epoch]) {
        let at = folder(line, &epoch.name);
        let Some(before) = epochs.iter().find(|other| other.name == prev.epoch) else {
            return self.report.fail("epoch_missing", at, format!("the epoch {} before it is missing", prev.epoch));
        };
        match before.digests.get(&prev.n) {
            None => {
                let what = format!("digest {} of the epoch {}, its last, is missing", prev.n, prev.epoch);
                return self.report.fail("cut_off", at, what);
            }
            Some(sha256) if kernel::hex::encode(sha256) != prev.sha256 => {
                let what = format!("digest {} of the epoch {} is not the one that it names", prev.n, prev.epoch);
                return self.report.fail("link", at, what);
            }
            Some(_) => {}
        }
        // foreign objects after the named digest don't extend the epoch
        let named = before.newest.as_ref().filter(|newest| newest.n == prev.n);
        let Some(last) = named.or(before.last.as_ref()) else { return };
        // lines must continue exactly where the abandoned tree ends, without gaps or repetitions
        if let Some(continues) = &epoch.continues
            && epoch.of == before.of
            && before.base.checked_add(last.tree_size) != Some(continues.leaf)
        {
            // more digests than the one that it names mean a fork, whatever the lines
            let (code, end) = if last.n == prev.n { ("size", "end") } else { ("fork", "end now") };
            let what = format!("its lines do not start where those of the epoch {} {end}", prev.epoch);
            self.report.fail(code, at.clone(), what);
        }
        let said = epoch.reason.as_deref().filter(|_| epoch.continues.is_some());
        let said = said.filter(|reason| ["damaged:", "dropped:"].iter().any(|why| reason.starts_with(why)));
        match said {
            Some(reason) => self.report.warn("left", at, format!("the chain left the epoch {}: {reason}", prev.epoch)),
            None if epoch.continues.is_some() => {
                // the writer's signed reason applies: a foreign object in place of its digest made it leave the epoch
                self.excused += u64::from(before.planted && epoch.reason.is_some());
                let reason = epoch.reason.as_deref().unwrap_or("no reason is given");
                self.report.fail("fork", at, format!("the chain left the epoch {}: {reason}", prev.epoch));
            }
            None if last.n != prev.n => {
                let what = format!("the epoch {} goes on behind the digest that it names", prev.epoch);
                self.report.fail("fork", at, what);
            }
            None if !last.last => {
                let what = format!("it follows the epoch {}, whose last digest is not final", prev.epoch);
                self.report.fail("cut_off", at, what);
            }
            None => {}
        }
    }

    /// Judges the newest digest of a writer.
    fn head(&mut self, line: &Line, epoch: &Epoch) {
        let (Some(last), at) = (&epoch.newest, folder(line, &epoch.name)) else { return };
        let Some(sha256) = epoch.digests.get(&last.n) else { return };
        let old = self.options.now.0.saturating_sub(u64::try_from(SILENCE.as_nanos()).unwrap_or(u64::MAX));
        if !last.last && last.end < rfc3339(kernel::clock::UnixNanos(old)) {
            let what = format!(
                "no digest since {}, and that one is not final: the writer was stopped the hard way and never started \
                 again, can't reach the store, or newer digests were cut off",
                last.end
            );
            self.report.warn("silent", &at, what);
        }
        let digest = Link { epoch: epoch.name.clone(), n: last.n, sha256: kernel::hex::encode(sha256) };
        self.report.heads.push(Head {
            account: epoch.account.clone(),
            writer: line.writer.clone(),
            digest,
            tree_size: last.tree_size,
            root: last.root.clone(),
            end: last.end.clone(),
            last: last.last,
            pending: last.pending,
        });
    }

    /// Checks that leaves seen elsewhere are in a chain.
    pub(super) fn leaves(&mut self, lines: &[(Line, Vec<Epoch>)]) {
        for leaf in &self.options.leaves {
            let Ok(Leaf { writer, epoch, number }) = Leaf::parse(leaf) else {
                self.report.fail("leaf", leaf, "is no `writer/epoch/number`");
                continue;
            };
            let holds = |found: &Epoch| {
                let size = found.last.as_ref().map_or(0, |last| last.tree_size);
                found.of == epoch && (found.base..found.base.saturating_add(size)).contains(&number)
            };
            // the span does not name the account, and each account numbers its lines from 0
            let (mut there, mut short) = (false, BTreeSet::new());
            for (line, epochs) in lines.iter().filter(|(line, _)| line.writer == writer) {
                if epochs.iter().any(holds) {
                    there = true;
                } else if epochs.iter().any(|found| found.of == epoch) {
                    short.insert(line.account.as_str());
                }
            }
            if !there {
                self.report.fail("leaf", leaf, "no chain holds it: its digest was cut off, or is still to come");
            } else if !short.is_empty() {
                let accounts = short.into_iter().collect::<Vec<_>>().join(", ");
                let what = format!(
                    "a chain holds it, but not that of {accounts}, whose line it may be: verify with the --account that it was seen of"
                );
                self.report.fail("leaf", leaf, what);
            }
        }
    }
}

/// Whether `other` names `epoch` as its previous epoch.
fn follows(other: &Epoch, epoch: &Epoch) -> bool {
    other.prev.as_ref().is_some_and(|prev| prev.epoch == epoch.name)
}
