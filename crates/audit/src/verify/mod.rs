//! `vault verify`: follows every chain of a vault from its first digest to its newest, and checks whether the store
//! still holds what was written. An auditor need not trust the gateway, the store, or us: every step can be done with
//! other tools (docs/vault.md).
//!
//! Verification only reads, and needs a public key but no secret. The report lists everything that was not checked, and
//! a finding does not end the run. Neighbours: `chain` (hashing and notes), `prove` (proofs).

pub mod anchor;
mod anchored;
mod content;
mod epoch;
mod erasures;
mod inside;
mod keys;
mod links;
mod locks;
mod options;
mod report;
mod resume;
mod stray_keys;
mod strays;
mod times;
mod told_key;
mod unnamed;
mod walk;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;

use super::chains::{EarlySignature, Found, Scope, find};
use super::error::ReadError;
use super::location::Vault;
use super::read::Opener;

pub use super::chains::Line;
pub use options::{Options, Progress, Retention};
use report::STRANGER;
pub use report::{Counts, Erased, Finding, Head, Report, Severity};

use resume::Resume;
use strays::LONG;
use vault::store::ObjectKind;
use walk::{Epoch, Keys, Referenced, Turns, Walk};

/// Verifies a vault. Problems of the vault itself are in the report.
///
/// # Errors
/// The store can't be listed, or one of the caller's files can't be used.
pub async fn verify(
    vault: &Vault,
    options: &Options,
    show: &mut (dyn FnMut(Progress) + Send),
) -> Result<Report, ReadError> {
    if options.keys.is_empty() {
        return Err(ReadError::invalid("give --key: the public key of the writer's signer"));
    }
    let found = find(vault, Scope { account: options.account.as_deref(), writer: options.writer.as_deref() }).await?;
    let opener = (!options.auditors.is_empty()).then(|| Opener::new(vault, options.auditors.clone()));
    let all = found.lines.values().flat_map(|epochs| epochs.values()).map(|numbers| numbers.len() as u64).sum();
    let mut walk = Walk {
        vault,
        options,
        opener,
        report: Report { v: 1, verified: true, ..Report::default() },
        resume: Resume::default(),
        seen: BTreeMap::new(),
        turns: Turns::default(),
        keys: Keys::default(),
        newest_erasures: BTreeMap::new(),
        excused: 0,
        hidden: 0,
        referenced: Referenced::default(),
        progress: Progress { done: 0, all, bytes: 0 },
    };
    walk.strange(&found);
    walk.list_keys().await;
    walk.take_up()?;
    let mut lines: Vec<(Line, Vec<Epoch>)> = Vec::new();
    for (line, epochs) in &found.lines {
        let mut judged = Vec::new();
        for (name, numbers) in epochs {
            judged.push(walk.epoch(line, name, numbers, show).await?);
        }
        walk.links(line, &judged);
        lines.push((line.clone(), judged));
    }
    walk.early(&found, &lines).await;
    walk.gone_since();
    walk.named_erasures(&lines);
    walk.settle_keys().await;
    walk.anchors(&lines);
    walk.leaves(&lines);
    if !options.chain_only {
        walk.strays(&lines).await?;
        walk.stray_keys(&lines).await;
        walk.versions().await;
    }
    walk.report.turn_gaps = walk.turns.gaps();
    walk.limits(&lines);
    walk.resume.end()?;
    Ok(walk.report)
}

/// Whether the writer's next digest would be number `n` of this epoch: after the newest digest of an unfinished epoch,
/// or the first of a new epoch.
fn is_next(epochs: &[Epoch], name: &str, n: u64) -> bool {
    match epochs.iter().find(|epoch| epoch.name == name) {
        Some(epoch) => {
            let followed = epochs.iter().any(|other| other.prev.as_ref().is_some_and(|prev| prev.epoch == name));
            !followed && epoch.expected == n && epoch.last.as_ref().is_some_and(|last| !last.last)
        }
        None => n == 0 && epochs.iter().all(|epoch| epoch.name.as_str() < name),
    }
}

impl Walk<'_> {
    /// Resumes the work of an earlier, interrupted run.
    fn take_up(&mut self) -> Result<(), ReadError> {
        self.resume = Resume::read(self.options, self.keys.are_listed())?;
        (self.report.counts, self.seen) = (self.resume.counts(), self.resume.seen());
        self.erasures_before();
        Ok(())
    }

    fn strange(&mut self, found: &Found) {
        for name in &found.strange {
            let what = "nothing of a chain has such a name";
            match self.options.chain_only {
                true => self.report.warn("stray", name, what),
                false => self.report.fail("stray", name, what),
            }
        }
        if found.lines.is_empty() {
            self.report.fail("empty", "chain/", "no digest: nothing of this vault can be verified");
        }
    }

    /// Checks signatures beyond the newest digests: the gateway writes a signature a moment before its digest.
    async fn early(&mut self, found: &Found, lines: &[(Line, Vec<Epoch>)]) {
        for EarlySignature { line, epoch, n, name } in &found.early {
            let epochs = lines.iter().find(|(other, _)| other == line).map(|(_, epochs)| epochs.as_slice());
            let is_next = is_next(epochs.unwrap_or_default(), epoch, *n);
            match self.vault.written(ObjectKind::Chain, name).await {
                Some(written) if is_next && written.plus(LONG) >= self.options.now => {
                    self.report.not_verified.push(format!("{name}: a signature whose digest is not there yet"));
                }
                _ => self.report.fail("digest_missing", name, "a signature whose digest is not there"),
            }
        }
    }

    /// Reports everything that this run did not check.
    fn limits(&mut self, lines: &[(Line, Vec<Epoch>)]) {
        let mut not = Vec::new();
        if self.options.auditors.is_empty() {
            not.push("what fragments say inside: no auditor's key was given (--identity); their bytes have the hashes of their lines".to_owned());
        }
        if self.options.chain_only {
            not.push("index, payload, and what nobody names: the chain alone was looked at".to_owned());
        } else if self.options.no_payload {
            not.push("payload objects and session keys (--no-payload)".to_owned());
        }
        if self.options.from.is_some() || self.options.to.is_some() {
            not.push("payload objects of digests outside of --from and --to".to_owned());
        }
        if self.options.anchors.is_empty() {
            not.push(
                "that nothing was cut off the end of a chain, or signed anew with a stolen key: no anchor was given (--anchor)"
                    .to_owned(),
            );
        }
        if self.options.account.is_some() || self.options.writer.is_some() {
            not.push("other accounts or writers".to_owned());
        }
        let (Counts { expired, archived, .. }, hidden) = (&self.report.counts, self.hidden);
        if *expired > 0 || hidden > 0 {
            let before = self.options.expired.as_deref().unwrap_or_default();
            not.push(format!(
                "{expired} objects that expired and are gone, of digests before {before}, and roots behind lines that are gone; \
                 {hidden} delete markers over objects of before"
            ));
        }
        if *archived > 0 {
            not.push(format!(
                "{archived} objects that are archived: restore them (`aws s3api restore-object`; the auditor needs s3:RestoreObject) \
                 and verify again"
            ));
        }
        let uncovered: u64 = lines.iter().flat_map(|(_, epochs)| epochs).map(|epoch| epoch.unread).sum();
        if uncovered > 0 {
            not.push(format!("{uncovered} fragments whose session keys no identity given here opens"));
        }
        let over: u64 = lines.iter().flat_map(|(_, epochs)| epochs).map(|epoch| epoch.expired).sum();
        if over > 0 {
            not.push(format!("{over} fragments whose session keys expired"));
        }
        // if keys were erased or expired, the right auditor's key opens nothing either
        let gone = !self.report.erased.is_empty() || self.report.counts.expired > 0;
        if uncovered > 0 && self.report.counts.opened == 0 && !gone && !self.options.auditors.is_empty() {
            let what = format!("opens none of {uncovered} fragments that were read: is it an auditor's of this vault?");
            self.report.warn(STRANGER, "--identity", what);
        }
        self.report.not_verified.extend(not);
    }
}
