//! **What**: `vault verify`: walks every chain of a vault from its first digest to its newest, and says whether the
//! store still holds what was written.
//! **Why**: an auditor must not have to trust the gateway, the store, or us; every step can be done with other tools
//! (docs/vault.md). **Invariants**: reads only; needs a public key, no secret; what it did not look at, it says; what is
//! found does not end the walk. **Not here**: hashing and notes (`chain`), proofs (`prove`).

pub mod anchor;
mod content;
mod epoch;
mod inside;
mod keys;
mod links;
mod locks;
mod report;
mod resume;
mod strays;
mod times;
mod walk;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::read::{Opener, ReadError, Vault};
use kernel::clock::UnixNanos;
use vault::chain::note::VerifyKey;

pub use locks::Retention;
use report::STRANGER;
pub use report::{Counts, Erased, Finding, Head, Report, Severity};

use epoch::Epoch;
use walk::Found;
pub use walk::Line;

/// What is wanted.
#[derive(Default)]
pub struct Options {
    /// Public keys of the writers' signers.
    pub keys: Vec<VerifyKey>,
    /// Only this account.
    pub account: Option<String>,
    /// Only this writer.
    pub writer: Option<String>,
    /// Payload is read of digests that end at or after this, RFC 3339.
    pub from: Option<String>,
    /// Payload is read of digests that start at or before this.
    pub to: Option<String>,
    /// Chain and index only.
    pub no_payload: bool,
    /// The chain alone: signatures, links, what was cut off, forks. Neither what digests name nor what nobody names is looked at.
    pub chain_only: bool,
    /// What digests that end before this (RFC 3339) name may be gone or hidden: its retention is over.
    pub expired: Option<String>,
    /// Secret keys of an auditor.
    pub auditors: Vec<age::x25519::Identity>,
    /// Public keys of those who sign requests to erase.
    pub erasers: Vec<VerifyKey>,
    /// Anchors that were kept elsewhere, as their files hold them.
    pub anchors: Vec<String>,
    /// Public keys of those who anchored.
    pub anchor_keys: Vec<VerifyKey>,
    /// Leaves that were seen elsewhere (`gen_ai.payload.leaf` on spans): the chain must hold them.
    pub leaves: Vec<String>,
    /// How every version of an object must be locked; else only what is locked unlike the rest is told.
    pub retention: Option<Retention>,
    /// Locks are not looked at.
    pub no_locks: bool,
    /// Where to keep what was verified, so that a run that ended early goes on, and digests that were seen.
    pub resume: Option<PathBuf>,
    /// Now, to tell a chain that is silent.
    pub now: UnixNanos,
}

/// How far it is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Digests that were judged.
    pub done: u64,
    /// Digests there are.
    pub all: u64,
    /// Payload read, bytes.
    pub bytes: u64,
}

/// One walk.
struct Walk<'a> {
    vault: &'a Vault,
    options: &'a Options,
    opener: Option<Opener<'a>>,
    report: Report,
    resume: resume::Resume,
    /// Digests of earlier runs that were not met yet.
    seen: BTreeMap<String, resume::Seen>,
    turns: content::Turns,
    keys: keys::Keys,
    /// Failures that something planted in a digest's place explains: the writer had to go around it.
    excused: u64,
    /// Objects behind delete markers whose retention is over.
    hidden: u64,
    referenced: strays::Referenced,
    progress: Progress,
}

/// The chains of a vault: accounts and writers, their epochs, the numbers of their digests. Nothing is judged.
///
/// # Errors
/// The store can't be listed.
pub async fn chains(vault: &Vault, options: &Options) -> Result<Chains, ReadError> {
    Ok(walk::find(vault, options).await?.lines)
}

/// Epochs with the numbers of their digests, by account and writer.
pub type Chains = BTreeMap<Line, BTreeMap<String, BTreeSet<u64>>>;

/// Verifies a vault.
///
/// # Errors
/// One line: the store can't be listed, or a file of the caller's can't be used. What is wrong with the vault is in the
/// report.
pub async fn verify(
    vault: &Vault,
    options: &Options,
    show: &mut (dyn FnMut(Progress) + Send),
) -> Result<Report, ReadError> {
    if options.keys.is_empty() {
        return Err("give --key: the public key of the writer's signer".to_owned());
    }
    let found = walk::find(vault, options).await?;
    let opener = (!options.auditors.is_empty()).then(|| Opener::new(vault, options.auditors.clone()));
    let all = found.lines.values().flat_map(|epochs| epochs.values()).map(|numbers| numbers.len() as u64).sum();
    let mut walk = Walk {
        vault,
        options,
        opener,
        report: Report { v: 1, verified: true, ..Report::default() },
        resume: resume::Resume::default(),
        seen: BTreeMap::new(),
        turns: content::Turns::default(),
        keys: keys::Keys::default(),
        excused: 0,
        hidden: 0,
        referenced: strays::Referenced::default(),
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
    walk.gone_since();
    walk.settle_keys();
    walk.anchors(&lines);
    walk.leaves(&lines);
    if !options.chain_only {
        walk.strays(&lines).await?;
        walk.versions().await;
    }
    walk.report.turn_gaps = walk.turns.gaps();
    walk.limits(&lines);
    walk.resume.end()?;
    Ok(walk.report)
}

impl Walk<'_> {
    /// What an earlier run that ended early had done.
    fn take_up(&mut self) -> Result<(), ReadError> {
        self.resume = resume::Resume::read(self.options, self.keys.are_listed())?;
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

    /// What this run did not look at.
    fn limits(&mut self, lines: &[(Line, Vec<Epoch>)]) {
        let mut not = Vec::new();
        if self.options.auditors.is_empty() {
            not.push("what fragments say inside: no auditor's key was given (--identity); their bytes have the hashes of their lines".to_owned());
        }
        if self.options.chain_only {
            not.push("index, payload, and what nobody names: the chain alone was looked at".to_owned());
        } else if self.options.no_payload {
            not.push("payload objects (--no-payload)".to_owned());
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
            not.push(format!("{uncovered} fragments whose session keys no identity given here opens, or that expired"));
        }
        // where keys were erased, or expired, an auditor's own key opens nothing either
        let gone = !self.report.erased.is_empty() || self.report.counts.expired > 0;
        if uncovered > 0 && self.report.counts.opened == 0 && !gone && !self.options.auditors.is_empty() {
            let what = format!("opens none of {uncovered} fragments that were read: is it an auditor's of this vault?");
            self.report.warn(STRANGER, "--identity", what);
        }
        self.report.not_verified.extend(not);
    }
}
